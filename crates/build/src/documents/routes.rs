//! `routes`, or `rewrites`, `redirects`, `headers`, `cleanUrls` and `trailingSlash`, as routes of the manifest.

use super::place::Place;
use crate::BuildError;
use dockless_model::output::{Condition, Operator, Phase, Route, Subject, Test, Then};
use dockless_routing::{self as routing, LowerError, Table};
use std::collections::BTreeMap;

/// Properties that are written instead of `routes`, never beside it.
const PROPERTIES: [&str; 5] = ["rewrites", "redirects", "headers", "cleanUrls", "trailingSlash"];
/// Most entries of each.
const MAX_ENTRIES: usize = 2048;
/// Most fields of one, and the longest value.
const MAX_FIELDS: (usize, usize) = (1024, 32_768);
/// Most conditions of a route.
const MAX_CONDITIONS: usize = 16;

/// What is read of one of `routes`.
const FIELDS: [&str; 24] = [
    "src",
    "source",
    "dest",
    "destination",
    "headers",
    "methods",
    "status",
    "statusCode",
    "continue",
    "check",
    "caseSensitive",
    "has",
    "missing",
    "mitigate",
    "handle",
    // Of no effect here, or said by builders only.
    "important",
    "override",
    "middlewareRawSrc",
    "user",
    "isInternal",
    "type",
    "respectOriginCacheControl",
    "description",
    "name",
];
/// What would change an answer and is not served by this version.
const LATER: [&str; 6] = ["transforms", "locale", "middlewarePath", "middleware", "env", "mitigate"];

/// Fields that belong to a connection or to us.
const NOT_A_ROUTES: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a configuration says of routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Routing {
    /// In order of trial.
    pub(crate) routes: Vec<Route>,
    /// `X.html` answers at `X`.
    pub(crate) clean_urls: bool,
}

/// Reads a document's routes. `of_2019`: those of a project with `builds`.
pub(super) fn read(root: &Place<'_>, of_2019: bool, warnings: &mut Vec<String>) -> Result<Routing, BuildError> {
    if let Some(list) = root.member("routes") {
        if let Some(property) = PROPERTIES.iter().find_map(|name| root.member(name)) {
            return Err(property.wrong("to be left out beside \"routes\", or to be written as one of them"));
        }
        return Ok(Routing { routes: routes(&list, of_2019, warnings)?, clean_urls: false });
    }
    let slash = root.member("trailingSlash").map(|place| place.truth()).transpose()?;
    let clean_urls = root.member("cleanUrls").map(|place| place.truth()).transpose()?.unwrap_or_default();
    let mut found = Routing { routes: Vec::new(), clean_urls };
    if clean_urls {
        found.routes.extend(routing::clean_urls(slash));
    }
    found.routes.extend(slash.map(routing::trailing_slash).unwrap_or_default());
    for (name, kind) in [("redirects", Kind::Redirect), ("headers", Kind::Headers), ("rewrites", Kind::Rewrite)] {
        let Some(list) = root.member(name) else { continue };
        for place in list.each(MAX_ENTRIES)? {
            let route = kind.entry(&place, warnings)?;
            compiles(&route, &place.member("source").unwrap_or_else(|| place.clone()))?;
            found.routes.push(route);
        }
    }
    Ok(found)
}

/// A pattern is wrong where it is written.
pub(super) fn compiles(route: &Route, place: &Place<'_>) -> Result<(), BuildError> {
    Table::compile(std::slice::from_ref(route)).map(drop).map_err(|error| {
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        place.wrong(format!("a pattern that can be compiled: {why}"))
    })
}

#[derive(Clone, Copy)]
enum Kind {
    Redirect,
    Headers,
    Rewrite,
}

