//! What package.json, now.json and vercel.json ask for. What this version does not do is refused by name instead of being
//! overlooked.

mod builds;
mod place;
mod prebuilt;
mod routes;
mod service;
mod site;

pub(crate) use builds::{Build, Native};
pub(crate) use prebuilt::{Prebuilt, prebuilt};
pub(crate) use routes::Routing;
pub(crate) use service::ServiceSettings;
pub(crate) use site::Site;

use crate::{BuildError, Source};
use dockless_model::output::Route;
use dockless_model::{FunctionLimits, MemoryMib, ServiceRules, SourcePath};
use globset::{GlobBuilder, GlobMatcher};
use place::Place;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Keys of now.json and vercel.json that change what is built or served and are not read by this version.
const MEANINGFUL: [&str; 13] = [
    "bulkRedirectsPath",
    "bunVersion",
    "crons",
    "devCommand",
    "experimentalServices",
    "experimentalServicesV2",
    "framework",
    "ignoreCommand",
    "images",
    "proxy",
    "services",
    "static",
    "service",
];
/// Keys that are read, here or by clients, or that name and describe.
const KNOWN: [&str; 42] = [
    "$schema",
    "alias",
    "api",
    "build",
    "buildCommand",
    "builds",
    "cleanUrls",
    "description",
    "dotenv",
    "egress",
    "engines",
    "env",
    "features",
    "files",
    "fluid",
    "forwardNpm",
    "functionFailoverRegions",
    "functions",
    "git",
    "github",
    "headers",
    "installCommand",
    "limits",
    "meta",
    "name",
    "outputDirectory",
    "passiveRegions",
    "probes",
    "project",
    "public",
    "redirects",
    "regions",
    "relatedProjects",
    "rewrites",
    "routes",
    "scale",
    "scope",
    "sessionAffinity",
    "slot",
    "trailingSlash",
    "type",
    "version",
];
/// Longest time that a function may ask for, in seconds.
const MAX_DURATION: u64 = 900;

/// What configuration says about the build.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// `buildCommand`; empty for none.
    pub(crate) build_command: Option<String>,
    /// `installCommand`; empty for none.
    pub(crate) install_command: Option<String>,
    /// `outputDirectory`; empty for none.
    pub(crate) output_directory: Option<String>,
    /// What concerns a server built from a Dockerfile.
    pub(crate) service: ServiceSettings,
    /// The configuration that wants such a server.
    pub(crate) wants_dockerfile: Option<SourcePath>,
    /// `egress` is false.
    pub(crate) no_egress: bool,
    /// What may be asked for a service.
    rules: ServiceRules,
    /// `functions`, in their order.
    functions: Vec<Options>,
    /// `builds`, if there are any.
    pub(crate) builds: Option<Vec<Build>>,
    /// Routes, in their order.
    pub(crate) routing: Routing,
    /// A site of files, as in 2018.
    pub(crate) site: Option<Site>,
    /// What the owner should know although the build goes on.
    pub(crate) warnings: Vec<String>,
}

/// One entry of `functions`.
#[derive(Debug, Clone)]
struct Options {
    path: GlobMatcher,
    include: Vec<String>,
    exclude: Vec<String>,
    memory: Option<MemoryMib>,
    duration_ms: Option<u64>,
}

/// What configuration says about one function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FunctionSettings {
    /// Globs of files that belong to it whatever the analysis finds.
    pub(crate) include: Vec<String>,
    /// Globs of files that do not.
    pub(crate) exclude: Vec<String>,
    /// Its limits.
    pub(crate) limits: FunctionLimits,
}

impl Settings {
    /// The first entry that fits decides.
    pub(crate) fn function(&self, entrypoint: &SourcePath) -> FunctionSettings {
        let mut settings = FunctionSettings::default();
        if let Some(options) = self.functions.iter().find(|options| options.path.is_match(entrypoint.as_str())) {
            settings.include.clone_from(&options.include);
            settings.exclude.clone_from(&options.exclude);
            settings.limits.memory = options.memory.unwrap_or(settings.limits.memory);
            settings.limits.duration_ms = options.duration_ms.unwrap_or(settings.limits.duration_ms);
        }
        settings
    }
}

/// Reads the configuration and refuses what this version would have to obey and does not.
pub(crate) fn check(source: &Source) -> Result<Settings, BuildError> {
    let mut settings = Settings { rules: source.rules.clone(), ..Settings::default() };
    let configurations: Vec<&SourcePath> =
        source.documents.keys().filter(|path| matches!(path.as_str(), "now.json" | "vercel.json")).collect();
    if let [first, second] = configurations[..] {
        return Err(BuildError::TwoConfigurations { first: first.clone(), second: second.clone() });
    }
    for (path, bytes) in &source.documents {
        if path.extension() != Some("json") {
            continue;
        }
        let document = parse(bytes).map_err(|error| BuildError::Malformed { path: path.clone(), source: error })?;
        if matches!(path.as_str(), "now.json" | "vercel.json") {
            configuration(path, bytes, &document, &mut settings)?;
            // Without a type its files say what it is.
            if settings.site.is_some() && !sets_type(&document) {
                // Nor are functions ever shown as text.
                let has_functions = source.files.keys().any(crate::functions::is_code);
                if source.files.contains_key("package.json") || has_functions {
                    return Err(BuildError::Configuration { path: path.clone(), key: "version".to_owned() });
                }
                if Source::DOCKERFILES.iter().any(|name| source.files.contains_key(*name)) {
                    settings.site = None;
                }
            }
        }
    }
    Ok(settings)
}

