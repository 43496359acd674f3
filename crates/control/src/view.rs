//! A deployment as the wire shows it.

use crate::{Caller, Control};
use dockless_model::Scale;
use dockless_store::Deployment;
use dockless_wire::{AliasError, Auto, ScaleMax, ScaleRule, ScaleRules};

impl Control {
    pub(crate) fn view(&self, caller: &Caller, deployment: &Deployment) -> dockless_wire::Deployment {
        let Deployment { id, state, created_at, failure, .. } = deployment;
        let public = self.config().public;
        dockless_wire::Deployment {
            uid: id.clone(),
            id: id.clone(),
            deployment_id: id.clone(),
            name: deployment.name.clone(),
            url: deployment.host.clone(),
            href: Some(public.href(&deployment.host)),
            alias_hrefs: deployment.aliases.iter().map(|host| public.href(host)).collect(),
            state: *state,
            ready_state: *state,
            status: *state,
            created: *created_at,
            created_at: *created_at,
            building_at: deployment.building_at,
            ready: deployment.ready_at,
            creator: caller.creator(),
            version: 2,
            kind: "LAMBDAS".to_owned(),
            scale: scale(deployment),
            target: deployment.target.clone(),
            alias: deployment.aliases.clone(),
            alias_assigned: deployment.alias_assigned_at,
            alias_error: deployment
                .alias_error
                .as_ref()
                .map(|fault| AliasError { code: fault.code.clone(), message: fault.message.clone() }),
            project_id: deployment.project.clone(),
            owner_id: deployment.account.clone(),
            regions: vec![deployment.region.clone()],
            public: false,
            meta: deployment.meta.clone(),
            routes: Vec::new(),
            instance_count: None,
            error_code: failure.as_ref().map(|failure| failure.code.clone()),
            error_message: failure.as_ref().map(|failure| failure.message.clone()),
            error_step: failure.as_ref().and_then(|failure| failure.step.clone()),
        }
    }
}

fn scale(deployment: &Deployment) -> ScaleRules {
    let scale = deployment.scale;
    if scale == Scale::default() {
        return ScaleRules::new();
    }
    let max = scale.max.map_or(ScaleMax::Auto(Auto::Auto), ScaleMax::Count);
    [(deployment.region.clone(), ScaleRule { min: scale.min, max })].into()
}