impl Kind {
    fn entry(self, place: &Place<'_>, warnings: &mut Vec<String>) -> Result<Route, BuildError> {
        let source = place.required("source")?;
        let from = source.text()?;
        if !from.starts_with('/') {
            return Err(source.wrong("a path that begins with a slash"));
        }
        let (has, missing) = (conditions(place, "has")?, conditions(place, "missing")?);
        let failed = |error: LowerError| match error {
            LowerError::Parameter(name) => place
                .member("destination")
                .unwrap_or_else(|| place.clone())
                .wrong(format!("{name} to be in the source")),
            LowerError::Source(error) => source.wrong(format!("a path with parameters: {error}")),
        };
        match self {
            Self::Redirect => {
                place.unknown(&["source", "destination", "permanent", "statusCode", "has", "missing"], warnings)?;
                let status = match (place.member("permanent"), place.member("statusCode")) {
                    (Some(permanent), Some(_)) => return Err(permanent.wrong("to be left out beside \"statusCode\"")),
                    (Some(permanent), None) if permanent.truth()? => 308,
                    (Some(_), None) => 307,
                    (None, status) => status.map(|place| self::status(&place, 300..=399)).transpose()?.unwrap_or(308),
                };
                let to = place.required("destination")?.text()?;
                routing::redirect(from, to, status, has, missing).map_err(failed)
            }
            Self::Rewrite => {
                place.unknown(&["source", "destination", "statusCode", "has", "missing"], warnings)?;
                let status = place.member("statusCode").map(|place| self::status(&place, 100..=999)).transpose()?;
                let to = place.required("destination")?;
                leads_somewhere(&to)?;
                routing::rewrite(from, to.text()?, status, has, missing).map_err(failed)
            }
            Self::Headers => {
                place.unknown(&["source", "headers", "has", "missing"], warnings)?;
                let mut fields = Vec::new();
                for field in place.required("headers")?.each(MAX_FIELDS.0)? {
                    let (name, value) = (field.required("key")?, field.required("value")?);
                    fields.push((name.text()?.to_owned(), value.text()?.to_owned()));
                    check_field(&name, name.text()?, value.text()?)?;
                }
                routing::headers(from, &fields, has, missing).map_err(failed)
            }
        }
    }
}

pub(super) fn routes(list: &Place<'_>, of_2019: bool, warnings: &mut Vec<String>) -> Result<Vec<Route>, BuildError> {
    let (mut routes, mut phase, mut seen) = (Vec::new(), Phase::Start, Vec::new());
    for place in list.each(MAX_ENTRIES)? {
        if let Some(handle) = place.member("handle") {
            phase = match handle.text()? {
                "filesystem" => Phase::Filesystem,
                "miss" => Phase::Miss,
                "hit" => Phase::Hit,
                "rewrite" => Phase::Rewrite,
                "resource" => Phase::Resource,
                "error" => Phase::Error,
                _ => return Err(handle.wrong("filesystem, miss, hit, rewrite, resource or error")),
            };
            if place.object()?.len() > 1 {
                return Err(place.wrong("\"handle\" alone"));
            }
            if seen.contains(&phase) {
                return Err(handle.wrong("each handle once"));
            }
            seen.push(phase);
            continue;
        }
        place.unknown(&[&FIELDS[..], &LATER[..]].concat(), warnings)?;
        let route = route(&place, phase, of_2019)?;
        compiles(&route, &place.member("src").unwrap_or_else(|| place.clone()))?;
        routes.push(route);
    }
    Ok(routes)
}

