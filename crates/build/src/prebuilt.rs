//! What a build elsewhere left: a tree of the Build Output API, version 3, in `.vercel/output`.
//!
//! ```text
//! .vercel/output/config.json                       routes, overrides
//!                static/**                         files
//!                functions/PATH.func/**            a function at PATH: .vc-config.json and its bundle
//!                functions/PATH.prerender-…        what is served of it without asking it
//! ```
//! What is in there and not served by this version ends the deployment by its name.

use crate::detect::check_size;
use crate::documents::{self, Prebuilt};
use crate::plan::{MAX_BUNDLED_FILES, Plan};
use crate::statics::content_type;
use crate::{BuildError, Source, SourceFile, Step};
use dockless_model::output::StaticFile;
use dockless_model::{FunctionLimits, MemoryMib, SourcePath};
use dockless_routing::Table;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where such a tree lies in a source.
const ROOT: &str = ".vercel/output/";
const CONFIG: &str = ".vercel/output/config.json";
/// Of a function.
const FUNCTION: &str = ".vc-config.json";
const PRERENDER: &str = ".prerender-config.json";
/// Longest time and least and most memory that a function gets, whatever it asks for.
const MAX_SECONDS: u64 = 900;
const MEMORY: (u64, u64) = (128, 3008);

/// Whether a source is such a tree.
pub(crate) fn is_one(source: &Source) -> bool {
    source.files.contains_key(CONFIG)
}

/// Whether the content of this file decides about the deployment.
pub(crate) fn is_read(path: &SourcePath) -> bool {
    let Some(inside) = path.as_str().strip_prefix(ROOT) else { return false };
    matches!(inside, "config.json" | "builds.json")
        || (inside.starts_with("functions/")
            && (inside.ends_with(&format!(".func/{FUNCTION}")) || inside.ends_with(PRERENDER)))
}

/// What becomes of it.
pub(crate) fn plan(source: &Source) -> Result<Plan, BuildError> {
    if let Some(failed) =
        document(source, &format!("{ROOT}builds.json"))?.and_then(|builds| builds.get("error").cloned())
    {
        return Err(refused(&format!("{ROOT}builds.json"), &format!("it tells of a build that failed: {failed}")));
    }
    let Prebuilt { routes, overrides, mut warnings } = documents::prebuilt(source, CONFIG)?;
    let mut files = statics(source, &overrides)?;
    let mut steps = Vec::new();
    let mut asked_each_time = 0;
    for (path, folder) in functions(source) {
        let at: SourcePath = path.parse().map_err(|_| refused(&folder, "its name is no path that can be asked for"))?;
        match prerendered(source, &path)? {
            Kept::For { fallback, content_type } => {
                let file = StaticFile::new(fallback.blob, fallback.size, content_type);
                files.entry(at).or_insert(file);
                continue;
            }
            Kept::No => asked_each_time += 1,
            Kept::NotOne => {}
        }
        steps.push(step(source, &at, &folder)?);
    }
    if asked_each_time > 0 {
        warnings.push(format!(
            "{asked_each_time} prerendered pages are to be made anew after a while: this version keeps no answers, so their \
             functions are asked each time"
        ));
    }
    if files.is_empty() && steps.is_empty() {
        return Err(BuildError::Empty);
    }
    Table::compile(&routes).map_err(|source| BuildError::Routes { source })?;
    let bundles = steps.iter().filter_map(|step| Some((step, step.files.as_ref()?)));
    for (step, files) in bundles.clone() {
        check_size(&step.entrypoint, files)?;
    }
    // A deployment's output lists them for each function.
    if bundles.clone().map(|(_, files)| files.len()).sum::<usize>() > MAX_BUNDLED_FILES {
        let files = bundles.map(|(_, files)| files.len()).max().unwrap_or_default();
        return Err(BuildError::TooManyFiles { functions: steps.len(), files });
    }
    Ok(Plan {
        files,
        steps,
        shared: Arc::default(),
        routes,
        containers: Vec::new(),
        project: None,
        listing: false,
        clean_urls: false,
        egress: true,
        warnings,
    })
}