fn sets_type(document: &Map<String, Value>) -> bool {
    document.get("type").is_some_and(is_set)
}

/// Reads a JSON object.
pub(crate) fn parse(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    serde_json::from_slice(without_mark(bytes))
}

/// Editors of some systems begin a file with a byte order mark.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The part of a configuration where the order of entries counts.
#[derive(serde::Deserialize)]
struct Written {
    functions: Names,
}

/// Names of an object's entries, as they are written.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn configuration(
    path: &SourcePath,
    bytes: &[u8],
    document: &Map<String, Value>,
    settings: &mut Settings,
) -> Result<(), BuildError> {
    let sets = |key: &str| document.get(key).is_some_and(is_set);
    service::read(path, document, settings)?;
    let old = document.get("version").is_some_and(|version| version.as_u64() != Some(2));
    let is_site = service::is_static(document);
    let old = old && !service::is_docker(document) && !is_site;
    let key = MEANINGFUL
        .into_iter()
        .find(|key| sets(key) && !(is_site && *key == "static"))
        .or_else(|| old.then_some("version"));
    if let Some(key) = key {
        return Err(BuildError::Configuration { path: path.clone(), key: key.to_owned() });
    }
    let whole = Value::Object(document.clone());
    let root = Place::new(path, String::new(), &whole);
    root.unknown(&[&KNOWN[..], &MEANINGFUL[..]].concat(), &mut settings.warnings)?;
    if is_site {
        settings.site = Some(site::read(root.member("static").as_ref(), &mut settings.warnings)?);
        return Ok(());
    }
    settings.builds = builds::read(&root, (&settings.rules, &settings.service), &mut settings.warnings)?;
    settings.routing = routes::read(&root, settings.builds.is_some(), &mut settings.warnings)?;
    let bad = |key: &str, expected: &'static str| BuildError::Option {
        path: path.clone(),
        key: key.to_owned(),
        expected: expected.into(),
    };
    for (key, slot) in [
        ("buildCommand", &mut settings.build_command),
        ("installCommand", &mut settings.install_command),
        ("outputDirectory", &mut settings.output_directory),
    ] {
        match document.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => *slot = Some(text.trim().to_owned()),
            Some(_) => return Err(bad(key, "expected a text")),
        }
    }
    if let Some(folder) = settings.output_directory.as_mut().filter(|folder| !folder.is_empty()) {
        let clean = folder.strip_prefix("./").unwrap_or(folder).trim_end_matches('/').to_owned();
        clean
            .parse::<SourcePath>()
            .map_err(|_| bad("outputDirectory", "expected a folder of the project, e.g. \"dist\""))?;
        *folder = clean;
    }
    match document.get("egress") {
        None | Some(Value::Null) => {}
        Some(Value::Bool(egress)) => settings.no_egress = !egress,
        Some(_) => return Err(bad("egress", "expected true or false")),
    }
    // A redirect is followed by the client.
    let redirects = |route: &Route| route.status.is_some_and(|status| (300..400).contains(&status));
    let elsewhere = |route: &Route| !redirects(route) && dockless_routing::is_elsewhere(&route.dest) == Ok(true);
    if settings.no_egress && settings.routing.routes.iter().any(elsewhere) {
        return Err(bad("egress", "a route leads to another server, expected true"));
    }
    match document.get("functions") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(entries)) => {
            // The object knows its entries by name alone; the text has their order.
            let Written { functions } = serde_json::from_slice(without_mark(bytes))
                .map_err(|error| BuildError::Malformed { path: path.clone(), source: error })?;
            for glob in functions.0 {
                if let Some(options) = entries.get(&glob) {
                    settings.functions.push(function(path, &glob, options)?);
                }
            }
            Ok(())
        }
        Some(_) => Err(bad("functions", "expected an object")),
    }
}

