//! `config.json` of a tree that a build elsewhere left: Build Output API, version 3.

use super::{Place, is_set, parse, routes};
use crate::{BuildError, Source};
use dockless_model::output::Route;
use serde_json::Value;
use std::collections::BTreeMap;

/// What would change an answer and is not served by this version.
const LATER: [&str; 6] = ["images", "crons", "wildcard", "services", "experimentalServices", "experimentalServicesV2"];
/// What is read, or says nothing here.
const KNOWN: [&str; 7] = ["version", "routes", "overrides", "cache", "framework", "deploymentId", "flags"];
/// Most entries of `overrides`.
const MAX_OVERRIDES: usize = 100_000;

/// What such a file says.
#[derive(Debug, Default)]
pub(crate) struct Prebuilt {
    /// In order of trial.
    pub(crate) routes: Vec<Route>,
    /// Path of a static file → where it answers instead, and as what type.
    pub(crate) overrides: BTreeMap<String, (Option<String>, Option<String>)>,
    /// What the owner should know although it is served.
    pub(crate) warnings: Vec<String>,
}

/// Reads it.
pub(crate) fn prebuilt(source: &Source, path: &str) -> Result<Prebuilt, BuildError> {
    let Some((path, text)) = source.documents.get_key_value(path) else { return Ok(Prebuilt::default()) };
    let document = parse(text).map_err(|error| BuildError::Malformed { path: path.clone(), source: error })?;
    let whole = Value::Object(document);
    let root = Place::new(path, String::new(), &whole);
    let version = root.required("version")?;
    if version.value.as_u64() != Some(3) {
        return Err(version.wrong("3"));
    }
    let mut later = LATER.iter().filter_map(|name| root.member(name));
    if let Some(later) = later.find(|place| is_set(place.value)) {
        return Err(later.wrong("to be left out: this version does not serve it"));
    }
    let mut found = Prebuilt::default();
    root.unknown(&[&KNOWN[..], &LATER[..]].concat(), &mut found.warnings)?;
    if let Some(list) = root.member("routes") {
        found.routes = routes::routes(&list, false, &mut found.warnings)?;
    }
    if let Some(overrides) = root.member("overrides") {
        let entries = overrides.members()?;
        if entries.len() > MAX_OVERRIDES {
            return Err(overrides.wrong("fewer entries"));
        }
        for (name, place) in entries {
            let text = |key: &str| place.member(key).map(|place| place.text().map(str::to_owned)).transpose();
            found.overrides.insert(name.to_owned(), (text("path")?, text("contentType")?));
        }
    }
    Ok(found)
}
