//! How many instances the programs of a deployment are to have.

use crate::{Caller, Control, Error, Refusal};
use dockless_model::{Host, Scale};
use dockless_wire::{Auto, InstancesByRegion, RegionInstances, ScaleMax, ScaleRule, ScaleRules};

impl Control {
    /// Scales a deployment. Switched off, its instances are retired and its hosts answer 503; every other rule switches
    /// it on.
    ///
    /// # Errors
    /// [`Error::NotFound`]; the rule is none; the deployment has failed; the database fails.
    pub async fn scale(
        &self,
        caller: &Caller,
        deployment: &str,
        rules: &ScaleRules,
    ) -> Result<dockless_wire::Deployment, Error> {
        let deployment = self.find(caller, deployment).await?;
        if deployment.failure.is_some() {
            let message = "The deployment's build has failed: there is nothing to scale.";
            return Err(Error::refused(Refusal::Gone, "gone", message));
        }
        let scale = self.rule(rules)?;
        if !self.db().set_scale(caller.id(), &deployment.id, scale, self.now()).await? {
            return Err(Error::NotFound("deployment"));
        }
        tracing::info!(deployment = %deployment.id, min = scale.min, max = ?scale.max, "deployment scaled");
        self.poll().await?;
        if scale.is_disabled() {
            self.platform().switch_off(deployment.id.clone()).await;
        }
        self.deployment(caller, deployment.id.as_str()).await
    }

    /// Hosts of the READY deployments, of all accounts, that have instances though nobody asks.
    ///
    /// # Errors
    /// The database fails.
    pub async fn kept(&self) -> Result<Vec<Host>, Error> {
        Ok(self.db().kept().await?)
    }

    /// The instances of a deployment, for each region that it is in.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database fails.
    pub async fn instances_of(&self, caller: &Caller, deployment: &str) -> Result<InstancesByRegion, Error> {
        let deployment = self.find(caller, deployment).await?;
        let mut instances = self.instances(caller).await.instances;
        instances.retain(|instance| instance.deployment == deployment.id);
        Ok([(deployment.region, RegionInstances { instances })].into())
    }

    /// The one rule for this one region.
    fn rule(&self, rules: &ScaleRules) -> Result<Scale, Error> {
        let region = &self.config().region;
        let mut found = None;
        for (name, rule) in rules {
            if name != region && name != "all" {
                return Err(Error::field(name, format!("expected {region} or all")));
            }
            // What is said of the region itself goes before what is said of all.
            if found.is_none() || name == region {
                found = Some(*rule);
            }
        }
        let Some(ScaleRule { min, max }) = found else {
            return Err(Error::field("body", format!("expected bounds for {region} or all")));
        };
        let max = match max {
            ScaleMax::Count(max) => Some(max),
            ScaleMax::Auto(Auto::Auto) => None,
        };
        if min > Scale::MOST {
            let message = format!("min is at most {}", Scale::MOST);
            return Err(Error::refused(Refusal::Wrong, "forbidden_min_instances", message));
        }
        if max.is_some_and(|max| max > Scale::MOST) {
            let message = format!("max is at most {}", Scale::MOST);
            return Err(Error::refused(Refusal::Wrong, "forbidden_max_instances", message));
        }
        if max.is_some_and(|max| max < min) {
            let message = "min is not above max".to_owned();
            return Err(Error::refused(Refusal::Wrong, "wrong_min_max_relation", message));
        }
        Ok(Scale { min, max })
    }
}
