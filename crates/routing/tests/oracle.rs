//! Rewrites and redirects against what the package that others lower them with made of the same ones
//! (`scripts/routing-oracle` records it).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use dockless_routing::{Table, redirect, rewrite};
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {
    kind: String,
    source: String,
    destination: String,
    src: String,
    dest: String,
}

#[test]
fn rewrites_and_redirects_are_lowered_as_everybody_does() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("lowered.json")).unwrap();
    assert!(rows.len() >= 400);
    let mut differences = Vec::new();
    for row in rows {
        let route = match row.kind.as_str() {
            "rewrite" => {
                rewrite(&row.source, &row.destination, None, vec![], vec![]).map(|route| (route.dest.clone(), route))
            }
            _ => redirect(&row.source, &row.destination, 308, vec![], vec![])
                .map(|route| (route.headers["location"].clone(), route)),
        };
        match route {
            Ok((dest, route)) => {
                if (&route.src, &dest) != (&row.src, &row.dest) {
                    let Row { source, destination, src, dest: expected, .. } = row;
                    let found = &route.src;
                    differences.push(format!("{source} → {destination}\n  {src} → {expected}\n  {found} → {dest}"));
                }
                Table::compile(&[route]).unwrap();
            }
            Err(error) => differences.push(format!("{} → {}: {error}", row.source, row.destination)),
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
