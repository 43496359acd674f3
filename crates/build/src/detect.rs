//! From names of files to a plan.

use crate::plan::MAX_BUNDLED_FILES;
use crate::{
    BuildError, Container, MAX_BUNDLE_BYTES, Plan, Project, Source, SourceFile, Step, documents,
    functions::{self, Functions},
    listed, prebuilt, presets,
    statics::{content_type, output_path},
};
use dockless_model::{
    SourcePath,
    output::{Phase, Route, StaticFile},
};
use dockless_routing::{Table, dest_literal, src_literal};
use std::{collections::BTreeMap, sync::Arc};

/// Decides what a source without configuration is: `api/**/*.{js,mjs,cjs,ts,mts,cts,tsx,py}` are functions (Python files with a handler), `public/` is the web root if
/// there is one, else all other files are served.
///
/// # Errors
/// Every variant of [`BuildError`] that needs no machine to find out.
pub fn detect(source: &Source) -> Result<Plan, BuildError> {
    refuse_files_that_are_folders(source.files.keys())?;
    if prebuilt::is_one(source) {
        return prebuilt::plan(source);
    }
    let settings = documents::check(source)?;
    if let Some(site) = &settings.site {
        return of_files(source, &settings, site);
    }
    if let Some(builds) = &settings.builds {
        return listed(source, &settings, builds);
    }
    let containers = Vec::from_iter(container(source, &settings)?);
    let has_container = !containers.is_empty();
    let server = if has_container { None } else { presets::find(source) };
    let is_server = server.is_some();
    let functions = server.map_or_else(|| Functions::among(source), |server| Ok(Functions::server(server)))?;
    let has_functions = !functions.outputs.is_empty();
    let hides_api = has_functions || source.files.keys().any(functions::is_code);
    let of_node = |path: &&SourcePath| functions::language(path) == "node";
    let entrypoints: Vec<SourcePath> = functions.outputs.keys().filter(of_node).cloned().collect();
    // Beside a Dockerfile packages matter to functions alone.
    let plain = has_container && !has_functions;
    let project = if plain {
        None
    } else if is_server && settings.build_command.is_none() {
        // What its script makes is the server's own, and not to be served.
        Project::with(source, &settings, &entrypoints, Vec::new())?
    } else {
        Project::of(source, &settings, &entrypoints)?
    };

    let has_public = is_server || source.files.keys().any(|path| path.as_str().starts_with("public/"));
    let files: BTreeMap<SourcePath, StaticFile> = source
        .files
        .iter()
        // Of a server's source nothing is served but by the server.
        .filter(|_| !has_container)
        .filter_map(|(path, file)| {
            let output = output_path(path, has_public, hides_api)?;
            let content_type = content_type(&output);
            Some((output, StaticFile::new(file.blob, file.size, content_type)))
        })
        .collect();
    let has_script = project.as_ref().is_some_and(|project| !project.tasks.is_empty());
    if files.is_empty() && !has_functions && !has_script && !has_container {
        return Err(BuildError::Empty);
    }

    let shared = if has_functions { shared_files(source, &functions) } else { BTreeMap::new() };
    let steps = functions
        .outputs
        .iter()
        .filter_map(|(entrypoint, output)| {
            let file = source.files.get(entrypoint)?.clone();
            let (entrypoint, output, language) = (entrypoint.clone(), output.clone(), functions::language(entrypoint));
            let documents::FunctionSettings { include, exclude, limits } = settings.function(&entrypoint);
            Some(Step { entrypoint, file, output, language, limits, include, exclude, helpers: true, files: None })
        })
        .collect::<Vec<_>>();
    let mut routes = settings.routing.routes;
    routes.extend(functions.routes);
    let routes = all_routes(routes, &containers)?;
    let shared = Arc::new(shared);
    let clean_urls = settings.routing.clean_urls;
    let (egress, mut warnings) = (!settings.no_egress, settings.warnings);
    let plan = Plan {
        files,
        steps,
        shared,
        routes,
        containers,
        project,
        listing: false,
        clean_urls,
        egress,
        warnings: Vec::new(),
    };
    // Before a list is made of each: an output that names every file for every function grows with the square of them.
    let pages = source.files.keys().filter(|path| path.extension() == Some("php")).count();
    let of = |step: &Step| plan.shared.len() + if step.language == "php" { pages } else { 1 };
    let files = plan.steps.iter().map(of).max().unwrap_or_default();
    if plan.steps.iter().map(of).sum::<usize>() > MAX_BUNDLED_FILES {
        return Err(BuildError::TooManyFiles { functions: plan.steps.len(), files });
    }
    // What is traced is checked when it is known.
    if plan.project.is_none() {
        for step in &plan.steps {
            check_size(&step.entrypoint, &plan.bundle(step, &source.files))?;
        }
    }
    if has_public && !has_container && source.files.keys().any(|path| path.as_str() == "index.html") {
        warnings.push("index.html is not served: public/ is the web root".to_owned());
    }
    let has = |name: &str| source.files.keys().any(|path| path.as_str().starts_with(name));
    if plan.steps.iter().any(|step| step.language == "php") && has("composer.json") && !has("vendor/") {
        warnings
            .push("composer.json is not read: upload vendor/ (composer install --no-dev) with the source".to_owned());
    }
    Ok(Plan { warnings, ..plan })
}

