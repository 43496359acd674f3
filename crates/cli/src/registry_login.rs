//! Logins for registries, as `docker login`, `podman login` and `skopeo login` leave them.
//!
//! ```text
//! $DOCKER_CONFIG/config.json or ~/.docker/config.json        credHelpers[HOST] ─► docker-credential-NAME get
//! $REGISTRY_AUTH_FILE, $XDG_RUNTIME_DIR/containers/auth.json  credsStore       ─► the same for every host
//! ~/.config/containers/auth.json                              auths[HOST]      base64 of USER:PASSWORD
//! ```
//! Sources: Docker's `docker login` reference, "Credential helper protocol"; containers-auth.json(5).

use anyhow::{Context as _, anyhow, bail};
use data_encoding::BASE64;
use dockless_image::Credentials;
use dockless_model::Secret;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Under what `docker login` without a host keeps its login.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// A helper may ask a person to unlock a key ring.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest file or answer that is read.
const MOST: u64 = 1024 * 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

/// The login for a registry, if there is one: the first file that has it counts.
///
/// # Errors
/// A file cannot be read, or a helper fails.
pub(crate) async fn find(host: &str, repository: &str) -> anyhow::Result<Option<Credentials>> {
    for path in files() {
        let Some(config) = read(&path).await? else { continue };
        let found =
            in_file(&config, host, repository).await.with_context(|| format!("cannot use {}", path.display()))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn files() -> Vec<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = folder("HOME");
    let docker = folder("DOCKER_CONFIG").or_else(|| home.as_ref().map(|home| home.join(".docker")));
    [
        docker.map(|folder| folder.join("config.json")),
        folder("REGISTRY_AUTH_FILE"),
        folder("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
        folder("XDG_CONFIG_HOME")
            .or_else(|| home.map(|home| home.join(".config")))
            .map(|folder| folder.join("containers/auth.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

async fn read(path: &Path) -> anyhow::Result<Option<ConfigFile>> {
    let file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).await.with_context(|| format!("cannot read {}", path.display()))?;
    // The parser's own words would quote the file, and with it a password.
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        anyhow!("{} is no file of logins (line {}, column {})", path.display(), error.line(), error.column())
    })
}

async fn in_file(config: &ConfigFile, host: &str, repository: &str) -> anyhow::Result<Option<Credentials>> {
    let server = if host == "docker.io" { DOCKER_HUB } else { host };
    let helper = config.cred_helpers.get(server).or_else(|| config.cred_helpers.get(host));
    if let Some(helper) = helper.or(config.creds_store.as_ref()).filter(|helper| !helper.is_empty())
        && let Some(found) = ask(helper, server).await?
    {
        return Ok(Some(found));
    }
    // podman also keeps logins for a part of a registry: the longest name counts.
    let mut name = format!("{host}/{repository}");
    loop {
        for key in keys(&name) {
            if let Some(found) = config.auths.get(&key).map(credentials).transpose()?.flatten() {
                return Ok(Some(found));
            }
        }
        match name.rsplit_once('/') {
            Some((shorter, _)) => name = shorter.to_owned(),
            None => return Ok(None),
        }
    }
}

fn keys(name: &str) -> Vec<String> {
    let mut keys = vec![name.to_owned(), format!("https://{name}"), format!("http://{name}")];
    keys.extend(["v1/", "v2/", "v1", "v2", ""].map(|version| format!("https://{name}/{version}")));
    if name == "docker.io" {
        keys.extend([DOCKER_HUB.to_owned(), "index.docker.io".to_owned(), "registry-1.docker.io".to_owned()]);
    }
    keys
}

fn credentials(entry: &Entry) -> anyhow::Result<Option<Credentials>> {
    let full = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.expose().is_empty());
    if let Some(token) = full(&entry.registrytoken) {
        return Ok(Some(Credentials::RegistryToken(token)));
    }
    if let Some(token) = full(&entry.identitytoken) {
        return Ok(Some(Credentials::IdentityToken(token)));
    }
    if let Some(auth) = full(&entry.auth) {
        let pair = BASE64.decode(auth.expose().trim().as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = pair.ok_or_else(|| anyhow!("a login is not base64 of USER:PASSWORD"))?;
        let (username, password) =
            pair.split_once(':').ok_or_else(|| anyhow!("a login is not base64 of USER:PASSWORD"))?;
        // Docker for Windows pads with NUL.
        let password = Secret::new(password.trim_end_matches('\0').to_owned());
        return Ok(Some(Credentials::Password { username: username.to_owned(), password }));
    }
    Ok(match (&entry.username, full(&entry.password)) {
        (Some(username), Some(password)) => Some(Credentials::Password { username: username.clone(), password }),
        _ => None,
    })
}

/// Asks a credential helper: the server's name on its input, JSON on its output. No shell is between.
async fn ask(helper: &str, server: &str) -> anyhow::Result<Option<Credentials>> {
    if helper.contains('/') || !helper.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("{helper:?} is not the name of a credential helper");
    }
    let program = format!("docker-credential-{helper}");
    let mut child = tokio::process::Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {program}, which keeps the logins"))?;
    let talk = async {
        if let Some(mut input) = child.stdin.take() {
            // One that answers without reading is no reason to fail.
            let _ = input.write_all(server.as_bytes()).await;
        }
        let mut answer = Vec::new();
        if let Some(output) = child.stdout.take() {
            output.take(MOST).read_to_end(&mut answer).await?;
        }
        Ok::<_, std::io::Error>((answer, child.wait().await?))
    };
    let (answer, status) = tokio::time::timeout(PATIENCE, talk)
        .await
        .map_err(|_| anyhow!("{program} does not answer within {} seconds", PATIENCE.as_secs()))?
        .with_context(|| format!("cannot talk to {program}"))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&answer);
        let said = said.trim();
        if said.contains("credentials not found") {
            return Ok(None);
        }
        bail!("{program} fails: {}", said.chars().take(200).collect::<String>());
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: Secret,
    }
    let answer: Answer =
        serde_json::from_slice(&answer).map_err(|_| anyhow!("{program} answers something else than a login"))?;
    if answer.secret.expose().is_empty() {
        return Ok(None);
    }
    Ok(Some(if answer.username == "<token>" {
        Credentials::IdentityToken(answer.secret)
    } else {
        Credentials::Password { username: answer.username, password: answer.secret }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: serde_json::Value) -> ConfigFile {
        serde_json::from_value(json).unwrap()
    }

    async fn found(config: &ConfigFile, host: &str, repository: &str) -> String {
        match in_file(config, host, repository).await.unwrap() {
            Some(Credentials::Password { username, password }) => format!("{username}:{}", password.expose()),
            Some(Credentials::IdentityToken(token)) => format!("identity {}", token.expose()),
            Some(Credentials::RegistryToken(token)) => format!("registry {}", token.expose()),
            None => "none".to_owned(),
        }
    }

    #[tokio::test]
    async fn logins_are_found_under_every_spelling() {
        let auth = |pair: &str| serde_json::json!({ "auth": BASE64.encode(pair.as_bytes()) });
        let config = config(serde_json::json!({
            "auths": {
                "https://index.docker.io/v1/": auth("hub:p:w"),
                "ghcr.io": auth("me:pw"),
                "ghcr.io/team": auth("team:pw"),
                "https://old.example/v2/": auth("old:pw"),
                "127.0.0.1:5000": { "identitytoken": "it" },
                "empty.example": {},
            },
            "HttpHeaders": { "X": "y" },
        }));
        for (host, repository, expected) in [
            ("docker.io", "library/nginx", "hub:p:w"),
            ("ghcr.io", "me/app", "me:pw"),
            ("ghcr.io", "team/app", "team:pw"),
            ("ghcr.io", "teamster/app", "me:pw"),
            ("old.example", "a", "old:pw"),
            ("127.0.0.1:5000", "a", "identity it"),
            ("empty.example", "a", "none"),
            ("other.example", "a", "none"),
        ] {
            assert_eq!(found(&config, host, repository).await, expected, "{host}/{repository}");
        }
    }

    #[tokio::test]
    async fn helpers_are_names_and_not_commands() {
        for helper in ["../evil", "a b", "x\n"] {
            let config = config(serde_json::json!({ "credsStore": helper }));
            let error = in_file(&config, "ghcr.io", "a").await.unwrap_err().to_string();
            assert!(error.contains("not the name"), "{helper:?}: {error}");
        }
        let config = config(serde_json::json!({ "credHelpers": { "ghcr.io": "no-such-helper-here" } }));
        let error = format!("{:#}", in_file(&config, "ghcr.io", "a").await.unwrap_err());
        assert!(error.contains("docker-credential-no-such-helper-here"), "{error}");
        assert_eq!(found(&config, "docker.io", "a").await, "none");
    }
}
