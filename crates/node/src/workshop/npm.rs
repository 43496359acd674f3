//! What the machine's own npm is told, mapped once and by name: which registry, through which proxy, with whose
//! certificates. Nothing else of it reaches a build, credentials least of all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Longest configuration file that is read.
const MAX_FILE: u64 = 1024 * 1024;

/// The settings of this machine that builds are given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NpmSettings {
    /// `https://registry.example.org/`
    pub registry: Option<String>,
    /// `http://proxy.internal:3128`
    pub proxy: Option<String>,
    /// More certificates to trust, PEM.
    pub certificates: Option<PathBuf>,
}

impl NpmSettings {
    /// Reads what `npm` would: variables, then the user's file, then the one beside the interpreter, which lies in
    /// `PREFIX/etc/npmrc`. What cannot be read says nothing.
    #[must_use]
    pub fn of_machine(interpreter: &Path, variable: impl Fn(&str) -> Option<String>) -> Self {
        let prefix = interpreter.parent().and_then(Path::parent);
        let user = variable("npm_config_userconfig")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".npmrc")));
        let mut settings = BTreeMap::new();
        for file in [prefix.map(|prefix| prefix.join("etc/npmrc")), user].into_iter().flatten() {
            let small = std::fs::metadata(&file).is_ok_and(|found| found.len() <= MAX_FILE);
            if let (true, Ok(text)) = (small, std::fs::read_to_string(&file)) {
                settings.extend(parse(&text, &variable));
            }
        }
        let of = |names: &[&str], keys: &[&str]| {
            let said = names.iter().find_map(|name| variable(name).filter(|value| !value.is_empty()));
            said.or_else(|| keys.iter().find_map(|key| settings.get(*key).cloned()))
        };
        Self {
            registry: of(&["npm_config_registry", "NPM_CONFIG_REGISTRY"], &["registry"]),
            proxy: of(
                &["npm_config_https_proxy", "NPM_CONFIG_HTTPS_PROXY", "HTTPS_PROXY", "https_proxy"],
                &["https-proxy", "proxy"],
            ),
            certificates: of(&["npm_config_cafile", "NPM_CONFIG_CAFILE", "NODE_EXTRA_CA_CERTS"], &["cafile"])
                .map(PathBuf::from),
        }
    }
}

/// The plain `key = value` lines of an npmrc; sections, arrays and values that are nothing are left out.
fn parse(text: &str, variable: &impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';', '[']))
        .filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            let value = value.trim().trim_matches('"');
            let value = expand(value, variable)?;
            let nothing = value.is_empty() || value == "null" || value == "undefined";
            (!nothing).then(|| (key.trim().to_owned(), value))
        })
        .collect()
}

/// `${NAME}` is the variable; a line that names one that is not set says nothing.
fn expand(value: &str, variable: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find("${") {
        let (before, name) = (&rest[..at], &rest[at + 2..]);
        let (name, after) = name.split_once('}')?;
        out.push_str(before);
        out.push_str(&variable(name)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_variables_are_read_in_npms_order() {
        let base = std::env::temp_dir().join(format!("dockless-npmrc-{}", std::process::id()));
        std::fs::create_dir_all(base.join("prefix/etc")).unwrap();
        std::fs::create_dir_all(base.join("home")).unwrap();
        let global = "; comment\ncafile = \"/etc/ca.pem\"\nregistry=https://global.example.org/\nproxy=null\n";
        std::fs::write(base.join("prefix/etc/npmrc"), global).unwrap();
        let user = "registry=https://${NPM_HOST}/\n//x.org/:_authToken=secret\nhttps-proxy=${MISSING}\n";
        std::fs::write(base.join("home/.npmrc"), user).unwrap();
        let home = base.join("home").to_string_lossy().into_owned();
        let with = |extra: &'static [(&'static str, &'static str)]| {
            let home = home.clone();
            move |name: &str| match name {
                "HOME" => Some(home.clone()),
                "NPM_HOST" => Some("user.example.org".to_owned()),
                other => extra.iter().find(|(key, _)| *key == other).map(|(_, value)| (*value).to_owned()),
            }
        };
        let interpreter = base.join("prefix/bin/node");
        let settings = NpmSettings::of_machine(&interpreter, with(&[]));
        assert_eq!(settings.registry.as_deref(), Some("https://user.example.org/"));
        assert_eq!(settings.proxy, None);
        assert_eq!(settings.certificates.as_deref(), Some(Path::new("/etc/ca.pem")));
        let variables = &[("npm_config_registry", "http://10.0.0.1/"), ("HTTPS_PROXY", "http://p:3128")];
        let settings = NpmSettings::of_machine(&interpreter, with(variables));
        assert_eq!(settings.registry.as_deref(), Some("http://10.0.0.1/"));
        assert_eq!(settings.proxy.as_deref(), Some("http://p:3128"));
        std::fs::remove_dir_all(&base).unwrap();
    }
}
