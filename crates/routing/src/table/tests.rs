use super::*;
use crate::{clean_urls, headers, redirect, rewrite, trailing_slash};
use dockless_model::output::{Condition, Subject};

fn route(src: &str, dest: &str, phase: Phase) -> Route {
    Route::if_exists(src.into(), dest.into(), phase)
}

fn rule(src: &str, dest: &str, then: Then) -> Route {
    Route { src: src.into(), dest: dest.into(), then, ..Route::default() }
}

fn ask<T>(test: impl FnOnce(&Ask<'_>) -> T) -> T {
    let header = |name: &str| (name == "x-flag").then(|| "on".to_owned());
    test(&Ask { method: "GET", host: "site.example", header: &header })
}

fn search(table: &Table, exists: &[&str], path: &str, query: Option<&str>) -> Match<String> {
    let path = RequestPath::parse(path).unwrap();
    let look_up = |output: &str| exists.contains(&output).then(|| output.to_owned());
    ask(|ask| table.find(&path, query, ask, look_up)).unwrap()
}

fn find(table: &Table, exists: &[&str], path: &str, query: Option<&str>) -> Option<(String, Option<String>)> {
    let found = search(table, exists, path, query);
    match found.outcome {
        Outcome::Found { found: output, .. } => Some((output, found.query)),
        _ => None,
    }
}

/// `output?query`, `→ location status`, `url`, or `- status`, and the fields.
fn told(table: &Table, exists: &[&str], target: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let found = search(table, exists, path, query);
    let query = found.query.map(|query| format!("?{query}")).unwrap_or_default();
    let status = found.status.map(|status| format!(" {status}")).unwrap_or_default();
    let fields: String = found.headers.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    match found.outcome {
        Outcome::Found { output, .. } => format!("/{output}{query}{status}{fields}"),
        Outcome::Redirect { location, status } => format!("→ {location} {status}{fields}"),
        Outcome::External { url } => format!("{url}{query}{status}{fields}"),
        Outcome::Nothing { .. } => format!("-{status}{fields}"),
    }
}

#[test]
fn dynamic_segments_become_query_parameters() {
    let table = Table::compile(&[route("/api/user/([^/]+)/?", "/api/user/[id]?id=$1", Phase::Filesystem)]).unwrap();
    let exists = ["api/user/[id]", "api/user/me"];
    for (path, query, output, merged) in [
        ("/api/user/7", None, "api/user/[id]", Some("id=7")),
        ("/api/user/7/", None, "api/user/[id]", Some("id=7")),
        ("/api/user/7", Some("x=1"), "api/user/[id]", Some("x=1&id=7")),
        ("/api/user/7", Some("id=8"), "api/user/[id]", Some("id=8")),
        ("/api/user/a%26admin=1", None, "api/user/[id]", Some("id=a%26admin%3D1")),
        ("/api/user/a+b%2Bc", None, "api/user/[id]", Some("id=a%2Bb%2Bc")),
        ("/api/user/a%2Fb", None, "api/user/[id]", Some("id=a%2Fb")),
        ("/api/user/%FF%25", None, "api/user/[id]", Some("id=%FF%25")),
        ("/api/user/J%C3%BCrgen", None, "api/user/[id]", Some("id=J%C3%BCrgen")),
        ("/api/user/me", Some("x"), "api/user/me", Some("x")),
    ] {
        let found = find(&table, &exists, path, query);
        assert_eq!(found, Some((output.into(), merged.map(str::to_owned))), "{path}");
    }
    assert_eq!(find(&table, &exists, "/api/user/7/8", None), None);
    assert_eq!(find(&table, &exists, "/x/api/user/7", None), None);
    assert_eq!(find(&table, &[], "/api/user/7", None), None, "a destination that does not exist is passed over");
}

#[test]
fn phases_stand_around_what_exists() {
    let table = Table::compile(&[
        route("/late", "/b", Phase::Filesystem),
        route("/early", "/a", Phase::Start),
        route("/late", "/c", Phase::Filesystem),
    ])
    .unwrap();
    let output =
        |exists: &[&str], path: &str| find(&table, exists, path, None).map(|(output, _)| output).unwrap_or_default();
    assert_eq!(output(&["a", "early"], "/early"), "a");
    assert_eq!(output(&["early"], "/early"), "early");
    assert_eq!(output(&["b", "c", "late"], "/late"), "late");
    assert_eq!(output(&["b", "c"], "/late"), "b");
    assert_eq!(output(&["c"], "/late"), "c");
    assert_eq!(output(&[""], "/"), "");
}

#[test]
fn routes_finish_continue_and_check() {
    let field = |route: Route, name: &str, value: &str| Route {
        headers: [(name.to_owned(), value.to_owned())].into(),
        ..route
    };
    let status = |route: Route, status| Route { status: Some(status), ..route };
    let late = |route: Route| Route { phase: Phase::Filesystem, ..route };
    let table = Table::compile(&[
        field(rule("/(.*)", "", Then::Continue), "x-all", "$1"),
        rule("/old/(.*)", "/new/$1", Then::Continue),
        status(field(rule("/go/(?<to>.*)", "", Then::Finish), "location", "/to/$to"), 302),
        status(rule("/gone", "", Then::Finish), 410),
        status(rule("/teapot", "/a.html", Then::Finish), 418),
        status(rule("/hidden.html", "", Then::Finish), 404),
        Route { methods: vec!["POST".into()], ..rule("/a.html", "/never.html", Then::Finish) },
        rule("/proxy/(.*)", "https://example.com/$1?a=1", Then::Finish),
        rule("/nowhere", "/missing", Then::Finish),
        late(rule("/x/(.*)", "/y/$1", Then::Check)),
        late(rule("/y/(.*)", "/z/$1?from=y", Then::Check)),
        late(status(rule("/s/(.*)", "/nope/$1", Then::Check), 403)),
        Route { phase: Phase::Miss, ..rule("/(.+)\\.php", "/$1", Then::Check) },
        Route { phase: Phase::Hit, ..field(rule("/z/.*", "", Then::Continue), "x-hit", "1") },
        Route { phase: Phase::Hit, ..field(rule(".*", "", Then::Continue), "x-all", "late") },
        Route { phase: Phase::Resource, ..status(rule("/last", "/a.html", Then::Finish), 404) },
    ])
    .unwrap();
    let exists = ["a.html", "z/1", "new/1", "never.html", "hidden.html", "tool"];
    for (target, expected) in [
        ("/a.html", "/a.html x-all=a.html"),
        ("/old/1?q=2", "/new/1?q=2 x-all=old/1"),
        ("/go/%C3%A9?q=1", "→ /to/%C3%A9?q=1 302 x-all=go/%C3%A9"),
        ("/gone", "- 410 x-all=gone"),
        ("/teapot", "/a.html 418 x-all=teapot"),
        ("/hidden.html", "- 404 x-all=hidden.html"),
        ("/proxy/p?b=2", "https://example.com/p?b=2&a=1 x-all=proxy/p"),
        ("/nowhere", "- x-all=nowhere"),
        ("/x/1", "/z/1?from=y x-all=x/1 x-hit=1"),
        ("/y/2", "-"),
        ("/s/1", "- 403 x-all=s/1"),
        ("/tool.php", "/tool x-all=tool.php"),
        ("/last", "/a.html 404 x-all=last"),
    ] {
        let told = told(&table, &exists, target);
        assert!(told == expected || (expected == "-" && told.starts_with("- x-all")), "{target}: {told}");
    }
}

#[test]
fn in_2019_the_destination_wins() {
    let dest = |dest_wins| Route { dest_wins, ..rule("/users/(\\d+)", "/u.js?id=$1", Then::Finish) };
    for (wins, query) in [(true, "x=1&id=7"), (false, "id=8&x=1")] {
        let table = Table::compile(&[dest(wins)]).unwrap();
        assert_eq!(told(&table, &["u.js"], "/users/7?id=8&x=1"), format!("/u.js?{query}"));
    }
}

#[test]
fn conditions_choose_routes() {
    let flag = Condition { kind: Subject::Header, key: "x-flag".into(), tests: vec![] };
    let other = Condition { key: "x-other".into(), ..flag.clone() };
    let table = Table::compile(&[
        Route { has: vec![other.clone()], ..rule("/a", "/1", Then::Finish) },
        Route { missing: vec![flag.clone()], ..rule("/a", "/2", Then::Finish) },
        Route { has: vec![flag], missing: vec![other], ..rule("/a", "/3?flag=$${x-flag}", Then::Finish) },
    ])
    .unwrap();
    assert_eq!(told(&table, &["1", "2", "3"], "/a"), "/3?flag=$on");
}

#[test]
fn case_and_missing_slashes_are_as_the_route_says() {
    let ignoring = Route { ignore_case: true, ..rule("/About", "/a", Then::Finish) };
    let table = Table::compile(&[ignoring, rule("index.html", "/i", Then::Finish)]).unwrap();
    assert_eq!(told(&table, &["a"], "/aBOUT"), "/a");
    assert_eq!(told(&table, &["i"], "/index.html"), "/i");
}

#[test]
fn pages_for_failures_are_found_by_status() {
    let page = |status, dest: &str| Route {
        phase: Phase::Error,
        status: Some(status),
        ..rule("^(?!/api).*$", dest, Then::Finish)
    };
    let table = Table::compile(&[page(404, "/404.html"), page(500, "/500.html")]).unwrap();
    let failed = |status, path: &str| {
        let path = RequestPath::parse(path).unwrap();
        let look_up = |output: &str| (output == "404.html").then(|| output.to_owned());
        ask(|ask| table.failed(status, &path, None, ask, look_up)).unwrap().map(|found| found.status)
    };
    assert_eq!(failed(404, "/x"), Some(Some(404)));
    assert_eq!(failed(404, "/api/x"), None);
    assert_eq!(failed(500, "/x"), None, "a page that is not there");
}

#[test]
fn high_level_properties_do_what_they_promise() {
    let mut routes = clean_urls(Some(false));
    routes.extend(trailing_slash(false));
    routes.push(redirect("/old/:x*", "/new/:x*", 308, vec![], vec![]).unwrap());
    routes.push(redirect("/u/:id(\\d+)", "https://x.example/:id#top", 307, vec![], vec![]).unwrap());
    routes.push(headers("/(.*)", &[("X-A".into(), "b".into())], vec![], vec![]).unwrap());
    routes.push(rewrite("/blog/:slug", "/post", None, vec![], vec![]).unwrap());
    let table = Table::compile(&routes).unwrap();
    for (target, expected) in [
        ("/about.html?a=1", "→ /about?a=1 308"),
        ("/index.html", "→ / 308"),
        ("/docs/index", "→ /docs 308"),
        ("/docs/", "→ /docs 308"),
        ("/old/a/b", "→ /new/a/b 308"),
        ("/old", "→ /new/ 308"),
        ("/u/7?a=b", "→ https://x.example/7?a=b#top 307"),
        ("/%5Cevil.com/", "→ /%5Cevil.com 308"),
        ("/about", "/about x-a=b"),
        ("/blog/hi", "/post?slug=hi x-a=b"),
        ("/none", "- x-a=b"),
    ] {
        assert_eq!(told(&table, &["about", "post"], target), expected, "{target}");
    }
    let table = Table::compile(&trailing_slash(true)).unwrap();
    for (target, expected) in [
        ("/a/b", "→ /a/b/ 308"),
        ("/a.css/", "→ /a.css 308"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a.css", "/a.css"),
    ] {
        assert_eq!(told(&table, &["a.css", ".well-known/x"], target), expected, "{target}");
    }
}

#[test]
fn bad_routes_are_refused_with_their_number() {
    for bad in ["(", "a)|(b", "[", "(?<!", &"x".repeat(5000), "(((a{100}){100}){100}){100}"] {
        let routes = [route("/ok", "/a", Phase::Start), route(bad, "/a", Phase::Start)];
        let error = Table::compile(&routes).map(drop).unwrap_err();
        assert!(
            matches!(error, RouteError::TooLong { index: 1 } | RouteError::Pattern { index: 1, .. }),
            "{bad}: {error:?}"
        );
    }
    let many = vec![route("/a", "/b", Phase::Start); MAX_ROUTES + 1];
    assert!(matches!(Table::compile(&many), Err(RouteError::TooMany(_))));
    let stepping = vec![route("/(?!a)b", "/b", Phase::Start); MAX_STEPPING + 1];
    assert!(matches!(Table::compile(&stepping), Err(RouteError::TooManyStepping)));
}

#[test]
fn names_of_files_do_not_act_as_syntax() {
    for name in ["a.b", "a(b", "$1", "100%", "q?x", "h#h", "[x]", "é"] {
        let routes = [route(
            &format!("/{}/(.+)", crate::src_literal(name)),
            &format!("/{}?{}=$1", crate::dest_literal(name), crate::query_literal(name)),
            Phase::Filesystem,
        )];
        let table = Table::compile(&routes).unwrap();
        let raw = format!("/{}/v", crate::query_literal(name));
        let found = find(&table, &[name], &raw, None).unwrap();
        assert_eq!(found, (name.to_owned(), Some(format!("{}=v", crate::query_literal(name)))), "{name}");
    }
    let table = Table::compile(&[route("/a.b", "/x", Phase::Start)]).unwrap();
    assert!(find(&table, &["x"], "/aXb", None).is_some(), "a plain dot stays a pattern");
}
