//! What a sandbox carries about itself, so that another server can take it over.

use crate::FunctionSpec;
use dockless_model::output::Function;
use dockless_model::{
    AccountId, DeploymentId, Digest, FunctionLimits, Host, ProjectName, RuntimeId, SourcePath, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The tag's shape: JSON, opaque to the warden. Unknown fields are ignored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tag {
    /// Version of this shape.
    v: u32,
    pub(crate) deployment: DeploymentId,
    pub(crate) account: AccountId,
    project: ProjectName,
    pub(crate) name: SourcePath,
    bundle: Digest,
    bundle_bytes: u64,
    limits: FunctionLimits,
    helpers: bool,
    url: Host,
    started: Timestamp,
}

impl Tag {
    const VERSION: u32 = 1;

    pub(crate) fn of(spec: &FunctionSpec, started: Timestamp) -> String {
        let function = &spec.function;
        let tag = Self {
            v: Self::VERSION,
            deployment: spec.deployment.clone(),
            account: spec.account.clone(),
            project: spec.project.clone(),
            name: spec.name.clone(),
            bundle: function.bundle,
            bundle_bytes: function.bundle_bytes,
            limits: function.limits,
            helpers: function.helpers,
            url: spec.url.clone(),
            started,
        };
        serde_json::to_string(&tag).expect("strings and numbers are JSON")
    }

    /// `None` for a tag that is not of this program or of a later version of it.
    pub(crate) fn read(text: &str) -> Option<Self> {
        serde_json::from_str::<Self>(text).ok().filter(|tag| tag.v == Self::VERSION)
    }

    /// When the instance got its code.
    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }

    /// Enough of the function to run what is already loaded; not enough to start another instance: environment, files
    /// and region are left out.
    pub(crate) fn into_spec(self, runtime: RuntimeId) -> Arc<FunctionSpec> {
        Arc::new(FunctionSpec {
            deployment: self.deployment,
            account: self.account,
            project: self.project,
            function: Arc::new(Function {
                entrypoint: self.name.clone(),
                bundle: self.bundle,
                bundle_bytes: self.bundle_bytes,
                files: std::collections::BTreeMap::new(),
                runtime,
                limits: self.limits,
                helpers: self.helpers,
            }),
            name: self.name,
            env: Arc::default(),
            region: "",
            url: self.url,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_model::OsEntropy;

    #[test]
    fn a_tag_brings_the_function_back_and_a_foreign_one_does_not() {
        let runtime = RuntimeId::compose("node", "20.1.0", &Digest::of(b"tree")).unwrap();
        let tag = Tag {
            v: 1,
            deployment: DeploymentId::random(&OsEntropy),
            account: AccountId::random(&OsEntropy),
            project: "hello".parse().unwrap(),
            name: "api/date".parse().unwrap(),
            bundle: Digest::of(b"bundle"),
            bundle_bytes: 6,
            limits: FunctionLimits::default(),
            helpers: true,
            url: "hello-abc.localhost".parse().unwrap(),
            started: Timestamp(7),
        };
        let spec = tag.clone().into_spec(runtime.clone());
        let text = Tag::of(&spec, Timestamp(9));
        let again = Tag::read(&text).unwrap();
        assert_eq!((again.started(), &again.deployment, again.limits), (Timestamp(9), &tag.deployment, tag.limits));
        assert_eq!(again.into_spec(runtime).name, spec.name);
        assert!(Tag::read("").is_none());
        assert!(Tag::read("{\"v\":1}").is_none());
        assert!(Tag::read(&text.replacen("\"v\":1", "\"v\":2", 1)).is_none());
    }
}
