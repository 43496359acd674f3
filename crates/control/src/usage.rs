//! What deployments cost. Whoever counts says how far their counters have come, as often as they like.

use crate::{Caller, Control, Error};
use dockless_model::{DeploymentId, InstanceId, Timestamp};
use dockless_store::UsageCounters;
use dockless_wire::{Usage, UsageList};
use std::time::Duration;

/// Sources that have said nothing for so long are added up.
const FOLD_AFTER: Duration = Duration::from_secs(24 * 3600);

impl Control {
    /// Writes down how far this process's counters have come.
    ///
    /// # Errors
    /// The database fails: say it again later.
    pub async fn record_usage(&self, rows: &[(DeploymentId, UsageCounters)]) -> Result<(), Error> {
        Ok(self.db().put_usage(self.session(), rows, self.now()).await?)
    }

    /// Writes down what an instance that has ended used. Hearing of it twice changes nothing.
    ///
    /// # Errors
    /// The database fails.
    pub async fn record_end(&self, instance: &InstanceId, deployment: &DeploymentId, cpu_us: u64) -> Result<(), Error> {
        let counters = UsageCounters { cpu_us, ..UsageCounters::default() };
        let rows = [(deployment.clone(), counters)];
        Ok(self.db().put_usage(instance.as_str(), &rows, self.now()).await?)
    }

    /// What the caller's deployments cost.
    ///
    /// # Errors
    /// [`Error::NotFound`]: no such project, now or ever; the database fails.
    pub async fn usage(&self, caller: &Caller, project: Option<&str>) -> Result<UsageList, Error> {
        let rows = self.db().usage(caller.id(), project).await?;
        if rows.is_empty()
            && let Some(project) = project
        {
            self.find_project(caller, project).await?;
        }
        let usage = rows.into_iter().map(|row| Usage {
            deployment_id: row.deployment,
            url: row.host,
            project: row.project,
            requests: row.counters.requests,
            cpu_ms: row.counters.cpu_us / 1000,
            gb_seconds: gb_seconds(row.counters.memory_mib_ms),
            bytes_out: row.counters.bytes_out,
            asleep_seconds: row.counters.asleep_ms / 1000,
            since: row.first_at,
        });
        Ok(UsageList { usage: usage.collect() })
    }

    pub(crate) async fn fold_usage(&self) -> Result<(), Error> {
        let now = self.now();
        let before = Timestamp(now.0.saturating_sub(i64::try_from(FOLD_AFTER.as_millis()).unwrap_or(i64::MAX)));
        Ok(self.db().fold_usage(self.session(), before, now).await?)
    }
}

/// To thousandths: what is behind them is noise.
fn gb_seconds(mib_ms: u64) -> f64 {
    let thousandths = mib_ms / 1024;
    let whole = u32::try_from(thousandths / 1000).map_or(f64::from(u32::MAX), f64::from);
    let rest = u32::try_from(thousandths % 1000).map_or(0.0, f64::from);
    whole + rest / 1000.0
}