fn refused(path: &str, reason: &str) -> BuildError {
    let path = path.parse().or_else(|_| CONFIG.parse()).expect("a constant that is a path");
    BuildError::Prebuilt { path, reason: reason.to_owned() }
}

fn document(source: &Source, path: &str) -> Result<Option<Map<String, Value>>, BuildError> {
    let Some((path, text)) = source.documents.get_key_value(path) else { return Ok(None) };
    let parsed = documents::parse(text);
    parsed.map(Some).map_err(|error| BuildError::Malformed { path: path.clone(), source: error })
}

/// Files of `static/`, each where its override says.
fn statics(
    source: &Source,
    overrides: &BTreeMap<String, (Option<String>, Option<String>)>,
) -> Result<BTreeMap<SourcePath, StaticFile>, BuildError> {
    let mut files = BTreeMap::new();
    for (path, file) in &source.files {
        let Some(inside) = path.as_str().strip_prefix(ROOT).and_then(|path| path.strip_prefix("static/")) else {
            continue;
        };
        let (other, kind) = overrides.get(inside).cloned().unwrap_or_default();
        let named = other.as_deref().unwrap_or(inside).trim_matches('/');
        // The root itself is its index.
        let named = if named.is_empty() { "index.html" } else { named };
        let at: SourcePath = named.parse().map_err(|_| refused(CONFIG, &format!("overrides: {named:?} is no path")))?;
        let original: SourcePath = inside.parse().unwrap_or_else(|_| at.clone());
        let kind = kind.unwrap_or_else(|| content_type(&original));
        files.insert(at, StaticFile::new(file.blob, file.size, kind));
    }
    Ok(files)
}

/// Path → folder of each function.
fn functions(source: &Source) -> Vec<(String, String)> {
    let of = |path: &SourcePath| {
        let folder = path.as_str().strip_suffix(&format!("/{FUNCTION}"))?;
        let at = folder.strip_prefix(ROOT)?.strip_prefix("functions/")?.strip_suffix(".func")?;
        Some((at.to_owned(), folder.to_owned()))
    };
    source.files.keys().filter_map(of).collect()
}

/// Whether answers of a function were made before.
enum Kept {
    NotOne,
    /// Its function has to be asked.
    No,
    /// For ever.
    For {
        fallback: SourceFile,
        content_type: String,
    },
}