fn route(place: &Place<'_>, phase: Phase, of_2019: bool) -> Result<Route, BuildError> {
    let truth = |name: &str| place.member(name).map(|place| place.truth()).transpose().map(Option::unwrap_or_default);
    let denies = match place.member("mitigate") {
        Some(mitigate) if mitigate.value.get("action").and_then(serde_json::Value::as_str) == Some("deny") => true,
        Some(mitigate) => return Err(mitigate.wrong("{\"action\":\"deny\"}: this version has no other")),
        None => false,
    };
    if let Some(later) = LATER.iter().filter(|name| **name != "mitigate").find_map(|name| place.member(name)) {
        return Err(later.wrong("to be left out: this version does not serve it"));
    }
    let src = place.either("src", "source")?.ok_or_else(|| place.wrong("an object with \"src\" or \"handle\""))?;
    let dest = place.either("dest", "destination")?;
    let status = place.either("status", "statusCode")?.map(|place| status(&place, 100..=999)).transpose()?;
    let status = if denies { Some(403) } else { status };
    let (goes_on, check) = (truth("continue")?, truth("check")?);
    let redirects = status.is_some_and(|status| (300..400).contains(&status));
    if let Some(dest) = dest.as_ref().filter(|_| !redirects) {
        leads_somewhere(dest)?;
    }
    match phase {
        Phase::Hit if dest.is_some() || status.is_some() || !goes_on => {
            return Err(place.wrong("\"continue\": true and neither \"dest\" nor \"status\" behind handle hit"));
        }
        Phase::Miss if dest.is_some() && !check => {
            return Err(place.wrong("\"check\": true beside \"dest\" behind handle miss"));
        }
        Phase::Miss if dest.is_none() && !goes_on => {
            return Err(place.wrong("\"dest\" or \"continue\": true behind handle miss"));
        }
        _ => {}
    }
    let mut headers = BTreeMap::new();
    if let Some(fields) = place.member("headers") {
        for (name, value) in fields.members()? {
            check_field(&value, name, value.text()?)?;
            headers.insert(name.to_ascii_lowercase(), value.text()?.to_owned());
        }
    }
    let mut methods = Vec::new();
    if let Some(list) = place.member("methods") {
        for method in list.each(10)? {
            let is_method = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase());
            let text = Some(method.text()?).filter(is_method);
            methods.push(text.ok_or_else(|| method.wrong("a method in upper case such as \"GET\""))?.to_owned());
        }
    }
    let then = match (goes_on, check && dest.is_some()) {
        (true, _) => Then::Continue,
        (false, true) => Then::Check,
        (false, false) => Then::Finish,
    };
    Ok(Route {
        src: src.text()?.to_owned(),
        dest: dest.map(|dest| dest.text().map(str::to_owned)).transpose()?.unwrap_or_default(),
        phase,
        then,
        status,
        headers,
        methods,
        ignore_case: !truth("caseSensitive")?,
        dest_wins: of_2019,
        has: conditions(place, "has")?,
        missing: conditions(place, "missing")?,
    })
}

pub(super) fn status(place: &Place<'_>, range: std::ops::RangeInclusive<u64>) -> Result<u16, BuildError> {
    let status =
        place.value.as_u64().filter(|status| range.contains(status)).and_then(|status| u16::try_from(status).ok());
    status.ok_or_else(|| place.wrong(format!("a status from {} to {}", range.start(), range.end())))
}

/// A path of this deployment, or the URL of another server.
fn leads_somewhere(dest: &Place<'_>) -> Result<(), BuildError> {
    let text = dest.text()?;
    if text.starts_with("//") {
        return Err(dest.wrong("a path with one slash, or a URL that begins with https://"));
    }
    routing::is_elsewhere(text).map(drop).map_err(|expected| dest.wrong(expected))
}

pub(super) fn check_field(place: &Place<'_>, name: &str, value: &str) -> Result<(), BuildError> {
    let lower = name.to_ascii_lowercase();
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || name.len() > 128 || !name.chars().all(is_token) {
        return Err(place.wrong(format!("the name of a field, not {name:?}")));
    }
    if NOT_A_ROUTES.contains(&lower.as_str()) || lower.starts_with("x-dockless-") {
        return Err(place.wrong(format!("another field: {name} is not for routes to set")));
    }
    if value.len() > MAX_FIELDS.1 || value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(place.wrong("at most 32768 bytes in one line"));
    }
    // One for the base domain would reach every other deployment.
    let for_others = || value.to_ascii_lowercase().split(';').any(|part| part.trim_start().starts_with("domain"));
    if lower == "set-cookie" && for_others() {
        return Err(place.wrong("a cookie without \"Domain\""));
    }
    Ok(())
}

