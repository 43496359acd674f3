//! Which files are served as they are, where, and as what type.

use dockless_model::SourcePath;
use dockless_model::output::{Function, StaticFile};
use std::collections::BTreeMap;

/// Files that steer deployments and are not served from a source tree without `public/`.
const TOOLING: [&str; 26] = [
    "package.json",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "bun.lock",
    "bun.lockb",
    "requirements.txt",
    "Pipfile",
    "Pipfile.lock",
    "pyproject.toml",
    "uv.lock",
    ".python-version",
    "composer.json",
    "composer.lock",
    "go.mod",
    "go.sum",
    "go.work",
    "pnpm-workspace.yaml",
    ".npmrc",
    "now.json",
    "vercel.json",
    ".nowignore",
    ".vercelignore",
    ".gitignore",
    "README.md",
];

/// The output path of a source file that is served, `None` for one that is not.
///
/// With a `public` folder that is the web root and nothing else is served; without, the tree is, save `api/` (when it
/// holds functions) and what is there for tools.
pub(crate) fn output_path(path: &SourcePath, has_public: bool, has_functions: bool) -> Option<SourcePath> {
    let text = path.as_str();
    // Never by accident: secrets and history.
    if text.split('/').any(|part| part == ".env" || part.starts_with(".env.") || part == ".git") {
        return None;
    }
    // Source of functions wherever it lies, and of what they include.
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("php")) {
        return None;
    }
    if has_public {
        return text.strip_prefix("public/")?.parse().ok();
    }
    let hidden = (has_functions && text.starts_with("api/"))
        || text.split('/').any(|part| part == "node_modules")
        || TOOLING.contains(&text);
    (!hidden).then(|| path.clone())
}

/// With `cleanUrls` a page answers without its extension, and at no other path. Index files answer for their folders
/// anyway, and pages for failures are not asked for.
pub(crate) fn clean(files: &mut BTreeMap<SourcePath, StaticFile>, functions: &BTreeMap<SourcePath, Function>) {
    let pages: Vec<SourcePath> = files.keys().filter(|path| path.as_str().ends_with(".html")).cloned().collect();
    for page in pages {
        let is_special = page.file_name() == "index.html" || matches!(page.as_str(), "404.html" | "500.html");
        let Some(clean) = page.as_str().strip_suffix(".html").and_then(|clean| clean.parse::<SourcePath>().ok()) else {
            continue;
        };
        if is_special || files.contains_key(&clean) || functions.contains_key(&clean) {
            continue;
        }
        if let Some(file) = files.remove(&page) {
            files.insert(clean, file);
        }
    }
}

/// The media type of a file by its extension, with charset where it is text; `application/octet-stream` if unknown.
pub(crate) fn content_type(path: &SourcePath) -> String {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    let essence = match extension.as_str() {
        // mime_guess knows these by other or no names.
        "mjs" | "cjs" => "text/javascript".to_owned(),
        "ts" | "tsx" | "mts" | "cts" | "jsx" => "text/plain".to_owned(),
        "yaml" | "yml" => "application/yaml".to_owned(),
        "jsonld" => "application/ld+json".to_owned(),
        "geojson" => "application/geo+json".to_owned(),
        "glb" => "model/gltf-binary".to_owned(),
        "gltf" => "model/gltf+json".to_owned(),
        "jxl" => "image/jxl".to_owned(),
        "map" => "application/json".to_owned(),
        "ico" => "image/x-icon".to_owned(),
        other => mime_guess::from_ext(other).first_raw().unwrap_or("application/octet-stream").to_owned(),
    };
    let is_text = essence.starts_with("text/")
        || essence.ends_with("+json")
        || matches!(essence.as_str(), "application/json" | "application/javascript" | "application/xml");
    if is_text { format!("{essence}; charset=utf-8") } else { essence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_common_files() {
        for (name, kind) in [
            ("index.html", "text/html; charset=utf-8"),
            ("INDEX.HTML", "text/html; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.json", "application/json; charset=utf-8"),
            ("a.js.map", "application/json; charset=utf-8"),
            ("a.webmanifest", "application/manifest+json; charset=utf-8"),
            ("a.svg", "image/svg+xml"),
            ("a.png", "image/png"),
            ("a.wasm", "application/wasm"),
            ("a.woff2", "font/woff2"),
            ("a.ts", "text/plain; charset=utf-8"),
            ("a.yml", "application/yaml"),
            ("a.geojson", "application/geo+json; charset=utf-8"),
            ("a.glb", "model/gltf-binary"),
            ("a.avif", "image/avif"),
            ("a.md", "text/markdown; charset=utf-8"),
            ("a.xml", "text/xml; charset=utf-8"),
            ("a.rss", "application/rss+xml"),
            ("a.ttf", "font/ttf"),
            ("a.mp4", "video/mp4"),
            ("a.pdf", "application/pdf"),
            ("LICENSE", "application/octet-stream"),
            (".nojekyll", "application/octet-stream"),
        ] {
            assert_eq!(content_type(&name.parse().unwrap()), kind, "{name}");
        }
    }

    #[test]
    fn what_is_served_depends_on_public_and_functions() {
        for (path, public, functions, output) in [
            ("index.html", false, false, Some("index.html")),
            ("index.html", true, false, None),
            ("public/index.html", true, true, Some("index.html")),
            ("api/data.json", false, true, None),
            ("api/data.json", false, false, Some("api/data.json")),
            ("public/api/data.json", true, true, Some("api/data.json")),
            ("package.json", false, false, None),
            ("docs/package.json", false, false, Some("docs/package.json")),
            ("node_modules/a/b.js", false, false, None),
            (".well-known/x", false, true, Some(".well-known/x")),
            (".env", false, false, None),
            ("public/.env.local", true, false, None),
            (".git/config", false, false, None),
        ] {
            let found = output_path(&path.parse().unwrap(), public, functions);
            assert_eq!(found.map(String::from).as_deref(), output, "{path}");
        }
    }
}
