//! `static` of now.json, version 1: what a site of files says about its paths, as in 2018.

use super::{Place, is_set, routes};
use crate::BuildError;
use dockless_model::SourcePath;
use dockless_model::output::{Phase, Route, Then};
use dockless_routing as routing;
use std::collections::BTreeMap;

/// What is read.
const KNOWN: [&str; 10] = [
    "public",
    "cleanUrls",
    "rewrites",
    "redirects",
    "headers",
    "directoryListing",
    "unlisted",
    "trailingSlash",
    "renderSingle",
    "symlinks",
];
/// Most entries of a list.
const MAX_ENTRIES: usize = 2048;
/// Redirects were permanent then.
const MOVED: u16 = 301;

/// A site of files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Site {
    /// The folder that is its root; empty for the source's own.
    pub(crate) public: String,
    /// Whether folders without an index are listed.
    pub(crate) listing: bool,
    /// Whether a folder of one file is that file.
    pub(crate) single: bool,
    /// `X.html` answers at `X`.
    pub(crate) clean_urls: bool,
    /// In order of trial.
    pub(crate) routes: Vec<Route>,
}

/// Reads it; `place` is the object, if there is one.
pub(super) fn read(place: Option<&Place<'_>>, warnings: &mut Vec<String>) -> Result<Site, BuildError> {
    let mut site = Site { listing: true, ..Site::default() };
    let Some(place) = place else { return Ok(site) };
    place.unknown(&KNOWN, warnings)?;
    if let Some(folder) = place.member("public") {
        let text = folder.text()?.trim();
        let clean = text.strip_prefix("./").unwrap_or(text).trim_matches('/');
        if !matches!(clean, "" | ".") {
            clean.parse::<SourcePath>().map_err(|_| folder.wrong("a folder of the project, e.g. \"site\""))?;
            site.public = clean.to_owned();
        }
    }
    let truth = |name: &str| {
        let found = place.member(name).map(|place| match place.value {
            serde_json::Value::Array(_) => Err(place.wrong("true or false: this version reads no lists of paths here")),
            _ => place.truth(),
        });
        found.transpose()
    };
    site.listing = truth("directoryListing")?.unwrap_or(true);
    site.single = truth("renderSingle")?.unwrap_or_default();
    site.clean_urls = truth("cleanUrls")?.unwrap_or_default();
    let slash = truth("trailingSlash")?;
    if let Some(unlisted) = place.member("unlisted").filter(|place| is_set(place.value)) {
        return Err(unlisted.wrong("to be left out: names in .nowignore are not uploaded at all"));
    }
    if truth("symlinks")? == Some(false) {
        warnings.push("static.symlinks: links are followed when a folder is uploaded".to_owned());
    }
    let mut rules = Vec::new();
    if site.clean_urls {
        rules.extend(routing::clean_urls(slash));
    }
    rules.extend(slash.map(routing::trailing_slash).unwrap_or_default());
    for rule in rules.iter_mut().filter(|rule| rule.status.is_some()) {
        rule.status = Some(MOVED);
    }
    site.routes = rules;
    for entry in list(place, "redirects")? {
        entry.unknown(&["source", "destination", "type"], warnings)?;
        let status = entry.member("type").map(|place| routes::status(&place, 300..=399)).transpose()?.unwrap_or(MOVED);
        let to = entry.required("destination")?.text()?;
        let glob = |src: String| Route {
            src,
            then: Then::Finish,
            status: Some(status),
            headers: BTreeMap::from([("location".to_owned(), to.to_owned())]),
            ..Route::default()
        };
        add(&mut site, &entry, |from| routing::redirect(from, to, status, Vec::new(), Vec::new()), glob)?;
    }
    for entry in list(place, "rewrites")? {
        entry.unknown(&["source", "destination"], warnings)?;
        let to = entry.required("destination")?.text()?;
        let to = if to.starts_with('/') { to.to_owned() } else { format!("/{to}") };
        // A file at the path itself did not go before them.
        let first = |route: Route| Route { phase: Phase::Start, then: Then::Finish, ..route };
        let glob = |src: String| first(Route { src, dest: to.clone(), ..Route::default() });
        add(&mut site, &entry, |from| routing::rewrite(from, &to, None, Vec::new(), Vec::new()).map(first), glob)?;
    }
    for entry in list(place, "headers")? {
        entry.unknown(&["source", "headers"], warnings)?;
        let mut fields = Vec::new();
        for field in entry.required("headers")?.each(50)? {
            let (name, value) = (field.required("key")?, field.required("value")?);
            routes::check_field(&name, name.text()?, value.text()?)?;
            fields.push((name.text()?.to_owned(), value.text()?.to_owned()));
        }
        let lower = |(name, value): &(String, String)| (name.to_ascii_lowercase(), value.clone());
        let glob = |src: String| Route {
            src,
            then: Then::Continue,
            headers: fields.iter().map(lower).collect(),
            ..Route::default()
        };
        add(&mut site, &entry, |from| routing::headers(from, &fields, Vec::new(), Vec::new()), glob)?;
    }
    Ok(site)
}

