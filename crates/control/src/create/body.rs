//! The body of a creation. What this version cannot honour is refused by name, never ignored.

use super::{fields::Fields, image, source};
use crate::{
    ControlConfig, Error,
    error::Invalid,
    variable::{MAX_ENV_BYTES, Wish, check_name},
};
use dockless_model::image::ImageWish;
use dockless_model::{ProjectName, SourcePath, WireDigest};
use dockless_wire::OCI_LAYOUT;
use serde_json::Value;
use std::collections::BTreeMap;

/// The same for labels.
const MAX_META_BYTES: usize = 64 * 1024;

/// A creation, understood.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) name: Option<ProjectName>,
    pub(super) project: Option<String>,
    pub(super) files: BTreeMap<SourcePath, File>,
    pub(super) image: Option<ImageWish>,
    pub(super) env: BTreeMap<String, Wish>,
    pub(super) build_env: BTreeMap<String, Wish>,
    pub(super) meta: BTreeMap<String, String>,
    pub(super) target: Option<String>,
    pub(super) wants_alias: bool,
    pub(super) force_new: bool,
}

/// One file.
#[derive(Debug)]
pub(super) struct File {
    /// Place in the request, for refusals.
    pub(super) index: usize,
    pub(super) executable: bool,
    pub(super) content: Content,
}

impl File {
    pub(super) fn uploaded(&self) -> Option<WireDigest> {
        match self.content {
            Content::Uploaded { wire, .. } => Some(wire),
            Content::Inline(_) => None,
        }
    }
}

/// Where its bytes are.
#[derive(Debug)]
pub(super) enum Content {
    /// Uploaded before.
    Uploaded { wire: WireDigest, size: Option<u64> },
    /// In the request.
    Inline(Vec<u8>),
}

pub(super) fn read(json: &[u8], config: &ControlConfig) -> Result<Body, Error> {
    let value = serde_json::from_slice(json).map_err(|error| {
        let message = format!("The body is not JSON: {error}");
        Error::Invalid(Invalid {
            code: "bad_request",
            message,
            field: Some("body".to_owned()),
            key: None,
            size_limit: None,
        })
    })?;
    let mut fields = Fields::new("", value)?;
    if let Some(version) = fields.number("version")?
        && version != 2
    {
        return Err(Error::field(
            "version",
            format!("version {version} is not supported by this version of the server"),
        ));
    }
    let name = fields.text("name")?.map(|name| name.parse().map_err(Error::parse("name"))).transpose()?;
    let image = image::read(&mut fields, &config.services)?;
    let is_layout = image.as_ref().is_some_and(|image| image.reference == OCI_LAYOUT);
    let files = match (fields.list("files")?, &image) {
        (Some(files), Some(_)) if !files.is_empty() && !is_layout => {
            return Err(Error::field("image", "expected either files or an image"));
        }
        (Some(files), _) => files,
        (None, Some(_)) if !is_layout => Vec::new(),
        (None, _) => return Err(Error::field("files", "expected a list of files")),
    };
    let max_bytes = if is_layout { config.max_layer_bytes } else { config.max_file_bytes };
    let body = Body {
        name,
        project: fields.text("project")?,
        files: source::read(files, config.max_files, max_bytes)?,
        image,
        env: env(&mut fields)?,
        build_env: build_env(&mut fields)?,
        meta: meta(&mut fields)?,
        target: target(&mut fields)?,
        wants_alias: fields.flag("autoAssignCustomDomains")?.unwrap_or(true),
        force_new: fields.flag("forceNew")?.unwrap_or(false),
    };
    regions(&mut fields, config)?;
    // Says where the request comes from, not what to do.
    for label in ["source", "gitMetadata"] {
        fields.take(label);
    }
    // The folder that the client uploaded is the root already; whether it saw more of the disk is its own affair.
    if let Some(mut settings) = fields.object("projectSettings")? {
        settings.take("sourceFilesOutsideRootDirectory");
        settings.end()?;
    }
    fields.end()?;
    Ok(body)
}

fn build_env(fields: &mut Fields) -> Result<BTreeMap<String, Wish>, Error> {
    let Some(mut build) = fields.object("build")? else { return Ok(BTreeMap::new()) };
    let env = env(&mut build)?;
    build.end()?;
    Ok(env)
}

fn env(fields: &mut Fields) -> Result<BTreeMap<String, Wish>, Error> {
    let mut env = BTreeMap::new();
    let mut bytes = 0;
    let whole = fields.name("env");
    for (key, value) in fields.object("env")?.into_iter().flat_map(Fields::rest) {
        let field = format!("{whole}.{key}");
        let invalid = |code, message: &str| {
            Error::Invalid(Invalid {
                code,
                message: format!("Invalid `{field}`: {message}"),
                field: Some(field.clone()),
                key: Some(key.clone()),
                size_limit: None,
            })
        };
        let wish = match value {
            Value::String(text) => Wish::read(text),
            // Some clients have looked the secret up already.
            Value::Object(map) if map.len() == 1 => match map.get("uid") {
                Some(Value::String(id)) => Wish::Secret(id.clone()),
                _ => return Err(invalid("env_value_invalid_type", "expected a string")),
            },
            _ => return Err(invalid("env_value_invalid_type", "expected a string")),
        };
        check_name(&key, &field)?;
        let Wish::Value(value) = &wish else {
            env.insert(key, wish);
            continue;
        };
        if value.expose().contains('\0') {
            return Err(invalid("bad_request", "expected no NUL character"));
        }
        bytes += key.len() + value.expose().len();
        if bytes > MAX_ENV_BYTES {
            return Err(Error::field(whole, format!("more than {MAX_ENV_BYTES} bytes in all")));
        }
        env.insert(key, wish);
    }
    Ok(env)
}

