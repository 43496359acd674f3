//! What now.json says about a server that is built from a Dockerfile: `type`, `features.cloud`, `slot`, `limits`,
//! `build.env`.

use super::{Settings, is_set};
use crate::BuildError;
use dockless_model::{ServiceLimits, ServiceRules, Slot, SourcePath};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Most arguments of a build, and the longest value.
const MAX_ARGUMENTS: (usize, usize) = (100, 4096);

/// Of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServiceSettings {
    /// CPU and memory of an instance.
    pub(crate) slot: Slot,
    /// Its limits.
    pub(crate) limits: ServiceLimits,
    /// `build.env`: arguments of the build.
    pub(crate) arguments: BTreeMap<String, String>,
}

/// Whether a configuration is one of a server.
pub(super) fn is_docker(document: &Map<String, Value>) -> bool {
    let cloud = document.get("features").and_then(|features| features.get("cloud"));
    document.get("type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("docker"))
        || cloud.and_then(Value::as_str) == Some("v2")
}

/// Whether a configuration is one of a site of files, as in 2018: by its type, or because it is of that version and says
/// nothing else.
pub(super) fn is_static(document: &Map<String, Value>) -> bool {
    match document.get("type").and_then(Value::as_str) {
        Some(kind) => kind.eq_ignore_ascii_case("static"),
        None => document.get("version").and_then(Value::as_u64) == Some(1) && !is_docker(document),
    }
}

pub(super) fn read(
    path: &SourcePath,
    document: &Map<String, Value>,
    settings: &mut Settings,
) -> Result<(), BuildError> {
    let is_docker = is_docker(document);
    let found = |key: &str| document.get(key).filter(|value| is_set(value));
    // Other kinds of servers, and the platform before this one.
    for key in ["type", "features"] {
        if found(key).is_some() && !is_docker && !(key == "type" && is_static(document)) {
            return Err(BuildError::Configuration { path: path.clone(), key: key.to_owned() });
        }
    }
    if is_docker {
        settings.wants_dockerfile = Some(path.clone());
    }
    read_server((path, ""), document, &settings.rules, &mut settings.service)
}

/// `slot`, `limits` and `build.env`, over what `settings` say already. `within` is where the object stands, with its dot.
pub(super) fn read_server(
    (path, within): (&SourcePath, &str),
    document: &Map<String, Value>,
    rules: &ServiceRules,
    settings: &mut ServiceSettings,
) -> Result<(), BuildError> {
    let wrong = |key: &str, expected: String| BuildError::Option {
        path: path.clone(),
        key: format!("{within}{key}"),
        expected: expected.into(),
    };
    let bad = |key: &str, expected: &str| wrong(key, expected.to_owned());
    let found = |key: &str| document.get(key).filter(|value| is_set(value));
    if let Some(slot) = found("slot") {
        let slot = slot.as_str().ok_or_else(|| bad("slot", "expected a text such as \"c.125-m512\""))?;
        settings.slot = rules.slot(slot).map_err(|error| wrong("slot", error.to_string()))?;
    }
    if let Some(limits) = found("limits") {
        let limits = limits.as_object().ok_or_else(|| bad("limits", "expected an object"))?;
        for (key, value) in limits {
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
            let within = |range: RangeInclusive<u64>, unit: &str| {
                let expected = || format!("expected {} to {}{unit}", range.start(), range.end());
                number
                    .filter(|number| range.contains(number))
                    .ok_or_else(|| wrong(&format!("limits.{key}"), expected()))
            };
            let wanted = &mut settings.limits;
            match key.as_str() {
                "maxConcurrentReqs" => {
                    let number = within(1..=u64::from(rules.most_concurrency), "")?;
                    wanted.concurrency = u32::try_from(number).unwrap_or(rules.most_concurrency);
                }
                "duration" => wanted.duration_ms = within(rules.durations_ms(), " (milliseconds)")?,
                "timeout" => wanted.idle_timeout_ms = within(rules.timeouts_ms(), " (milliseconds)")?,
                _ => {
                    let expected = "expected maxConcurrentReqs, duration or timeout";
                    return Err(bad(&format!("limits.{key}"), expected));
                }
            }
        }
    }
    if let Some(env) = document.get("build").and_then(|build| build.get("env")).filter(|env| is_set(env)) {
        let env = env.as_object().ok_or_else(|| bad("build.env", "expected an object"))?;
        if env.len() > MAX_ARGUMENTS.0 {
            return Err(bad("build.env", "expected at most 100 variables"));
        }
        for (name, value) in env {
            let key = || format!("build.env.{name}");
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(word) || name.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(bad(&key(), "expected a name of letters, digits and _"));
            }
            let value = match value {
                // The name of a secret: its value comes with the deployment's own variables.
                Value::String(text) if text.starts_with('@') => continue,
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                _ => return Err(bad(&key(), "expected a text")),
            };
            if value.len() > MAX_ARGUMENTS.1 || value.contains('\0') {
                return Err(bad(&key(), "expected at most 4096 bytes without NUL"));
            }
            settings.arguments.insert(name.clone(), value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Settings, BuildError> {
        let mut settings = Settings::default();
        let document = serde_json::from_str(text).unwrap();
        read(&"now.json".parse().unwrap(), &document, &mut settings).map(|()| settings)
    }

    #[test]
    fn a_server_is_described_as_in_2018() {
        let text = r#"{"type":"docker","features":{"cloud":"v2"},"slot":"c1-m4096","build":{"env":{"A":"b","N":1}},
            "limits":{"maxConcurrentReqs":1,"duration":"60000","timeout":1800000}}"#;
        let settings = of(text).unwrap();
        assert!(settings.wants_dockerfile.is_some());
        assert_eq!(settings.service.slot.to_string(), "c1-m4096");
        let limits = settings.service.limits;
        assert_eq!((limits.concurrency, limits.duration_ms, limits.idle_timeout_ms), (1, 60_000, 1_800_000));
        assert_eq!(settings.service.arguments["N"], "1");
        assert!(of(r#"{"features":{"cloud":"v2"}}"#).unwrap().wants_dockerfile.is_some());
        assert!(of("{}").unwrap().wants_dockerfile.is_none());
    }

    #[test]
    fn an_operator_moves_the_bounds_and_names_slots() {
        let rules = dockless_model::ServiceRules {
            least_timeout_ms: 1000,
            slots: [("big".to_owned(), "c2-m8192".parse().unwrap())].into(),
            ..Default::default()
        };
        let mut settings = Settings { rules, ..Settings::default() };
        let document = serde_json::from_str(r#"{"slot":"big","limits":{"timeout":1000}}"#).unwrap();
        read(&"now.json".parse().unwrap(), &document, &mut settings).unwrap();
        assert_eq!(settings.service.slot.to_string(), "c2-m8192");
        assert_eq!(settings.service.limits.idle_timeout_ms, 1000);
        let document = serde_json::from_str(r#"{"slot":"huge"}"#).unwrap();
        let error = read(&"now.json".parse().unwrap(), &document, &mut settings).unwrap_err();
        assert!(error.to_string().contains("or big"), "{error}");
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        for (text, key) in [
            (r#"{"slot":"big"}"#, "slot"),
            (r#"{"limits":{"duration":59999}}"#, "limits.duration"),
            (r#"{"limits":{"timeout":1800001}}"#, "limits.timeout"),
            (r#"{"limits":{"maxConcurrentReqs":257}}"#, "limits.maxConcurrentReqs"),
            (r#"{"limits":{"memory":1}}"#, "limits.memory"),
            (r#"{"build":{"env":{"A":[1]}}}"#, "build.env.A"),
            (r#"{"build":{"env":{"1":"x"}}}"#, "build.env.1"),
            (r#"{"build":{"env":["A"]}}"#, "build.env"),
        ] {
            let error = of(text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(error.to_string().contains(&format!("sets {key}:")), "{error}");
        }
        for text in [r#"{"type":"npm"}"#, r#"{"features":{"cloud":"v1"}}"#] {
            assert_eq!(of(text).err().unwrap().code(), "unsupported_configuration");
        }
    }
}