fn list<'a>(place: &Place<'a>, name: &str) -> Result<Vec<Place<'a>>, BuildError> {
    place.member(name).map_or_else(|| Ok(Vec::new()), |list| list.each(MAX_ENTRIES))
}

/// A source is a path with parameters, or a glob.
fn add(
    site: &mut Site,
    entry: &Place<'_>,
    lower: impl FnOnce(&str) -> Result<Route, routing::LowerError>,
    glob: impl FnOnce(String) -> Route,
) -> Result<(), BuildError> {
    let source = entry.required("source")?;
    let text = source.text()?.trim_start_matches("./");
    let from = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
    let route = match lower(&from) {
        Ok(route) => route,
        Err(routing::LowerError::Parameter(name)) => {
            return Err(entry.required("destination")?.wrong(format!("{name} to be in the source")));
        }
        Err(routing::LowerError::Source(error)) => match expression(&from) {
            Some(src) => glob(src),
            None => return Err(source.wrong(format!("a path with parameters, or a glob: {error}"))),
        },
    };
    routes::compiles(&route, &source)?;
    site.routes.push(route);
    Ok(())
}

/// A glob as a regular expression: `*` stays in its folder, `**` does not, `{a,b}` is one of them.
fn expression(glob: &str) -> Option<String> {
    let mut text = String::from("^");
    let mut open = false;
    let mut letters = glob.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '*' if letters.peek() == Some(&'*') => {
                letters.next();
                // `/**/` is one slash too.
                if letters.peek() == Some(&'/') {
                    letters.next();
                    text.push_str("(?:.*/)?");
                } else {
                    text.push_str(".*");
                }
            }
            '*' => text.push_str("[^/]*"),
            '?' => text.push_str("[^/]"),
            '{' if !open => {
                open = true;
                text.push_str("(?:");
            }
            '}' if open => {
                open = false;
                text.push(')');
            }
            ',' if open => text.push('|'),
            letter => text.push_str(&routing::src_literal(letter.encode_utf8(&mut [0; 4]))),
        }
    }
    text.push('$');
    (!open).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Site, BuildError> {
        let value = serde_json::from_str(text).unwrap();
        read(Some(&Place::new(&"now.json".parse().unwrap(), "static".to_owned(), &value)), &mut Vec::new())
    }

    #[test]
    fn a_site_is_described_as_in_2018() {
        let site = of(
            r#"{"public":"./site/","cleanUrls":true,"trailingSlash":false,"directoryListing":false,"renderSingle":true,
            "redirects":[{"source":"/old/:id","destination":"/new/:id"},{"source":"x/*","destination":"/","type":302}],
            "rewrites":[{"source":"app/**","destination":"app.html"}],
            "headers":[{"source":"**/*.{jpg,png}","headers":[{"key":"Cache-Control","value":"max-age=1"}]}]}"#,
        )
        .unwrap();
        assert_eq!((site.public.as_str(), site.listing, site.single, site.clean_urls), ("site", false, true, true));
        let seen: Vec<_> =
            site.routes.iter().map(|route| (route.src.as_str(), route.status, route.dest.as_str())).collect();
        assert_eq!(
            seen[3..],
            [
                ("^/old(?:/([^/]+?))$", Some(301), ""),
                ("^/x/[^/]*$", Some(302), ""),
                ("^/app/.*$", None, "/app.html"),
                ("^/(?:.*/)?[^/]*\\.(?:jpg|png)$", None, ""),
            ]
        );
        assert!(site.routes[..3].iter().all(|route| route.status == Some(301)));
        assert!(of("{}").unwrap().listing);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            (r#"{"public":"../x"}"#, "static.public"),
            (r#"{"cleanUrls":["/a"]}"#, "static.cleanUrls"),
            (r#"{"unlisted":["a"]}"#, "static.unlisted"),
            (r#"{"redirects":[{"source":"/a","destination":"/b","type":200}]}"#, "static.redirects[0].type"),
            (r#"{"redirects":[{"source":"/a","destination":"/:b"}]}"#, "static.redirects[0].destination"),
            (r#"{"rewrites":[{"source":"/{a","destination":"/b"}]}"#, "static.rewrites[0].source"),
            (r#"{"headers":[{"source":"/a","headers":[{"key":"host","value":"x"}]}]}"#, "not for routes"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.to_string().contains(words), "{words}: {error}");
        }
    }
}