fn conditions(place: &Place<'_>, name: &str) -> Result<Vec<Condition>, BuildError> {
    let Some(list) = place.member(name) else { return Ok(Vec::new()) };
    list.each(MAX_CONDITIONS)?.iter().map(condition).collect()
}

fn condition(place: &Place<'_>) -> Result<Condition, BuildError> {
    let kind = place.required("type")?;
    let kind = match kind.text()? {
        "host" => Subject::Host,
        "header" => Subject::Header,
        "cookie" => Subject::Cookie,
        "query" => Subject::Query,
        _ => return Err(kind.wrong("host, header, cookie or query")),
    };
    let mut key = if kind == Subject::Host { String::new() } else { place.required("key")?.text()?.to_owned() };
    if kind == Subject::Header {
        key.make_ascii_lowercase();
    }
    let mut tests = Vec::new();
    match place.member("value") {
        None if kind == Subject::Host => return Err(place.wrong("a \"value\" for the host")),
        None => {}
        Some(value) if value.value.is_string() => {
            tests.push(Test { operator: Operator::Re, values: vec![value.text()?.to_owned()] });
        }
        Some(value) => {
            for (name, operand) in value.members()? {
                let operator = match name {
                    "re" => Operator::Re,
                    "eq" => Operator::Eq,
                    "neq" => Operator::Neq,
                    "inc" => Operator::Inc,
                    "ninc" => Operator::Ninc,
                    "pre" => Operator::Pre,
                    "suf" => Operator::Suf,
                    "gt" => Operator::Gt,
                    "gte" => Operator::Gte,
                    "lt" => Operator::Lt,
                    "lte" => Operator::Lte,
                    _ => return Err(operand.wrong("one of eq, neq, inc, ninc, pre, suf, re, gt, gte, lt, lte")),
                };
                let one = |place: &Place<'_>| match place.value {
                    serde_json::Value::String(text) => Ok(text.clone()),
                    serde_json::Value::Number(number) => Ok(number.to_string()),
                    _ => Err(place.wrong("a text or a number")),
                };
                let values = match operator {
                    Operator::Inc | Operator::Ninc => operand.each(1024)?.iter().map(one).collect::<Result<_, _>>()?,
                    _ => vec![one(&operand)?],
                };
                tests.push(Test { operator, values });
            }
        }
    }
    Ok(Condition { kind, key, tests })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<(Routing, Vec<String>), BuildError> {
        let (value, mut warnings) = (serde_json::from_str(text).unwrap(), Vec::new());
        let path = "vercel.json".parse().unwrap();
        read(&Place::new(&path, String::new(), &value), false, &mut warnings).map(|routing| (routing, warnings))
    }

    #[test]
    fn routes_have_fields_and_phases() {
        let (routing, warnings) = of(r#"{"routes":[
            {"src":"/a","methods":["GET"],"headers":{"X-A":"$1"},"continue":true,"caseSensitive":true},
            {"source":"/b","destination":"/c","check":true,"has":[{"type":"header","key":"X-B","value":{"pre":"x"}}]},
            {"handle":"filesystem"},{"src":"/d","status":404,"desc":1},
            {"handle":"error"},{"src":"/.*","status":404,"dest":"/404.html"}]}"#)
        .unwrap();
        let [a, b, d, e] = &routing.routes[..] else { panic!("{routing:?}") };
        assert_eq!((a.then, a.headers["x-a"].as_str(), a.ignore_case), (Then::Continue, "$1", false));
        assert_eq!((b.then, b.dest.as_str(), b.has[0].key.as_str()), (Then::Check, "/c", "x-b"));
        assert_eq!((d.then, d.phase, d.status, d.ignore_case), (Then::Finish, Phase::Filesystem, Some(404), true));
        assert_eq!((e.phase, e.status), (Phase::Error, Some(404)));
        assert_eq!(warnings, ["vercel.json: nothing reads routes[3].desc (did you mean \"dest\"?)"]);
    }

    #[test]
    fn properties_are_lowered_in_their_order() {
        let (routing, _) = of(r#"{"cleanUrls":true,"trailingSlash":false,
            "rewrites":[{"source":"/r/:p*","destination":"/api/hello?name=:p*"}],
            "headers":[{"source":"/(.*)","headers":[{"key":"X-A","value":"b"}]}],
            "redirects":[{"source":"/old/:x","destination":"/new/:x","permanent":false}]}"#)
        .unwrap();
        let seen: Vec<_> = routing.routes.iter().map(|route| (route.src.as_str(), route.status)).collect();
        assert_eq!(
            seen[2..],
            [
                ("^/(.*)\\/$", Some(308)),
                ("^/old(?:/([^/]+?))$", Some(307)),
                ("^(?:/(.*))$", None),
                ("^/r(?:/((?:[^/]+?)(?:/(?:[^/]+?))*))?$", None)
            ]
        );
        assert!(routing.clean_urls);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            (r#"{"routes":{}}"#, "vercel.json sets routes to {}: expected a list"),
            (r#"{"routes":[],"cleanUrls":true}"#, "sets cleanUrls to true: expected to be left out"),
            (r#"{"routes":[{"dest":"/"}]}"#, "sets routes[0] to"),
            (r#"{"routes":[{"src":"/","source":"/"}]}"#, "routes[0].source"),
            (r#"{"routes":[{"src":"("}]}"#, "routes[0].src to \"(\": expected a pattern"),
            (r#"{"routes":[{"src":"/","status":99}]}"#, "routes[0].status to 99: expected a status from 100 to 999"),
            (r#"{"routes":[{"src":"/","methods":["get"]}]}"#, "routes[0].methods[0]"),
            (r#"{"routes":[{"handle":"files"}]}"#, "routes[0].handle"),
            (r#"{"routes":[{"handle":"miss"},{"src":"/","dest":"/a"}]}"#, "routes[1]"),
            (r#"{"routes":[{"handle":"hit"},{"src":"/","status":404}]}"#, "routes[1]"),
            (r#"{"routes":[{"src":"/","transforms":[]}]}"#, "routes[0].transforms"),
            (r#"{"routes":[{"src":"/","dest":"https://u@x.example"}]}"#, "without a user"),
            (r#"{"routes":[{"src":"/","dest":"//x.example"}]}"#, "a path with one slash"),
            (r#"{"routes":[{"src":"/","headers":{"Content-Length":"1"}}]}"#, "not for routes to set"),
            (r#"{"routes":[{"src":"/","headers":{"Set-Cookie":"a=b; Domain=x"}}]}"#, "without \"Domain\""),
            (
                r#"{"redirects":[{"source":"/:a","destination":"/:b"}]}"#,
                "redirects[0].destination to \"/:b\": expected :b",
            ),
            (r#"{"redirects":[{"source":"/a","destination":"/b","permanent":true,"statusCode":301}]}"#, "permanent"),
            (r#"{"rewrites":[{"source":"a","destination":"/b"}]}"#, "rewrites[0].source"),
            (r#"{"headers":[{"source":"/","headers":[{"key":"a"}]}]}"#, "headers[0].headers[0]"),
            (r#"{"rewrites":[{"source":"/","destination":"/","has":[{"type":"ip"}]}]}"#, "rewrites[0].has[0].type"),
            (r#"{"trailingSlash":"yes"}"#, "trailingSlash to \"yes\": expected true or false"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.to_string().contains(expected), "{text}: {error}");
            assert_eq!(error.code(), "bad_option");
        }
    }
}
