//! What a sandbox carries about itself, so that another server can take it over.

use crate::{Program, Spec, environment};
use dockless_model::image::Process;
use dockless_model::output::{Function, Service};
use dockless_model::{
    AccountId, DeploymentId, Digest, FunctionLimits, Host, Image, ProjectName, RuntimeId, Scale, ServiceLimits, Slot,
    SourcePath, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    program: What,
    url: Host,
    started: Timestamp,
}

/// What must be known of a program to go on serving requests with an instance of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum What {
    Function { bundle: Digest, bundle_bytes: u64, limits: FunctionLimits, helpers: bool },
    Service { image: Digest, ports: Vec<u16>, stop_signal: i32, slot: Slot, limits: ServiceLimits },
}

impl Tag {
    const VERSION: u32 = 2;

    pub(crate) fn of(spec: &Spec, started: Timestamp) -> String {
        let program = match &spec.program {
            Program::Function(function) => What::Function {
                bundle: function.bundle,
                bundle_bytes: function.bundle_bytes,
                limits: function.limits,
                helpers: function.helpers,
            },
            Program::Service(service) => What::Service {
                image: service.image.id,
                // What it was told to use counts as declared.
                ports: std::iter::once(environment::port(spec, service))
                    .chain(service.image.process.ports.iter().copied())
                    .collect(),
                stop_signal: service.image.process.stop_signal,
                slot: service.slot,
                limits: service.limits,
            },
        };
        let tag = Self {
            v: Self::VERSION,
            deployment: spec.deployment.clone(),
            account: spec.account.clone(),
            project: spec.project.clone(),
            name: spec.name.clone(),
            program,
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

    /// Enough to go on with what runs already; not enough to start another instance: environment, files, layers and
    /// region are left out. A function needs its runtime.
    pub(crate) fn into_spec(self, runtime: Option<RuntimeId>) -> Option<Arc<Spec>> {
        let program = match (self.program, runtime) {
            (What::Function { bundle, bundle_bytes, limits, helpers }, Some(runtime)) => {
                Program::Function(Arc::new(Function {
                    entrypoint: self.name.clone(),
                    main: None,
                    bundle,
                    bundle_bytes,
                    files: BTreeMap::new(),
                    runtime,
                    limits,
                    helpers,
                }))
            }
            (What::Service { image, ports, stop_signal, slot, limits }, None) => {
                let process = Process { ports, stop_signal, ..Process::default() };
                Program::Service(Arc::new(Service {
                    image: Image { id: image, layers: Vec::new(), process },
                    slot,
                    limits,
                }))
            }
            _ => return None,
        };
        Some(Arc::new(Spec {
            deployment: self.deployment,
            account: self.account,
            project: self.project,
            program,
            name: self.name,
            env: Arc::default(),
            scale: Scale::default(),
            egress: true,
            region: "",
            url: self.url,
        }))
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
            v: Tag::VERSION,
            deployment: DeploymentId::random(&OsEntropy),
            account: AccountId::random(&OsEntropy),
            project: "hello".parse().unwrap(),
            name: "api/date".parse().unwrap(),
            program: What::Function {
                bundle: Digest::of(b"bundle"),
                bundle_bytes: 6,
                limits: FunctionLimits::default(),
                helpers: true,
            },
            url: "hello-abc.localhost".parse().unwrap(),
            started: Timestamp(7),
        };
        let spec = tag.clone().into_spec(Some(runtime.clone())).unwrap();
        let text = Tag::of(&spec, Timestamp(9));
        let again = Tag::read(&text).unwrap();
        assert_eq!((again.started(), &again.deployment), (Timestamp(9), &tag.deployment));
        let spec_again = again.clone().into_spec(Some(runtime)).unwrap();
        assert_eq!(spec_again.name, spec.name);
        assert_eq!(spec_again.function().unwrap().limits, FunctionLimits::default());
        assert!(again.into_spec(None).is_none(), "a function without runtime");
        assert!(Tag::read("").is_none());
        assert!(Tag::read("{\"v\":2}").is_none());
        assert!(Tag::read(&text.replacen("\"v\":2", "\"v\":3", 1)).is_none());
    }
}