/// What a site of files is, as in 2018.
fn of_files(source: &Source, settings: &documents::Settings, site: &documents::Site) -> Result<Plan, BuildError> {
    let below = if site.public.is_empty() { String::new() } else { format!("{}/", site.public) };
    let files: BTreeMap<SourcePath, StaticFile> = source
        .files
        .iter()
        .filter_map(|(path, file)| {
            let inside: SourcePath = path.as_str().strip_prefix(&below)?.parse().ok()?;
            let output = output_path(&inside, false, false)?;
            let content_type = content_type(&output);
            Some((output, StaticFile::new(file.blob, file.size, content_type)))
        })
        .collect();
    if files.is_empty() {
        return Err(BuildError::Empty);
    }
    let mut routes = site.routes.clone();
    if site.single {
        routes.extend(only_files(&files));
    }
    Ok(Plan {
        files,
        steps: Vec::new(),
        shared: Arc::default(),
        routes: all_routes(routes, &[])?,
        containers: Vec::new(),
        project: None,
        listing: site.listing,
        clean_urls: site.clean_urls,
        egress: !settings.no_egress,
        warnings: settings.warnings.clone(),
    })
}

/// A folder of one file is that file.
fn only_files(files: &BTreeMap<SourcePath, StaticFile>) -> Vec<Route> {
    // Folder → what is in it: names of files, and of folders.
    let mut folders: BTreeMap<&str, std::collections::BTreeSet<&str>> = BTreeMap::new();
    for path in files.keys() {
        let mut rest = path.as_str();
        while !rest.is_empty() {
            let (folder, name) = rest.rsplit_once('/').unwrap_or(("", rest));
            folders.entry(folder).or_default().insert(name);
            rest = folder;
        }
    }
    let of = |(folder, names): (&str, std::collections::BTreeSet<&str>)| {
        let [name] = names.into_iter().collect::<Vec<_>>()[..] else { return None };
        let at = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        files.get(at.as_str())?;
        let src = if folder.is_empty() { "/".to_owned() } else { format!("/{}/?", src_literal(folder)) };
        Some(Route::if_exists(src, format!("/{}", dest_literal(&at)), Phase::Filesystem))
    };
    folders.into_iter().filter_map(of).collect()
}

/// What a source with `builds` is.
fn listed(source: &Source, settings: &documents::Settings, builds: &[documents::Build]) -> Result<Plan, BuildError> {
    let listed::Listed { files, steps, tasks, mut containers, warnings } = listed::apply(source, settings, builds)?;
    let of_node = |step: &&Step| step.language == "node";
    let entrypoints: Vec<SourcePath> = steps.iter().filter(of_node).map(|step| step.entrypoint.clone()).collect();
    // A script is somebody's work only where an entry says so.
    let project = Project::with(source, settings, &entrypoints, tasks)?;
    // The one at the root is a server whether an entry names it or not.
    containers.extend(container(source, settings)?.filter(|root| containers.iter().all(|one| one.file != root.file)));
    let routes = all_routes(settings.routing.routes.clone(), &containers)?;
    let apart = folders_of_servers(&containers, &steps);
    let left_out = |path: &SourcePath| {
        files.contains_key(path)
            || apart.iter().any(|folder| path.as_str().starts_with(folder))
            || steps.iter().any(|step| step.entrypoint == *path)
            || path.as_str().starts_with(".git/")
    };
    let shared: BTreeMap<_, _> = source
        .files
        .iter()
        .filter(|(path, _)| !steps.is_empty() && !left_out(path))
        .map(|(path, file)| (path.clone(), file.clone()))
        .collect();
    let clean_urls = settings.routing.clean_urls;
    let warnings = settings.warnings.iter().cloned().chain(warnings).collect();
    let shared = Arc::new(shared);
    let (listing, egress) = (true, !settings.no_egress);
    let plan = Plan { files, steps, shared, routes, containers, project, listing, clean_urls, egress, warnings };
    if plan.project.is_none() {
        for step in &plan.steps {
            check_size(&step.entrypoint, &plan.bundle(step, &source.files))?;
        }
    }
    Ok(plan)
}

