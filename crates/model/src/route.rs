//! One rule of a deployment's route table, as the manifest keeps it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One rule of the route table. What is left out of its JSON means what rules meant before there was a word for it, so
/// that old manifests are read as they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Regular expression over the whole decoded-as-sent path, anchored at both ends by the compiler: `/api/user/([^/]+)`.
    pub src: String,
    /// Where it leads: a path with a leading slash, `$1` and `$name` replaced, its query merged into the request's. Empty:
    /// the path stays.
    pub dest: String,
    /// When it is tried.
    #[serde(default, skip_serializing_if = "Phase::is_start")]
    pub phase: Phase,
    /// What comes of a match.
    #[serde(default, skip_serializing_if = "Then::is_if_exists")]
    pub then: Then,
    /// Status of the answer. In [`Phase::Error`]: the failure that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Fields of the answer, names in lower case, `$1` and `$name` replaced.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Methods it is for, in upper case; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Whether `A` is `a`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_case: bool,
    /// Whether the query of `dest` goes before the request's, as it did in 2019.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dest_wins: bool,
    /// What else must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub has: Vec<Condition>,
    /// What must not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Condition>,
}

impl Route {
    /// A rule that is passed over where its destination does not exist.
    #[must_use]
    pub fn if_exists(src: String, dest: String, phase: Phase) -> Self {
        Self { src, dest, phase, ..Self::default() }
    }
}

/// When a route is tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Before files and functions of the request's own path.
    #[default]
    Start,
    /// After them: what exists at the path wins. Rewrites and dynamic segments live here.
    Filesystem,
    /// When nothing exists at a path, before the next rules are tried: other spellings of it.
    Miss,
    /// When something does: headers only.
    Hit,
    /// Behind the rules of the filesystem phase, and for each destination that they try.
    Rewrite,
    /// When all that found nothing.
    Resource,
    /// When the request fails: a page for it.
    Error,
}

impl Phase {
    /// The one that is not written down.
    #[must_use]
    pub const fn is_start(&self) -> bool {
        matches!(self, Self::Start)
    }
}

/// What comes of a route that matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// Its destination answers; passed over, as if it had not matched, if there is none.
    #[default]
    IfExists,
    /// Its destination answers if it exists, else the search goes on from there.
    Check,
    /// Its destination is the path that is looked for from here on, the phase is over.
    Finish,
    /// The rules behind it are tried with what it changed.
    Continue,
}

impl Then {
    /// The one that is not written down.
    #[must_use]
    pub const fn is_if_exists(&self) -> bool {
        matches!(self, Self::IfExists)
    }
}

/// Something a request has beside its path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is looked at.
    #[serde(rename = "type")]
    pub kind: Subject,
    /// Its name; empty for the host. Header names are in lower case.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// What its value must be; empty: anything, and the value is the parameter `key`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<Test>,
}

/// What a [`Condition`] looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// The host without its port; also the parameter `host`.
    Host,
    /// A field of the request.
    Header,
    /// A cookie.
    Cookie,
    /// A parameter of the query.
    Query,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Test {
    /// How.
    pub operator: Operator,
    /// With what; several for [`Operator::Inc`] and [`Operator::Ninc`].
    pub values: Vec<String>,
}

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operator {
    /// The whole value matches a regular expression; its named groups are parameters.
    Re,
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// One of.
    Inc,
    /// None of.
    Ninc,
    /// Begins with.
    Pre,
    /// Ends with.
    Suf,
    /// A number above.
    Gt,
    /// A number not below.
    Gte,
    /// A number below.
    Lt,
    /// A number not above.
    Lte,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_of_before_mean_what_they_meant() {
        let old = r#"{"src":"/api/user/([^/]+)","dest":"/api/user/[id]?id=$1","phase":"filesystem"}"#;
        let route: Route = serde_json::from_str(old).unwrap();
        let same = Route::if_exists("/api/user/([^/]+)".into(), "/api/user/[id]?id=$1".into(), Phase::Filesystem);
        assert_eq!(route, same);
        assert_eq!(serde_json::to_string(&route).unwrap(), old);
    }
}
