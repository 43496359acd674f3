//! `builds` of now.json and vercel.json: which files are built by whom, as in 2019.

use super::{ServiceSettings, matcher, place::Place, service};
use crate::{BuildError, go::GO};
use dockless_model::{ServiceRules, SourcePath};
use globset::GlobMatcher;
use serde_json::Value;

/// Most entries.
const MAX_BUILDS: usize = 128;
/// Members of `config` that are read, or that say nothing here.
const CONFIG: [&str; 11] = [
    "includeFiles",
    "excludeFiles",
    "helpers",
    "maxLambdaSize",
    "zeroConfig",
    "bundle",
    "hosted",
    "distDir",
    "outputDirectory",
    "buildCommand",
    "framework",
];

/// Members of `config` of a server.
const CONFIG_OF_DOCKER: [&str; 5] = ["slot", "limits", "build", "context", "zeroConfig"];

/// Who builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Native {
    /// Files as they are.
    Static,
    /// Files that a script leaves.
    StaticBuild,
    /// Functions in this language.
    Language(&'static str),
    /// A server from a Dockerfile.
    Docker,
}

/// Builders by the names of the packages that they stand for.
const BUILDERS: [(&str, Native); 14] = [
    ("@dockless/docker", Native::Docker),
    ("@now/static", Native::Static),
    ("@vercel/static", Native::Static),
    ("@now/static-build", Native::StaticBuild),
    ("@vercel/static-build", Native::StaticBuild),
    ("@now/node", Native::Language("node")),
    ("@vercel/node", Native::Language("node")),
    ("@now/node-server", Native::Language("node")),
    ("@now/python", Native::Language("python")),
    ("@vercel/python", Native::Language("python")),
    ("@now/php", Native::Language("php")),
    ("vercel-php", Native::Language("php")),
    ("@now/go", Native::Language(GO)),
    ("@vercel/go", Native::Language(GO)),
];

/// One entry of `builds`.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    /// As it is written.
    pub(crate) src: String,
    /// Which files.
    pub(crate) files: GlobMatcher,
    /// Who builds them.
    pub(crate) native: Native,
    /// Globs of files that belong to each bundle.
    pub(crate) include: Vec<String>,
    /// Globs of files that do not.
    pub(crate) exclude: Vec<String>,
    /// Whether request and response get helpers.
    pub(crate) helpers: bool,
    /// The folder that its script leaves, from the entrypoint's own: `distDir`.
    pub(crate) output: Option<String>,
    /// A line for the shell instead of a script: `buildCommand`.
    pub(crate) command: Option<String>,
    /// Of a server.
    pub(crate) service: ServiceSettings,
    /// The folder that a Dockerfile copies from, empty for the project itself; none: its own folder.
    pub(crate) context: Option<String>,
}

/// Reads them; `None` where there are none.
pub(super) fn read(
    root: &Place<'_>,
    (rules, defaults): (&ServiceRules, &ServiceSettings),
    warnings: &mut Vec<String>,
) -> Result<Option<Vec<Build>>, BuildError> {
    let Some(list) = root.member("builds") else { return Ok(None) };
    let builds = list
        .each(MAX_BUILDS)?
        .iter()
        .map(|place| build(place, (rules, defaults), warnings))
        .collect::<Result<Vec<_>, _>>()?;
    // An empty list says the same as leaving it out.
    if builds.is_empty() {
        return Ok(None);
    }
    if let Some(functions) = root.member("functions").filter(|place| super::is_set(place.value)) {
        return Err(functions.wrong("to be left out beside \"builds\": each of those has its own \"config\""));
    }
    Ok(Some(builds))
}

fn build(
    place: &Place<'_>,
    (rules, defaults): (&ServiceRules, &ServiceSettings),
    warnings: &mut Vec<String>,
) -> Result<Build, BuildError> {
    place.unknown(&["src", "use", "config"], warnings)?;
    let used = place.required("use")?;
    let native = native(used.text()?).ok_or_else(|| {
        let known: Vec<&str> = BUILDERS.iter().map(|(name, _)| *name).collect();
        used.wrong(format!("a builder of this version: {}", known.join(", ")))
    })?;
    let src = match place.member("src") {
        Some(src) => src.text()?.trim_start_matches("./").trim_start_matches('/').to_owned(),
        None if native == Native::Static => "**".to_owned(),
        None => return Err(place.wrong("an object with \"src\"")),
    };
    let files = matcher(&src).ok_or_else(|| place.wrong("a path or a glob below the project as \"src\""))?;
    let (include, exclude) = (Vec::new(), Vec::new());
    let (service, context) = (defaults.clone(), None);
    let mut found =
        Build { src, files, native, include, exclude, helpers: true, output: None, command: None, service, context };
    let config = place.member("config");
    if let (Native::Docker, Some(config)) = (native, &config) {
        config.unknown(&CONFIG_OF_DOCKER, warnings)?;
        let within = format!("{}.", config.key());
        service::read_server((config.file(), &within), config.object()?, rules, &mut found.service)?;
        found.context = config.member("context").map(|place| self::context(&place)).transpose()?;
        return Ok(found);
    }
    if let Some(config) = config {
        config.unknown(&CONFIG, warnings)?;
        if let Some(hosted) = config.member("hosted").filter(|place| *place.value == Value::Bool(true)) {
            return Err(hosted.wrong("to be left out: this version runs no packages as builders"));
        }
        for (name, slot) in [("includeFiles", &mut found.include), ("excludeFiles", &mut found.exclude)] {
            if let Some(globs) = config.member(name) {
                *slot = self::globs(&globs)?;
            }
        }
        if native == Native::StaticBuild {
            let output = config.either("distDir", "outputDirectory")?;
            found.output = output.map(|place| folder(&place)).transpose()?;
            let command = config.member("buildCommand").map(|place| place.text()).transpose()?;
            found.command = command.map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned);
        }
        if let Some(helpers) = config.member("helpers") {
            found.helpers = helpers.truth()?;
        }
    }
    Ok(found)
}

