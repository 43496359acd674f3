//! How long the search for a route takes, and how that grows with the table:
//! `cargo run --release -p dockless-routing --example match`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and ends where it cannot go on")]

use dockless_routing::{Ask, RequestPath, Table, rewrite};
use std::{hint::black_box, time::Instant};

const ROUNDS: u32 = 2_000;

fn main() {
    println!("routes  last route  no route  file first   (ns for one request)");
    for count in [10, 100, 1_000] {
        let route =
            |n: u32| rewrite(&format!("/area{n}/:id/edit"), "/index.html?id=:id", None, vec![], vec![]).unwrap();
        let routes: Vec<_> = (0..count).map(route).collect();
        let table = Table::compile(&routes).unwrap();
        let last = format!("/area{}/7/edit", count - 1);
        let [last, none, file] = [last.as_str(), "/nothing/7/edit", "/index.html"].map(|path| time(&table, path));
        println!("{count:>6}  {last:>10}  {none:>8}  {file:>10}");
    }
}

fn time(table: &Table, path: &str) -> u128 {
    let path = RequestPath::parse(path).unwrap();
    let ask = Ask { method: "GET", host: "site.example", header: &|_| None };
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        let found = table.find(black_box(&path), None, &ask, |output| (output == "index.html").then_some(()));
        let _ = black_box(found);
    }
    begin.elapsed().as_nanos() / u128::from(ROUNDS)
}