fn function(path: &SourcePath, glob: &str, options: &Value) -> Result<Options, BuildError> {
    let bad = |key: &str, expected: &'static str| BuildError::Option {
        path: path.clone(),
        key: if key.is_empty() { format!("functions[{glob:?}]") } else { format!("functions[{glob:?}].{key}") },
        expected: expected.into(),
    };
    let matcher = matcher(glob).ok_or_else(|| bad("", "expected a path or a glob"))?;
    let options = options.as_object().ok_or_else(|| bad("", "expected an object"))?;
    let mut found =
        Options { path: matcher, include: Vec::new(), exclude: Vec::new(), memory: None, duration_ms: None };
    for (key, value) in options.iter().filter(|(_, value)| is_set(value)) {
        let globs = || {
            let one_or_more = match value {
                Value::String(glob) => Some(vec![glob.clone()]),
                Value::Array(list) => list.iter().map(|glob| glob.as_str().map(str::to_owned)).collect(),
                _ => None,
            };
            let clean = |glob: String| glob.strip_prefix("./").map(str::to_owned).unwrap_or(glob);
            let globs: Option<Vec<String>> = one_or_more.map(|globs| globs.into_iter().map(clean).collect());
            globs
                .filter(|globs| globs.len() <= 100 && globs.iter().all(|glob| self::matcher(glob).is_some()))
                .ok_or_else(|| bad(key, "expected a glob below the project, or a list of them"))
        };
        match key.as_str() {
            "includeFiles" => found.include = globs()?,
            "excludeFiles" => found.exclude = globs()?,
            "memory" => {
                let mib = value.as_u64().and_then(|mib| u32::try_from(mib).ok());
                let memory = mib.and_then(|mib| MemoryMib::new(mib).ok());
                found.memory = Some(memory.ok_or_else(|| bad(key, "expected 128 to 3008"))?);
            }
            "maxDuration" => {
                let seconds = value.as_u64().filter(|seconds| (1..=MAX_DURATION).contains(seconds));
                found.duration_ms = Some(seconds.ok_or_else(|| bad(key, "expected 1 to 900 seconds"))? * 1000);
            }
            _ => return Err(bad(key, "this version does not read it")),
        }
    }
    Ok(found)
}

/// A glob over paths of the project: `*` stays in its folder. `None` for one that is none, or that leads out.
pub(crate) fn matcher(glob: &str) -> Option<GlobMatcher> {
    let inside = !glob.is_empty() && !glob.starts_with('/') && glob.split('/').all(|part| part != "..");
    // A bracket is a parameter's name in paths of functions, not a set of characters.
    let literal = glob.replace('[', "[[]");
    let built = GlobBuilder::new(&literal).literal_separator(true).build();
    built.ok().filter(|_| inside && glob.len() <= 1024).map(|glob| glob.compile_matcher())
}

/// Neither null, false, "", [] nor {}: those say the same as leaving the key out.
pub(crate) fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, BuildError> {
        let path: SourcePath = "vercel.json".parse().unwrap();
        let mut source = Source::default();
        source.documents.insert(path, text.as_bytes().to_vec());
        check(&source)
    }

    #[test]
    fn functions_are_found_by_path_and_by_glob() {
        let settings = read(
            r#"{"functions":{"api/[id].js":{"memory":512},"api/*.js":{"maxDuration":60,"includeFiles":"./data/**"},
                "api/**":{"excludeFiles":["a/*","b"]}}}"#,
        )
        .unwrap();
        let of = |path: &str| settings.function(&path.parse().unwrap());
        assert_eq!(of("api/[id].js").limits.memory.get(), 512);
        assert_eq!(of("api/i.js").limits.memory.get(), 3008);
        assert_eq!((of("api/a.js").limits.duration_ms, of("api/a.js").include), (60_000, vec!["data/**".to_owned()]));
        assert_eq!(of("api/x/a.js").exclude.len(), 2);
        assert_eq!(of("lib/a.js"), FunctionSettings::default());
    }

    #[test]
    fn without_a_way_out_a_client_can_still_be_sent_elsewhere() {
        let redirect = r#"{"egress":false,"routes":[{"src":"/","dest":"https://x.example","status":302}]}"#;
        assert!(read(redirect).is_ok_and(|settings| settings.no_egress));
    }

    #[test]
    fn what_cannot_be_obeyed_is_named() {
        for (text, key) in [
            (r#"{"functions":{"api/a.js":{"runtime":"php@1"}}}"#, r#"functions["api/a.js"].runtime"#),
            (r#"{"egress":"off"}"#, "egress"),
            (r#"{"egress":false,"routes":[{"src":"/","dest":"https://x.example"}]}"#, "egress"),
            (r#"{"functions":{"api/a.js":{"memory":64}}}"#, r#"functions["api/a.js"].memory"#),
            (r#"{"functions":{"api/a.js":{"maxDuration":901}}}"#, r#"functions["api/a.js"].maxDuration"#),
            (r#"{"functions":{"api/a.js":{"includeFiles":"../x"}}}"#, r#"functions["api/a.js"].includeFiles"#),
            (r#"{"functions":{"/etc/*":{}}}"#, r#"functions["/etc/*"]"#),
            (r#"{"functions":[1]}"#, "functions"),
            (r#"{"outputDirectory":"../x"}"#, "outputDirectory"),
            (r#"{"buildCommand":7}"#, "buildCommand"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.code(), "bad_option", "{text}");
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
