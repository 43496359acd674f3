//! Deployments as they are read.

use crate::ScaleRules;
use dockless_model::{AccountId, BuildId, DeploymentId, DeploymentState, Host, ProjectId, ProjectName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A deployment. The required fields are in every answer; the others where they are known.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// Same as `id`.
    pub uid: DeploymentId,
    /// Which.
    pub id: DeploymentId,
    /// Same as `id`.
    pub deployment_id: DeploymentId,
    /// Project.
    pub name: ProjectName,
    /// Its own host, without scheme and port.
    pub url: Host,
    /// Where a browser finds it, with scheme and port: ours, for platforms that do not listen on 443.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub href: Option<String>,
    /// Where browsers find its aliases, in the order of `alias`: ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alias_hrefs: Vec<String>,
    /// Same as `readyState`.
    pub state: DeploymentState,
    /// Where it is in its life.
    pub ready_state: DeploymentState,
    /// Same as `readyState`.
    pub status: DeploymentState,
    /// Same as `createdAt`.
    pub created: Timestamp,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its build began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub building_at: Option<Timestamp>,
    /// When it became ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Timestamp>,
    /// Who created it.
    pub creator: Creator,
    /// 2.
    pub version: u32,
    /// `LAMBDAS`: functions and static files.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bounds on its instances by region, unless they are the usual ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scale: ScaleRules,
    /// `production` or null.
    #[serde(default)]
    pub target: Option<String>,
    /// Hosts of its project that point here.
    #[serde(default)]
    pub alias: Vec<Host>,
    /// When its aliases were settled (also if there was none to assign); `false` until then.
    #[serde(default, with = "assigned")]
    pub alias_assigned: Option<Timestamp>,
    /// Why an alias could not be assigned.
    #[serde(default)]
    pub alias_error: Option<AliasError>,
    /// Project.
    pub project_id: ProjectId,
    /// Account.
    pub owner_id: AccountId,
    /// Where it runs.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Always `false`: sources are private.
    #[serde(default)]
    pub public: bool,
    /// Labels of the client.
    #[serde(default)]
    pub meta: BTreeMap<String, String>,
    /// Routes as configured; empty in zero-config.
    #[serde(default)]
    pub routes: Vec<serde_json::Value>,
    /// Running and frozen instances, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_count: Option<usize>,
    /// `BUILD_FAILED` or `UNEXPECTED_ERROR` in state ERROR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// Why it failed, with a hint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// The step that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_step: Option<String>,
}

/// `aliasAssigned` is a time or the literal `false`.
mod assigned {
    use dockless_model::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Assigned {
        At(Timestamp),
        Flag(bool),
    }

    #[expect(clippy::ref_option, reason = "the signature that serde's `with` asks for")]
    pub(super) fn serialize<S: Serializer>(at: &Option<Timestamp>, out: S) -> Result<S::Ok, S::Error> {
        at.map_or(Assigned::Flag(false), Assigned::At).serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(match Option::<Assigned>::deserialize(from)? {
            Some(Assigned::At(at)) => Some(at),
            // Other servers say `true` without a time.
            Some(Assigned::Flag(true)) => Some(Timestamp(0)),
            Some(Assigned::Flag(false)) | None => None,
        })
    }
}

/// Who created a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Creator {
    /// Account.
    pub uid: AccountId,
    /// Its name.
    pub username: String,
    /// Its address.
    #[serde(default)]
    pub email: String,
}

/// Why an alias was not assigned. Clients print `message`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasError {
    /// Stable name.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Answer to a listing, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeploymentList {
    /// One page.
    pub deployments: Vec<Deployment>,
    /// The way to the next.
    pub pagination: Pagination,
}

/// Cursor of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pagination {
    /// Rows of this page.
    pub count: usize,
    /// Passed back as `until`: rows created before it follow. Absent on the last page.
    pub next: Option<Timestamp>,
    /// Creation of the first row of this page.
    pub prev: Option<Timestamp>,
}

/// Answer to a removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Which.
    pub uid: DeploymentId,
    /// `DELETED`
    pub state: String,
}

/// Answer to `GET …/builds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildList {
    /// Its builds.
    pub builds: Vec<Build>,
}

/// One build of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Build {
    /// Which.
    pub id: BuildId,
    /// What it builds: `.` is the whole source.
    pub entrypoint: String,
    /// Builder.
    #[serde(rename = "use")]
    pub builder: String,
    /// Where it is in its life.
    pub ready_state: DeploymentState,
    /// Queued.
    pub created_at: Timestamp,
    /// Reached its state.
    pub ready_state_at: Timestamp,
    /// What came out.
    pub output: Vec<BuildOutput>,
}

/// One thing that a build left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildOutput {
    /// `lambda` or `file`
    #[serde(rename = "type")]
    pub kind: String,
    /// Output path.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Present on functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<LambdaOutput>,
}

/// A function among the outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LambdaOutput {
    /// Output path again.
    pub function_name: String,
    /// MB.
    pub memory_size: u32,
    /// Runtime id.
    pub runtime: String,
    /// Regions.
    pub deployed_to: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_model::OsEntropy;

    fn sample() -> Deployment {
        let id = DeploymentId::random(&OsEntropy);
        let state = DeploymentState::Queued;
        Deployment {
            uid: id.clone(),
            id: id.clone(),
            deployment_id: id,
            name: "site".parse().unwrap(),
            url: "site-abc.localhost".parse().unwrap(),
            href: None,
            alias_hrefs: Vec::new(),
            state,
            ready_state: state,
            status: state,
            created: Timestamp(1),
            created_at: Timestamp(1),
            building_at: None,
            ready: None,
            creator: Creator { uid: AccountId::random(&OsEntropy), username: "owner".to_owned(), email: String::new() },
            version: 2,
            kind: "LAMBDAS".to_owned(),
            scale: BTreeMap::new(),
            target: None,
            alias: Vec::new(),
            alias_assigned: None,
            alias_error: None,
            project_id: ProjectId::random(&OsEntropy),
            owner_id: AccountId::random(&OsEntropy),
            regions: vec!["dev1".to_owned()],
            public: false,
            meta: BTreeMap::new(),
            routes: Vec::new(),
            instance_count: None,
            error_code: None,
            error_message: None,
            error_step: None,
        }
    }

    #[test]
    fn fields_that_clients_of_any_age_read_are_there() {
        let json = serde_json::to_value(sample()).unwrap();
        for key in
            "uid id deploymentId name url state readyState status created createdAt creator version type target alias \
             aliasAssigned aliasError projectId ownerId regions public meta routes"
                .split(' ')
        {
            assert!(json.get(key).is_some(), "{key} is missing");
        }
        for key in ["error", "errorCode", "limits", "team", "builds"] {
            assert!(json.get(key).is_none(), "{key} must be absent");
        }
        assert_eq!((&json["aliasAssigned"], &json["readyState"]), (&false.into(), &"QUEUED".into()));
    }

    #[test]
    fn alias_assigned_is_false_or_a_time() {
        for (json, at) in [("false", None), ("null", None), ("true", Some(Timestamp(0))), ("7", Some(Timestamp(7)))] {
            let mut value = serde_json::to_value(sample()).unwrap();
            value["aliasAssigned"] = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::from_value::<Deployment>(value).unwrap().alias_assigned, at, "{json}");
        }
    }
}