/// A folder of the project, or the project itself.
fn context(place: &Place<'_>) -> Result<String, BuildError> {
    let text = place.text()?.trim();
    let clean = text.strip_prefix("./").unwrap_or(text).trim_matches('/');
    if matches!(clean, "" | ".") {
        return Ok(String::new());
    }
    clean.parse::<SourcePath>().map_err(|_| place.wrong("a folder of the project, e.g. \".\" for all of it"))?;
    Ok(clean.to_owned())
}

/// A folder below the entrypoint's.
fn folder(place: &Place<'_>) -> Result<String, BuildError> {
    let text = place.text()?.trim();
    let clean = text.strip_prefix("./").unwrap_or(text).trim_matches('/');
    clean.parse::<SourcePath>().map_err(|_| place.wrong("a folder below the entrypoint's, e.g. \"dist\""))?;
    Ok(clean.to_owned())
}

fn globs(place: &Place<'_>) -> Result<Vec<String>, BuildError> {
    let one = |place: &Place<'_>| {
        let glob = place.text()?.trim_start_matches("./").to_owned();
        if matcher(&glob).is_some() { Ok(glob) } else { Err(place.wrong("a glob below the project")) }
    };
    if place.value.is_string() { Ok(vec![one(place)?]) } else { place.each(100)?.iter().map(one).collect() }
}

/// The builder that a package stands for, whatever its version: `@now/node@0.7.3`.
fn native(used: &str) -> Option<Native> {
    let name = match used.char_indices().skip(1).find(|(_, c)| *c == '@') {
        Some((at, _)) => &used[..at],
        None => used,
    };
    BUILDERS.iter().find(|(known, _)| *known == name).map(|(_, native)| *native)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Option<Vec<Build>>, BuildError> {
        let value = serde_json::from_str(text).unwrap();
        let (rules, defaults) = Default::default();
        read(&Place::new(&"now.json".parse().unwrap(), String::new(), &value), (&rules, &defaults), &mut Vec::new())
    }

    #[test]
    fn builders_are_known_by_their_packages() {
        let builds = of(r#"{"builds":[{"src":"/api/*.js","use":"@now/node@canary","config":{"helpers":false,
            "includeFiles":["data/**"]}},{"use":"@now/static"},{"src":"a.py","use":"@vercel/python"}]}"#)
        .unwrap()
        .unwrap();
        assert_eq!((builds[0].native, builds[0].helpers), (Native::Language("node"), false));
        assert!(builds[0].files.is_match("api/a.js") && !builds[0].files.is_match("api/a/b.js"));
        assert!(builds[1].native == Native::Static && builds[1].files.is_match("deep/er.txt"));
        assert_eq!(builds[2].native, Native::Language("python"));
        assert!(of(r#"{"builds":[]}"#).unwrap().is_none());
        let config = r#"{"slot":"c1-m256","limits":{"maxConcurrentReqs":3},"build":{"env":{"A":"b"}},"context":"./"}"#;
        let text = format!(r#"{{"builds":[{{"src":"s/Dockerfile","use":"@dockless/docker","config":{config}}}]}}"#);
        let server = of(&text).unwrap().unwrap().remove(0);
        assert_eq!((server.native, server.context.as_deref()), (Native::Docker, Some("")));
        assert_eq!((server.service.slot.to_string().as_str(), server.service.limits.concurrency), ("c1-m256", 3));
        assert_eq!(server.service.arguments["A"], "b");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            (r#"{"builds":[{"src":"a.rb","use":"@now/ruby"}]}"#, "builds[0].use to \"@now/ruby\": expected a builder"),
            (r#"{"builds":[{"src":"a.js"}]}"#, "builds[0]"),
            (
                r#"{"builds":[{"src":"package.json","use":"@now/static-build","config":{"distDir":"../x"}}]}"#,
                "builds[0].config.distDir to \"../x\": expected a folder",
            ),
            (r#"{"builds":[{"use":"@now/node"}]}"#, "\"src\""),
            (
                r#"{"builds":[{"src":"Dockerfile","use":"@dockless/docker","config":{"slot":"huge"}}]}"#,
                "builds[0].config.slot",
            ),
            (
                r#"{"builds":[{"src":"a/Dockerfile","use":"@dockless/docker","config":{"context":"../b"}}]}"#,
                "builds[0].config.context to \"../b\": expected a folder",
            ),
            (r#"{"builds":[{"src":"../x","use":"@now/node"}]}"#, "below the project"),
            (r#"{"builds":[{"src":"a","use":"@now/node","config":{"hosted":true}}]}"#, "builds[0].config.hosted"),
            (r#"{"builds":[{"src":"a","use":"@now/node"}],"functions":{"a":{"memory":128}}}"#, "sets functions"),
        ] {
            let error = of(text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
    }
}