fn meta(fields: &mut Fields) -> Result<BTreeMap<String, String>, Error> {
    let mut meta = BTreeMap::new();
    let mut bytes = 0;
    for (key, value) in fields.object("meta")?.into_iter().flat_map(Fields::rest) {
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => return Err(Error::field(format!("meta.{key}"), "expected a string")),
        };
        bytes += key.len() + text.len();
        if bytes > MAX_META_BYTES {
            return Err(Error::field("meta", format!("more than {MAX_META_BYTES} bytes in all")));
        }
        meta.insert(key, text);
    }
    Ok(meta)
}

fn target(fields: &mut Fields) -> Result<Option<String>, Error> {
    match fields.text("target")?.as_deref() {
        None | Some("preview") => Ok(None),
        Some("production") => Ok(Some("production".to_owned())),
        Some(_) => Err(Error::field("target", "expected production or preview")),
    }
}

/// Everything runs in this one region, which may be named.
fn regions(fields: &mut Fields, config: &ControlConfig) -> Result<(), Error> {
    for region in fields.list("regions")?.unwrap_or_default() {
        if region != "all" && region != config.region.as_str() {
            return Err(Error::field("regions", format!("expected {} or all", config.region)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PublicUrl;
    use serde_json::json;

    fn config() -> ControlConfig {
        let keys = crate::SecretKeys::parse(&crate::SecretKeys::random_line(&dockless_model::OsEntropy)).unwrap();
        ControlConfig {
            max_files: 3,
            max_file_bytes: 100,
            ..ControlConfig::new("localhost".parse().unwrap(), PublicUrl { https: false, port: 3000 }, keys)
        }
    }

    const SHA: &str = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";

    fn good() -> Value {
        json!({ "version": 2, "name": "site", "files": [{ "file": "a.txt", "sha": SHA, "size": 5, "mode": 33188 }] })
    }

    fn changed(key: &str, value: Value) -> Value {
        let mut body = good();
        body[key] = value;
        body
    }

    fn read_value(value: &Value) -> Result<Body, Error> {
        read(value.to_string().as_bytes(), &config())
    }

    #[test]
    fn refusals_name_the_field() {
        let file = |value: Value| changed("files", json!([value]));
        let cases = [
            (json!([]), "bad_request", "body"),
            (json!({}), "bad_request", "files"),
            (changed("version", json!(1)), "bad_request", "version"),
            (changed("name", json!("Not Valid")), "bad_request", "name"),
            (changed("name", json!("api")), "bad_request", "name"),
            (changed("name", json!(3)), "bad_request", "name"),
            (changed("files", json!("a")), "bad_request", "files"),
            (changed("files", json!([{}, {}, {}, {}])), "too_many_files", "files"),
            (file(json!(1)), "bad_request", "files[0]"),
            (file(json!({ "sha": SHA })), "bad_request", "files[0].file"),
            (file(json!({ "file": "../a", "sha": SHA })), "bad_request", "files[0].file"),
            (file(json!({ "file": "/etc/passwd", "sha": SHA })), "bad_request", "files[0].file"),
            (file(json!({ "file": "a/../../b", "sha": SHA })), "bad_request", "files[0].file"),
            (file(json!({ "file": "a", "sha": "xyz" })), "bad_request", "files[0].sha"),
            (file(json!({ "file": "a" })), "bad_request", "files[0].sha"),
            (file(json!({ "file": "a", "sha": SHA, "data": "x" })), "bad_request", "files[0].data"),
            (file(json!({ "file": "a", "data": 1 })), "bad_request", "files[0].data"),
            (file(json!({ "file": "a", "data": "!", "encoding": "base64" })), "bad_request", "files[0].data"),
            (file(json!({ "file": "a", "data": "x", "encoding": "hex" })), "bad_request", "files[0].encoding"),
            (file(json!({ "file": "a", "sha": SHA, "size": -1 })), "bad_request", "files[0].size"),
            (file(json!({ "file": "a", "sha": SHA, "size": 101 })), "size_limit_exceeded", "files[0].size"),
            (file(json!({ "file": "a", "sha": SHA, "mode": 0o120_777 })), "bad_request", "files[0].mode"),
            (file(json!({ "file": "a", "sha": SHA, "link": "b" })), "bad_request", "files[0].link"),
            (
                changed("files", json!([{ "file": "a", "data": "" }, { "file": "a", "data": "" }])),
                "conflicting_file_path",
                "files[1].file",
            ),
            (
                changed("files", json!([{ "file": "a/b/c", "data": "" }, { "file": "a/b", "data": "" }])),
                "conflicting_path_segment",
                "files[0].file",
            ),
            (changed("image", json!("app")), "bad_request", "image"),
            (changed("slot", json!("c1-m512")), "bad_request", "slot"),
            (changed("env", json!({ "A": 1 })), "env_value_invalid_type", "env.A"),
            (changed("env", json!({ "A": null })), "env_value_invalid_type", "env.A"),
            (changed("env", json!({ "A=B": "x" })), "env_key_invalid_characters", "env.A=B"),
            (changed("env", json!({ "1A": "x" })), "env_key_invalid_characters", "env.1A"),
            (changed("env", json!({ "": "x" })), "env_key_invalid_characters", "env."),
            (changed("env", json!({ "A": { "uid": 1 } })), "env_value_invalid_type", "env.A"),
            (changed("build", json!({ "env": { "1A": "x" } })), "env_key_invalid_characters", "build.env.1A"),
            (changed("build", json!({ "image": "x" })), "bad_request", "build.image"),
            (changed("env", json!({ "A": "a\0b" })), "bad_request", "env.A"),
            (changed("env", json!({ "A": "x".repeat(70_000) })), "bad_request", "env"),
            (changed("env", json!([])), "bad_request", "env"),
            (changed("meta", json!({ "a": {} })), "bad_request", "meta.a"),
            (changed("target", json!("staging")), "bad_request", "target"),
            (changed("regions", json!(["sfo1"])), "bad_request", "regions"),
            (changed("builds", json!([{ "src": "a", "use": "b" }])), "bad_request", "builds"),
            (changed("routes", json!([{ "src": "a" }])), "bad_request", "routes"),
            (changed("functions", json!({ "a": { "memory": 128 } })), "bad_request", "functions"),
            (
                changed("projectSettings", json!({ "rootDirectory": "x" })),
                "bad_request",
                "projectSettings.rootDirectory",
            ),
            (changed("cleanUrls", json!(true)), "bad_request", "cleanUrls"),
            (changed("public", json!(true)), "bad_request", "public"),
            (changed("deploymentId", json!("dpl_x")), "bad_request", "deploymentId"),
            (changed("autoAssignCustomDomains", json!("no")), "bad_request", "autoAssignCustomDomains"),
        ];
        for (body, code, field) in cases {
            match read_value(&body) {
                Err(Error::Invalid(invalid)) => {
                    assert_eq!((invalid.code, invalid.field.as_deref()), (code, Some(field)), "{body}");
                }
                other => panic!("{body}: {other:?}"),
            }
        }
        assert!(matches!(read(b"{", &config()), Err(Error::Invalid(_))));
    }

    #[test]
    fn what_says_nothing_is_not_in_the_way() {
        for (key, value) in [
            ("builds", json!([])),
            ("functions", json!({})),
            ("build", json!({ "env": {} })),
            ("projectSettings", json!({ "framework": null, "sourceFilesOutsideRootDirectory": true })),
            ("gitMetadata", json!({ "commitSha": "abc" })),
            ("source", json!("cli")),
            ("public", json!(false)),
            ("cleanUrls", json!(null)),
            ("target", json!("preview")),
            ("regions", json!(["dev1"])),
            ("regions", json!(["all"])),
        ] {
            assert!(read_value(&changed(key, value.clone())).is_ok(), "{key}: {value}");
        }
    }

    #[test]
    fn a_body_is_understood() {
        let mut body = good();
        body["env"] = json!({ "A": "b", "S": "@name", "U": { "uid": "sec_x" }, "AT": "\\@b" });
        body["build"] = json!({ "env": { "C": "d" } });
        body["meta"] = json!({ "n": 1 });
        body["target"] = json!("production");
        body["autoAssignCustomDomains"] = json!(false);
        body["files"] = json!([
            { "file": "run.sh", "sha": SHA, "mode": 33261 },
            { "file": "b/x.bin", "data": "AAE=", "encoding": "base64" },
        ]);
        let body = read_value(&body).unwrap();
        assert_eq!(body.name.unwrap().as_str(), "site");
        let value = |text: &str| Wish::Value(dockless_model::Secret::new(text));
        assert_eq!(body.env["A"], value("b"));
        assert_eq!((&body.env["S"], &body.env["U"]), (&Wish::Secret("name".into()), &Wish::Secret("sec_x".into())));
        assert_eq!((&body.env["AT"], &body.build_env["C"]), (&value("@b"), &value("d")));
        assert_eq!(body.meta["n"], "1");
        assert_eq!((body.target.as_deref(), body.wants_alias, body.force_new), (Some("production"), false, false));
        let files: Vec<_> = body.files.iter().map(|(path, file)| (path.as_str(), file.executable)).collect();
        assert_eq!(files, [("b/x.bin", false), ("run.sh", true)]);
        assert!(matches!(&body.files.values().next().unwrap().content, Content::Inline(bytes) if bytes == &[0, 1]));
    }
}