fn prerendered(source: &Source, path: &str) -> Result<Kept, BuildError> {
    let Some(config) = document(source, &format!("{ROOT}functions/{path}{PRERENDER}"))? else {
        return Ok(Kept::NotOne);
    };
    let fallback = match config.get("fallback") {
        Some(Value::String(name)) => Some(name.clone()),
        Some(Value::Object(file)) => file.get("fsPath").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    };
    let beside = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let file = fallback.and_then(|name| {
        let at = if beside.is_empty() { name } else { format!("{beside}/{name}") };
        source.files.get(format!("{ROOT}functions/{at}").as_str()).map(|file| (at, file.clone()))
    });
    let for_ever = config.get("expiration") == Some(&Value::Bool(false)) && config.get("initialStatus").is_none();
    let Some((at, fallback)) = file.filter(|_| for_ever) else { return Ok(Kept::No) };
    let said = config
        .get("initialHeaders")
        .and_then(Value::as_object)
        .and_then(|headers| headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"))?.1.as_str());
    let own = at.parse::<SourcePath>().map(|at| content_type(&at)).unwrap_or_default();
    Ok(Kept::For { fallback, content_type: said.map_or(own, str::to_owned) })
}

fn step(source: &Source, at: &SourcePath, folder: &str) -> Result<Step, BuildError> {
    let name = format!("{folder}/{FUNCTION}");
    let config = document(source, &name)?.ok_or_else(|| refused(&name, "it cannot be read"))?;
    let text = |key: &str| config.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let runtime = text("runtime").unwrap_or("none");
    if !runtime.starts_with("nodejs") {
        return Err(refused(
            &name,
            &format!("its runtime is {runtime:?}: this version serves Node.js out of such trees"),
        ));
    }
    if text("launcherType") != Some("Nodejs") || text("awsLambdaHandler").is_some() {
        return Err(refused(&name, "its handler takes events of AWS Lambda, not requests"));
    }
    if config.get("useWebApi").is_some_and(documents::is_set) {
        return Err(refused(&name, "it is middleware (\"useWebApi\")"));
    }
    if config.get("environment").is_some_and(documents::is_set) {
        return Err(refused(&name, "it brings variables along (\"environment\"): give them with --env"));
    }
    let handler: SourcePath = text("handler")
        .and_then(|handler| handler.trim_start_matches("./").parse().ok())
        .ok_or_else(|| refused(&name, "\"handler\" names no file"))?;
    let mut files: BTreeMap<SourcePath, SourceFile> = BTreeMap::new();
    let below = format!("{folder}/");
    for (path, file) in &source.files {
        if let Some(inside) = path.as_str().strip_prefix(&below).filter(|inside| *inside != FUNCTION)
            && let Ok(inside) = inside.parse()
        {
            files.insert(inside, file.clone());
        }
    }
    // Files of the project that it needs and that are not in its folder.
    for (inside, of) in config.get("filePathMap").and_then(Value::as_object).into_iter().flatten() {
        let missing = || refused(&name, &format!("\"filePathMap\" names {of}, which was not uploaded"));
        let of = of.as_str().map(|path| path.trim_start_matches("./")).ok_or_else(missing)?;
        let file = source.files.get(of).ok_or_else(missing)?;
        files.insert(inside.trim_start_matches("./").parse().map_err(|_| missing())?, file.clone());
    }
    let file = files.get(&handler).cloned();
    let file = file.ok_or_else(|| refused(&name, &format!("its handler {handler} is not in its bundle")))?;
    let mut limits = FunctionLimits::default();
    if let Some(memory) = config.get("memory").and_then(Value::as_u64) {
        let mib = u32::try_from(memory.clamp(MEMORY.0, MEMORY.1)).unwrap_or(u32::MAX);
        limits.memory = MemoryMib::new(mib).unwrap_or(limits.memory);
    }
    match config.get("maxDuration") {
        Some(Value::Number(seconds)) => {
            limits.duration_ms = seconds.as_u64().unwrap_or(1).clamp(1, MAX_SECONDS) * 1000;
        }
        Some(Value::String(max)) if max == "max" => limits.duration_ms = MAX_SECONDS * 1000,
        _ => {}
    }
    Ok(Step {
        entrypoint: handler,
        file,
        output: at.clone(),
        language: "node",
        limits,
        include: Vec::new(),
        exclude: Vec::new(),
        helpers: config.get("shouldAddHelpers").and_then(Value::as_bool).unwrap_or_default(),
        files: Some(files),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str =
        r#"{"runtime":"nodejs20.x","handler":"index.js","launcherType":"Nodejs","shouldAddHelpers":true}"#;

    fn of(files: &[(&str, &str)]) -> Result<Plan, BuildError> {
        crate::detect(&Source::of_texts(files))
    }

    #[test]
    fn a_tree_is_files_functions_and_routes() {
        let config = r#"{"version":3,"routes":[{"src":"/old","status":308,"headers":{"Location":"/"}},{"handle":"error"},
            {"status":404,"src":"^(?!/api).*$","dest":"/404.html"}],"overrides":{"about.html":{"path":"about"},
            "feed":{"contentType":"application/rss+xml"}},"framework":{"version":"1"},"crons":[]}"#;
        let mapped = NODE.replace(
            "\"handler\"",
            r#""filePathMap":{"lib/a.js":"src/a.js"},"maxDuration":"max","memory":64,"handler""#,
        );
        let plan = of(&[
            (CONFIG, config),
            (".vercel/output/static/about.html", ""),
            (".vercel/output/static/feed", ""),
            (".vercel/output/static/a/b.css", ""),
            (".vercel/output/functions/api/date.func/.vc-config.json", &mapped),
            (".vercel/output/functions/api/date.func/index.js", ""),
            (".vercel/output/functions/blog/[slug].func/.vc-config.json", NODE),
            (".vercel/output/functions/blog/[slug].func/index.js", ""),
            (".vercel/output/functions/home.func/.vc-config.json", NODE),
            (".vercel/output/functions/home.func/index.js", ""),
            (
                ".vercel/output/functions/home.prerender-config.json",
                r#"{"expiration":false,"fallback":"home.prerender-fallback.html"}"#,
            ),
            (".vercel/output/functions/home.prerender-fallback.html", ""),
            (".vercel/output/functions/news.func/.vc-config.json", NODE),
            (".vercel/output/functions/news.func/index.js", ""),
            (".vercel/output/functions/news.prerender-config.json", r#"{"expiration":60,"fallback":null}"#),
            ("src/a.js", ""),
        ])
        .unwrap();
        let files: Vec<_> = plan.files.iter().map(|(path, file)| format!("{path} {}", file.content_type)).collect();
        let expected = [
            "a/b.css text/css; charset=utf-8",
            "about text/html; charset=utf-8",
            "feed application/rss+xml",
            "home text/html; charset=utf-8",
        ];
        assert_eq!(files, expected);
        let steps: Vec<_> = plan.steps.iter().map(|step| step.output.as_str()).collect();
        assert_eq!(steps, ["api/date", "blog/[slug]", "news"]);
        let date = &plan.steps[0];
        assert!(date.files.as_ref().unwrap().contains_key("lib/a.js") && date.helpers);
        assert_eq!((date.limits.memory.get(), date.limits.duration_ms), (128, 900_000));
        assert_eq!(plan.routes.len(), 2);
        assert!(plan.warnings[0].contains("1 prerendered"), "{:?}", plan.warnings);
    }

    #[test]
    fn what_is_not_served_is_named() {
        let function = |config: &'static str| {
            of(&[
                (CONFIG, r#"{"version":3}"#),
                (".vercel/output/functions/a.func/.vc-config.json", config),
                (".vercel/output/functions/a.func/index.js", ""),
            ])
        };
        for (config, words) in [
            (r#"{"runtime":"edge","entrypoint":"index.js"}"#, "\"edge\""),
            (r#"{"runtime":"python3.12","handler":"a.b"}"#, "\"python3.12\""),
            (r#"{"runtime":"nodejs20.x","handler":"index.handler"}"#, "AWS Lambda"),
            (r#"{"runtime":"nodejs20.x","launcherType":"Nodejs","handler":"other.js"}"#, "other.js"),
            (
                r#"{"runtime":"nodejs20.x","launcherType":"Nodejs","handler":"index.js","environment":{"A":"b"}}"#,
                "--env",
            ),
            (
                r#"{"runtime":"nodejs20.x","launcherType":"Nodejs","handler":"index.js","filePathMap":{"a":"../x"}}"#,
                "../x",
            ),
        ] {
            let error = function(config).unwrap_err();
            assert!(error.to_string().contains(words), "{words}: {error}");
        }
        for (config, words) in [
            (r#"{"version":2}"#, "version"),
            (r#"{"version":3,"images":{"sizes":[1]}}"#, "images"),
            (r#"{"version":3,"crons":[{"path":"/a","schedule":"* * * * *"}]}"#, "crons"),
            (r#"{"version":3,"wildcard":[{"domain":"a","value":"b"}]}"#, "wildcard"),
            (r#"{"version":3,"routes":[{"src":"/","middlewarePath":"m","continue":true}]}"#, "middlewarePath"),
            (r#"{"version":3,"overrides":[]}"#, "overrides"),
        ] {
            let error = of(&[(CONFIG, config), (".vercel/output/static/a", "")]).unwrap_err();
            assert!(error.to_string().contains(words), "{words}: {error}");
        }
        let failed = [(CONFIG, r#"{"version":3}"#), (".vercel/output/builds.json", r#"{"error":"no build"}"#)];
        assert!(of(&failed).unwrap_err().to_string().contains("no build"));
    }
}
