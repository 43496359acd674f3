//! Keeps count of what deployments cost, and tells control now and then: of the gateway's counters, of sleeping instances,
//! and of instances that have ended.

use dockless_control::Control;
use dockless_control::UsageCounters;
use dockless_gateway::Counters;
use dockless_model::{DeploymentId, InstanceId, InstanceState};
use dockless_pool::Pool;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often instances are looked at, and how exactly their sleep is known.
const LOOK: Duration = Duration::from_secs(1);
/// A crash loses what was counted since the last report.
const REPORT: Duration = Duration::from_secs(5);
/// For measuring the instances that are left when the server ends.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// Ends that wait to be written; more at once are written late, not lost: the warden's news wait behind them.
const ENDS: usize = 1024;

/// An instance that has ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) instance: InstanceId,
    pub(crate) deployment: DeploymentId,
    pub(crate) cpu_us: u64,
}

/// Counters by deployment; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<HashMap<DeploymentId, Account>>>);

#[derive(Debug, Default)]
struct Account {
    counters: Arc<Counters>,
    asleep: Duration,
    reported: UsageCounters,
    /// Its deployment is removed.
    closed: bool,
}

/// Where ends are told.
#[derive(Debug, Clone)]
pub(crate) struct Ends(mpsc::Sender<End>);

impl Ends {
    /// Tells of an end; one that finds no room is said in the log and costs its processor time.
    pub(crate) fn tell(&self, end: End) {
        if let Err(error) = self.0.try_send(end) {
            tracing::warn!(%error, "an instance's usage is not written down");
        }
    }
}

impl Ledger {
    /// The counters that the gateway fills.
    pub(crate) fn counters(&self, deployment: &DeploymentId) -> Arc<Counters> {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&accounts.entry(deployment.clone()).or_default().counters)
    }

    /// A deployment is removed: its account goes once everything in it is written down.
    pub(crate) fn close(&self, deployment: &DeploymentId) {
        if let Some(account) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(deployment) {
            account.closed = true;
        }
    }

    /// A channel for ends, and the loop that writes everything down. It ends, having written the rest, once told to.
    pub(crate) fn keep(
        &self,
        control: Control,
        pool: Pool,
        ending: CancellationToken,
    ) -> (Ends, impl Future<Output = ()> + use<>) {
        let (tell, mut ends) = mpsc::channel::<End>(ENDS);
        let ledger = self.clone();
        let work = async move {
            let mut looks = tokio::time::interval(LOOK);
            looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let (mut looked, mut reported) = (Instant::now(), Instant::now());
            loop {
                tokio::select! {
                    () = ending.cancelled() => break,
                    Some(end) = ends.recv() => write_end(&control, &end).await,
                    _ = looks.tick() => {
                        let now = Instant::now();
                        ledger.look(&pool, now - looked);
                        looked = now;
                        if now - reported >= REPORT {
                            reported = now;
                            ledger.report(&control).await;
                        }
                    }
                }
            }
            while let Ok(end) = ends.try_recv() {
                write_end(&control, &end).await;
            }
            ledger.report(&control).await;
            // Instances that the warden is about to end have nobody to tell any more.
            let alive = tokio::time::timeout(LAST_LOOK, pool.instances_measured()).await.unwrap_or_default();
            for info in alive {
                if let Some(cpu_us) = info.cpu_us {
                    write_end(&control, &End { instance: info.id, deployment: info.deployment, cpu_us }).await;
                }
            }
        };
        (Ends(tell), work)
    }

    fn look(&self, pool: &Pool, span: Duration) {
        let mut sleeping: BTreeMap<DeploymentId, u32> = BTreeMap::new();
        let instances = pool.instances();
        self.tidy(&instances.iter().map(|info| &info.deployment).collect());
        for info in instances {
            if info.state == InstanceState::Frozen {
                *sleeping.entry(info.deployment).or_default() += 1;
            }
        }
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (deployment, count) in sleeping {
            accounts.entry(deployment).or_default().asleep += span * count;
        }
    }

    /// Drops closed accounts to which nothing can be added any more: one that was opened again would begin at nothing, and its
    /// sums would take the place of the old ones.
    fn tidy(&self, alive: &BTreeSet<&DeploymentId>) {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|id, account| {
            let held = Arc::strong_count(&account.counters) > 1 || alive.contains(id);
            !account.closed || held || account.sums() != account.reported
        });
    }

    /// Writes down what has changed. What cannot be written now is written with the next report.
    async fn report(&self, control: &Control) {
        let changed: Vec<_> = {
            let accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let sums = accounts.iter().map(|(id, account)| (id, account.sums(), account.reported));
            sums.filter(|(_, sums, reported)| sums != reported).map(|(id, sums, _)| (id.clone(), sums)).collect()
        };
        if changed.is_empty() {
            return;
        }
        if let Err(error) = control.record_usage(&changed).await {
            tracing::warn!(%error, "usage is not written down yet");
            return;
        }
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, sums) in changed {
            accounts.entry(id).or_default().reported = sums;
        }
    }
}

impl Account {
    fn sums(&self) -> UsageCounters {
        let counted = self.counters.read();
        UsageCounters {
            requests: counted.requests,
            // Told by instances as they end, each for itself.
            cpu_us: 0,
            memory_mib_ms: counted.memory_mib_ms,
            bytes_out: counted.bytes_out,
            asleep_ms: u64::try_from(self.asleep.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

async fn write_end(control: &Control, end: &End) {
    if let Err(error) = control.record_end(&end.instance, &end.deployment, end.cpu_us).await {
        tracing::warn!(%error, instance = %end.instance, "an instance's usage is not written down");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_model::OsEntropy;

    #[test]
    fn accounts_of_removed_deployments_go_once_they_are_settled() {
        let ledger = Ledger::default();
        let [kept, removed] = [(); 2].map(|()| DeploymentId::random(&OsEntropy));
        let [_, counters] = [&kept, &removed].map(|id| ledger.counters(id));
        let open = || {
            let mut ids: Vec<_> = ledger.0.lock().expect("nobody panics").keys().cloned().collect();
            ids.sort();
            ids
        };
        let mut both = vec![kept.clone(), removed.clone()];
        both.sort();
        ledger.close(&removed);
        ledger.tidy(&BTreeSet::new());
        assert_eq!(open(), both, "a request may still be counted");
        drop(counters);
        ledger.tidy(&BTreeSet::from([&removed]));
        assert_eq!(open(), both, "an instance is left");
        if let Some(account) = ledger.0.lock().expect("nobody panics").get_mut(&removed) {
            account.asleep = Duration::from_secs(1);
        }
        ledger.tidy(&BTreeSet::new());
        assert_eq!(open(), both, "something is not written down");
        if let Some(account) = ledger.0.lock().expect("nobody panics").get_mut(&removed) {
            account.reported = account.sums();
        }
        ledger.tidy(&BTreeSet::new());
        assert_eq!(open(), [kept]);
    }
}