/// The table, once compiled: what is refused is refused before anything runs.
fn all_routes(mut routes: Vec<Route>, containers: &[Container]) -> Result<Vec<Route>, BuildError> {
    let mut servers: Vec<(&str, &SourcePath)> = containers.iter().map(|one| (folder(&one.file), &one.name)).collect();
    // Deeper folders first; of several in one the first that is named.
    servers.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.split('/').filter(|part| !part.is_empty()).count()));
    routes.extend(servers.into_iter().map(|(folder, name)| crate::image::everything_below(folder, name)));
    Table::compile(&routes).map_err(|source| BuildError::Routes { source })?;
    Ok(routes)
}

/// Empty for the root.
fn folder(path: &SourcePath) -> &str {
    path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Folders, with their slash, whose files are a server's alone: no function lies there.
fn folders_of_servers(containers: &[Container], steps: &[Step]) -> Vec<String> {
    let folders = containers.iter().map(|one| folder(&one.file)).filter(|folder| !folder.is_empty());
    let folders = folders.map(|folder| format!("{folder}/"));
    folders.filter(|folder| !steps.iter().any(|step| step.entrypoint.as_str().starts_with(folder))).collect()
}

/// The server that the source is, if it has a Dockerfile.
fn container(source: &Source, settings: &documents::Settings) -> Result<Option<Container>, BuildError> {
    let mut known = Source::DOCKERFILES.iter().filter_map(|name| name.parse::<SourcePath>().ok());
    match (known.find(|path| source.files.contains_key(path)), &settings.wants_dockerfile) {
        (Some(file), _) => {
            let (name, context) = (crate::image::root(), String::new());
            Ok(Some(Container { name, file, context, settings: settings.service.clone() }))
        }
        (None, Some(path)) => Err(BuildError::NoDockerfile { path: path.clone() }),
        (None, None) => Ok(None),
    }
}

/// What every function may read beside its own file. Tracing which of it each one needs comes with dependencies.
fn shared_files(source: &Source, functions: &Functions) -> BTreeMap<SourcePath, SourceFile> {
    let left_out = |path: &SourcePath| {
        functions.outputs.contains_key(path)
            || ["public/", "static/", ".git/"].iter().any(|folder| path.as_str().starts_with(folder))
    };
    source.files.iter().filter(|(path, _)| !left_out(path)).map(|(path, file)| (path.clone(), file.clone())).collect()
}

/// Refuses a bundle that is too large, with its largest files.
pub(crate) fn check_size(entrypoint: &SourcePath, files: &BTreeMap<SourcePath, SourceFile>) -> Result<(), BuildError> {
    let bytes = files.values().fold(0_u64, |sum, file| sum.saturating_add(file.size));
    if bytes <= MAX_BUNDLE_BYTES {
        return Ok(());
    }
    let mut biggest: Vec<(SourcePath, u64)> = files.iter().map(|(path, file)| (path.clone(), file.size)).collect();
    biggest.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    biggest.truncate(3);
    Err(BuildError::BundleTooLarge { entrypoint: entrypoint.clone(), bytes, biggest })
}

/// A tree that came from a file system has none, one from an HTTP client may.
fn refuse_files_that_are_folders<'a>(paths: impl Iterator<Item = &'a SourcePath> + Clone) -> Result<(), BuildError> {
    let known: std::collections::HashSet<&str> = paths.clone().map(SourcePath::as_str).collect();
    for path in paths {
        let mut text = path.as_str();
        while let Some((folder, _)) = text.rsplit_once('/') {
            if let (true, Ok(path)) = (known.contains(folder), folder.parse()) {
                return Err(BuildError::FileAndFolder { path });
            }
            text = folder;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_model::Digest;
    use dockless_routing::{Ask, Outcome, RequestPath};

    fn source(paths: &[&str]) -> Source {
        let file = |path: &str| SourceFile { blob: Digest::of(path.as_bytes()), size: 10, executable: false };
        Source { files: paths.iter().map(|path| (path.parse().unwrap(), file(path))).collect(), ..Source::default() }
    }

    fn with_document(mut source: Source, path: &str, text: &str) -> Source {
        let blob = Digest::of(text.as_bytes());
        let path: SourcePath = path.parse().unwrap();
        source.files.insert(path.clone(), SourceFile { blob, size: 10, executable: false });
        source.documents.insert(path, text.into());
        source
    }

    fn bundle(plan: &Plan) -> BTreeMap<SourcePath, SourceFile> {
        plan.bundle(&plan.steps[0], &BTreeMap::new())
    }

    fn keys<T>(map: &BTreeMap<SourcePath, T>) -> Vec<&str> {
        map.keys().map(SourcePath::as_str).collect()
    }

    /// Output and query that the plan's own routes give a request.
    fn ask(plan: &Plan, path: &str) -> Option<(String, Option<String>)> {
        let table = Table::compile(&plan.routes).unwrap();
        let outputs: Vec<&str> =
            keys(&plan.files).into_iter().chain(plan.steps.iter().map(|step| step.output.as_str())).collect();
        let look_up = |output: &str| {
            let index = [output, "index"].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/");
            outputs.iter().find(|known| **known == output || **known == index).map(|known| (*known).to_owned())
        };
        let ask = Ask { method: "GET", host: "site.example", header: &|_| None };
        let found = table.find(&RequestPath::parse(path).unwrap(), None, &ask, look_up).unwrap();
        match found.outcome {
            Outcome::Found { found: output, .. } => Some((output, found.query)),
            _ => None,
        }
    }

    #[test]
    fn the_hello_example_is_functions_and_files() {
        let plan = detect(&with_document(
            source(&[
                "index.html",
                "static/logo.svg",
                "api/date.js",
                "api/user/[id].js",
                "api/_lib/helper.js",
                "api/.hidden.js",
                "api/types.d.ts",
                "lib/shared.js",
            ]),
            "package.json",
            r#"{"name":"hello","private":true,"devDependencies":{"x":"1"}}"#,
        ))
        .unwrap();
        assert_eq!(keys(&plan.files), ["index.html", "lib/shared.js", "static/logo.svg"]);
        let outputs: Vec<_> = plan.steps.iter().map(|step| step.output.as_str()).collect();
        assert_eq!(outputs, ["api/date", "api/user/[id]"]);
        assert_eq!(
            keys(&bundle(&plan)),
            [
                "api/.hidden.js",
                "api/_lib/helper.js",
                "api/date.js",
                "api/types.d.ts",
                "index.html",
                "lib/shared.js",
                "package.json"
            ]
        );
        for (path, output, query) in [
            ("/api/date", "api/date", None),
            ("/api/date/", "api/date", None),
            ("/api/date.js", "api/date", None),
            ("/api/user/7", "api/user/[id]", Some("id=7")),
            ("/static/logo.svg", "static/logo.svg", None),
        ] {
            assert_eq!(ask(&plan, path), Some((output.into(), query.map(str::to_owned))), "{path}");
        }
        for path in ["/api", "/api/user", "/api/user/7/8", "/api/_lib/helper", "/package.json", "/api/date.rb"] {
            assert_eq!(ask(&plan, path), None, "{path}");
        }
    }

    #[test]
    fn typescript_is_a_function_of_node_that_needs_a_build() {
        let files = ["api/a.ts", "api/b.mts", "api/c.tsx", "api/_lib/x.ts", "api/t.d.ts", "api/d.js", "index.html"];
        let plan = detect(&source(&files)).unwrap();
        let steps: Vec<_> = plan.steps.iter().map(|step| (step.output.as_str(), step.language)).collect();
        assert_eq!(steps, [("api/a", "node"), ("api/b", "node"), ("api/c", "node"), ("api/d", "node")]);
        assert!(plan.project.is_some_and(|project| project.installs.is_empty()));
        assert_eq!(keys(&plan.files), ["index.html"]);
        // Sources of functions are no text for everybody, though none of them is one.
        assert_eq!(keys(&detect(&source(&["api/_lib/x.ts", "index.html"])).unwrap().files), ["index.html"]);
        assert_eq!(detect(&source(&["api/a.ts", "api/a.js"])).unwrap_err().code(), "conflicting_file_path");
    }

    #[test]
    fn python_files_with_a_handler_are_functions() {
        let files = ["api/hello.py", "api/helper.py", "api/[id].py", "api/date.js", "requirements.txt", "lib/x.py"];
        let handler = "class handler(BaseHTTPRequestHandler): ...";
        let mut plan = source(&files);
        for (path, text) in [("api/hello.py", handler), ("api/helper.py", "x = 1"), ("api/[id].py", "app = 1")] {
            plan = with_document(plan, path, text);
        }
        let plan = detect(&plan).unwrap();
        let steps: Vec<_> = plan.steps.iter().map(|step| (step.output.as_str(), step.language)).collect();
        assert_eq!(steps, [("api/[id]", "python"), ("api/date", "node"), ("api/hello", "python")]);
        assert_eq!(keys(&plan.files), ["lib/x.py"]);
        assert_eq!(keys(&bundle(&plan)), ["api/[id].py", "api/helper.py", "lib/x.py", "requirements.txt"]);
        for (path, output) in [
            ("/api/hello", "api/hello"),
            ("/api/hello.py", "api/hello"),
            ("/api/7.py", "api/[id]"),
            ("/api/7", "api/[id]"),
        ] {
            assert_eq!(ask(&plan, path).map(|(output, _)| output).as_deref(), Some(output), "{path}");
        }
        // Helpers alone are neither functions nor text for everybody.
        let helpers = with_document(source(&["api/helper.py", "index.html"]), "api/helper.py", "x = 1");
        assert_eq!(keys(&detect(&helpers).unwrap().files), ["index.html"]);
        let clash = source(&["api/a.py", "api/a.js"]);
        assert_eq!(detect(&clash).unwrap_err().code(), "conflicting_file_path");
    }

    #[test]
    fn servers_stand_beside_functions_where_builds_name_them() {
        let files = ["index.html", "api/date.js", "a.b/Dockerfile", "a.b/deep/Serve", "a.b/deep/x.bin", "data.txt"];
        let builds = |rest: &str| {
            let text = format!(
                r#"{{"builds":[{{"src":"*.html","use":"@now/static"}},{{"src":"api/*.js","use":"@now/node"}},
                {{"src":"a.b/Dockerfile","use":"@dockless/docker","config":{{"slot":"c1-m256"}}}},
                {{"src":"a.b/deep/Serve","use":"@dockless/docker","config":{{"context":"."}}}}{rest}]}}"#
            );
            with_document(source(&files), "now.json", &text)
        };
        let plan = detect(&builds("")).unwrap();
        let servers: Vec<_> = plan.containers.iter().map(|one| (one.name.as_str(), one.context.as_str())).collect();
        assert_eq!(servers, [("a.b/Dockerfile", "a.b"), ("a.b/deep/Serve", "")]);
        assert_eq!(plan.containers[0].settings.slot.to_string(), "c1-m256");
        assert_eq!(keys(&plan.files), ["index.html"]);
        assert_eq!(
            keys(&bundle(&plan)),
            ["api/date.js", "data.txt", "now.json"],
            "what is a server's is no function's"
        );
        let table = Table::compile(&plan.routes).unwrap();
        for (path, server) in [
            ("/a.b", Some("a.b/Dockerfile")),
            ("/a.b/x/y", Some("a.b/Dockerfile")),
            ("/a.b/deep/x.bin", Some("a.b/deep/Serve")),
            ("/a.b/deeper", Some("a.b/Dockerfile")),
            ("/aXb", None),
            ("/data.txt", None),
        ] {
            let exists =
                |output: &str| plan.containers.iter().any(|one| one.name.as_str() == output).then(|| output.to_owned());
            let ask = Ask { method: "GET", host: "", header: &|_| None };
            let outcome = table.find(&RequestPath::parse(path).unwrap(), None, &ask, exists).unwrap().outcome;
            let found = if let Outcome::Found { found, .. } = outcome { Some(found) } else { None };
            assert_eq!(found.as_deref(), server, "{path}");
        }
        // A function among a server's files has them all.
        let plan = detect(&builds(r#",{"src":"a.b/deep/x.bin","use":"@now/node"}"#)).unwrap();
        assert!(bundle(&plan).contains_key(&"a.b/deep/Serve".parse::<SourcePath>().unwrap()));
        let many: Vec<String> = (0..17).map(|number| format!("{number}/Dockerfile")).collect();
        let many = source(&many.iter().map(String::as_str).collect::<Vec<_>>());
        let text = r#"{"builds":[{"src":"**/Dockerfile","use":"@dockless/docker"}]}"#;
        assert_eq!(detect(&with_document(many, "now.json", text)).unwrap_err().code(), "too_many_services");
        // The one at the root answers the rest, named or not.
        let root = with_document(builds(""), "Dockerfile", "FROM scratch");
        let name = |plan: Plan| plan.containers.last().map(|one| one.name.to_string());
        assert_eq!(name(detect(&root).unwrap()).as_deref(), Some("app"));
        let root =
            with_document(builds(r#",{"src":"Dockerfile","use":"@dockless/docker"}"#), "Dockerfile", "FROM scratch");
        assert_eq!(name(detect(&root).unwrap()).as_deref(), Some("Dockerfile"));
    }

    #[test]
    fn php_is_a_function_wherever_it_lies_and_never_a_file() {
        let files = [
            "index.php",
            "contact.php",
            "blog/index.php",
            "docs/index.php",
            "docs/index.html",
            "_lib/db.php",
            "api/date.php",
        ];
        let plan = detect(&source(&files)).unwrap();
        let steps: Vec<_> = plan.steps.iter().map(|step| (step.output.as_str(), step.language)).collect();
        let outputs = ["api/date", "blog/index.php", "contact.php", "docs/index.php", "index.php"];
        assert_eq!(steps, outputs.map(|output| (output, "php")));
        assert_eq!(keys(&plan.files), ["docs/index.html"]);
        assert_eq!(
            keys(&plan.bundle(&plan.steps[0], &source(&files).files)),
            [
                "_lib/db.php",
                "api/date.php",
                "blog/index.php",
                "contact.php",
                "docs/index.html",
                "docs/index.php",
                "index.php"
            ],
            "pages include each other"
        );
        let plan_of_public = detect(&source(&["public/index.php", "public/a.php", "public/x.css"])).unwrap();
        let outputs: Vec<_> = plan_of_public.steps.iter().map(|step| step.output.as_str()).collect();
        assert_eq!(outputs, ["a.php", "index.php"]);
        assert_eq!(ask(&plan_of_public, "/").map(|(output, _)| output).as_deref(), Some("index.php"));
        for (path, output) in [
            ("/", Some("index.php")),
            ("/index.php", Some("index.php")),
            ("/blog", Some("blog/index.php")),
            ("/blog/", Some("blog/index.php")),
            ("/contact.php", Some("contact.php")),
            ("/contact", None),
            ("/api/date", Some("api/date")),
            ("/api/date.php", Some("api/date")),
            ("/_lib/db.php", None),
        ] {
            assert_eq!(ask(&plan, path).map(|(output, _)| output).as_deref(), output, "{path}");
        }
    }

    #[test]
    fn an_application_of_thousands_of_pages_is_refused_at_once() {
        let pages: Vec<String> = (0..1000).map(|number| format!("admin/{number}.php")).collect();
        let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
        let error = detect(&source(&pages)).unwrap_err();
        assert_eq!(error.code(), "too_many_files");
        assert!(error.hint().unwrap().contains("Dockerfile"));
        assert_eq!(detect(&source(&pages[..500])).unwrap().steps.len(), 500);
    }

    #[test]
    fn php_of_packages_and_of_servers_is_no_function() {
        let with_packages = source(&["index.php", "composer.json", "vendor/autoload.php", "vendor/a/b.php"]);
        let plan = detect(&with_packages).unwrap();
        assert_eq!(plan.steps.len(), 1);
        assert!(plan.files.is_empty() && plan.warnings.is_empty(), "{plan:?}");
        assert!(plan.bundle(&plan.steps[0], &with_packages.files).keys().any(|path| path.as_str() == "vendor/a/b.php"));
        assert!(detect(&source(&["index.php", "composer.json"])).unwrap().warnings[0].contains("vendor/"));
        let server = with_document(source(&["index.php", "api/date.php"]), "Dockerfile", "FROM scratch");
        let outputs: Vec<_> = detect(&server).unwrap().steps.iter().map(|step| step.output.to_string()).collect();
        assert_eq!(outputs, ["api/date"], "an api/ folder stands beside the server, pages are its own");
    }

    #[test]
    fn nested_parameters_and_index_files() {
        let plan = detect(&source(&[
            "api/index.js",
            "api/[org]/index.js",
            "api/[org]/date.js",
            "api/[org]/[repo].js",
            "api/acme/[repo].js",
        ]))
        .unwrap();
        for (path, output, query) in [
            ("/api", "api/index", None),
            ("/api/", "api/index", None),
            ("/api/index.js", "api/index", None),
            ("/api/o", "api/[org]/index", Some("org=o")),
            ("/api/o/", "api/[org]/index", Some("org=o")),
            ("/api/o/index", "api/[org]/index", Some("org=o")),
            ("/api/o/date", "api/[org]/date", Some("org=o")),
            ("/api/o/date.js", "api/[org]/date", Some("org=o")),
            ("/api/o/r", "api/[org]/[repo]", Some("org=o&repo=r")),
            ("/api/acme/r", "api/acme/[repo]", Some("repo=r")),
        ] {
            assert_eq!(ask(&plan, path), Some((output.into(), query.map(str::to_owned))), "{path}");
        }
    }

    #[test]
    fn public_is_the_web_root() {
        let plan = detect(&source(&["public/index.html", "public/a/b.css", "index.html", "api/x.mjs"])).unwrap();
        assert_eq!(keys(&plan.files), ["a/b.css", "index.html"]);
        assert_eq!(keys(&bundle(&plan)), ["api/x.mjs", "index.html"]);
        assert_eq!(plan.warnings.len(), 1);
    }

    #[test]
    fn a_folder_of_files_is_served_as_it_is() {
        let plan = detect(&source(&["index.html", "deep/er/file.txt"])).unwrap();
        assert!(plan.steps.is_empty() && plan.routes.is_empty() && plan.shared.is_empty());
        assert_eq!(plan.files.len(), 2);
    }

    #[test]
    fn what_this_version_cannot_do_is_refused_by_name() {
        let function = || source(&["api/a.js"]);
        for (case, source, code) in [
            ("nothing", source(&[]), "nothing_to_deploy"),
            ("only tooling", source(&["README.md"]), "nothing_to_deploy"),
            ("ruby", source(&["api/a.js", "api/hello.rb"]), "unsupported_language"),
            ("hidden php", source(&["_lib.php", ".x.php"]), "nothing_to_deploy"),
            ("two for one path", source(&["api/a.js", "api/a.mjs"]), "conflicting_file_path"),
            ("file and folder", source(&["a", "a/b"]), "file_and_folder"),
            (
                "crons",
                with_document(function(), "now.json", r#"{"version":2,"crons":[{"path":"/"}]}"#),
                "unsupported_configuration",
            ),
            (
                "two configurations",
                with_document(with_document(function(), "now.json", "{}"), "vercel.json", "{}"),
                "conflicting_configuration",
            ),
            ("version 1", with_document(function(), "now.json", r#"{"version":1}"#), "unsupported_configuration"),
            ("not json", with_document(function(), "package.json", "{"), "malformed_document"),
            ("no object", with_document(function(), "vercel.json", "[]"), "malformed_document"),
        ] {
            let error = detect(&source).expect_err(case);
            assert_eq!(error.code(), code, "{case}");
            assert!(error.hint().is_some() && error.step() == "detect", "{case}");
        }
    }

    #[test]
    fn harmless_documents_pass() {
        for (path, text) in [
            ("now.json", r#"{"version":2,"name":"x","alias":["a"],"builds":[],"public":true}"#),
            (
                "vercel.json",
                r#"{"framework":null,"buildCommand":"","cleanUrls":false,"functions":{"api/*.js":{"memory":512}}}"#,
            ),
            ("package.json", "\u{feff}{\"dependencies\":{},\"scripts\":{\"dev\":\"x\"}}"),
        ] {
            detect(&with_document(source(&["api/a.js"]), path, text)).expect(path);
        }
        let uploaded = with_document(
            source(&["api/a.js", "node_modules/a/index.js"]),
            "package.json",
            r#"{"dependencies":{"a":"1"}}"#,
        );
        assert_eq!(detect(&uploaded).unwrap().steps.len(), 1);
        let only_files = with_document(source(&["index.html"]), "package.json", r#"{"dependencies":{"a":"1"}}"#);
        detect(&only_files).expect("files need no packages");
    }

    #[test]
    fn a_build_by_script_has_a_script_in_the_folder_of_its_entrypoint() {
        let package = r#"{"scripts":{"build":"x","now-build":"y"},"devDependencies":{"a":"1"}}"#;
        let with = |builds: &str| {
            let plain = source(&["build.sh", "web/index.js", "docs/config.toml", "docs/page.md"]);
            let plain = with_document(plain, "web/package.json", package);
            let plain = with_document(plain, "empty/package.json", "{}");
            detect(&with_document(plain, "now.json", &format!(r#"{{"builds":[{builds}]}}"#)))
        };
        let plan = with(
            r#"{"src":"w*/package.json","use":"@now/static-build"},
            {"src":"build.sh","use":"@now/static-build@canary","config":{"distDir":"./out/"}},
            {"src":"docs/config.toml","use":"@vercel/static-build","config":{"buildCommand":"make"}}"#,
        )
        .unwrap();
        let project = plan.project.unwrap();
        assert_eq!(project.installs.iter().map(|install| install.folder.as_str()).collect::<Vec<_>>(), ["web"]);
        let tasks: Vec<String> = project
            .tasks
            .iter()
            .map(|task| format!("{}: {} → {}", task.folder, task.script, task.outputs.join(" ")))
            .collect();
        let expected = [
            "web: the script \"now-build\" → web/dist web/public",
            ": the file \"build.sh\" → out",
            "docs: \"make\" → docs/dist docs/public",
        ];
        assert_eq!(tasks, expected);
        for src in ["empty/package.json", "docs/page.md"] {
            let error = with(&format!(r#"{{"src":"{src}","use":"@now/static-build"}}"#)).unwrap_err();
            assert_eq!(error.code(), "script_missing", "{error}");
        }
    }

    #[test]
    fn a_site_of_2018_is_its_files_and_their_rules() {
        let config = r#"{"type":"static","static":{"public":"site","renderSingle":true,"rewrites":[{"source":"/app/**","destination":"/a.html"}]}}"#;
        let files = ["site/a.html", "site/one/only.txt", "site/two/x/y.txt", "api/date.js", "other.html"];
        let plan = detect(&with_document(source(&files), "now.json", config)).unwrap();
        assert_eq!(keys(&plan.files), ["a.html", "one/only.txt", "two/x/y.txt"]);
        assert!(plan.steps.is_empty() && plan.listing);
        for (path, output) in [("/one", "one/only.txt"), ("/app/b/c", "a.html"), ("/two/x/", "two/x/y.txt")] {
            assert_eq!(ask(&plan, path).map(|found| found.0), Some(output.to_owned()), "{path}");
        }
        assert_eq!((ask(&plan, "/two"), ask(&plan, "/")), (None, None), "folders of folders are listed");
        let plain = detect(&with_document(source(&["index.html"]), "now.json", r#"{"version":1}"#)).unwrap();
        assert_eq!(keys(&plain.files), ["index.html"]);
        let npm = source(&["package.json", "index.js"]);
        let error = detect(&with_document(npm, "now.json", r#"{"version":1}"#)).unwrap_err();
        assert_eq!(error.code(), "unsupported_configuration");
    }

    #[test]
    fn a_bundle_over_the_limit_names_its_biggest_files() {
        let mut source = source(&["api/a.js", "data/big.bin", "data/small.bin", "static/huge.mp4"]);
        for (path, size) in
            [("data/big.bin", 40 << 20), ("data/small.bin", 20 << 20), ("static/huge.mp4", 900_u64 << 20)]
        {
            source.files.get_mut(&path.parse::<SourcePath>().unwrap()).unwrap().size = size;
        }
        let error = detect(&source).unwrap_err();
        assert_eq!((error.code(), error.step().as_str()), ("lambda_size_exceeded", "bundle api/a.js"));
        let hint = error.hint().unwrap();
        assert!(hint.contains("data/big.bin") && !hint.contains("huge.mp4"), "{hint}");
    }
}
