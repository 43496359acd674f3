//! Builds: who works on which, and what if that process is gone.
//!
//! ```text
//! QUEUED ──claim──► BUILDING (owner, lease, attempt + 1) ──publish──► READY
//!    ▲                  │    └──────────────────────────── fail ────► ERROR
//!    └── lease expired ─┘ once; the second time ────────────────────► ERROR
//! ```
//! The owner is a session of a server process, renewed by heartbeats. A process that is being replaced keeps its builds
//! and their leases: an upgrade is no attempt.

use crate::{
    Db, Failure, StoreError,
    db::Write,
    event::{self, NewEvent},
    publish,
    row::Columns,
};
use dockless_model::{BuildId, DeploymentId, DeploymentState, Timestamp};

/// Attempts before a build whose worker vanishes is given up.
const ATTEMPTS: i64 = 2;

/// A build as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRow {
    /// Which.
    pub id: BuildId,
    /// Where it is in its life.
    pub state: DeploymentState,
    /// Times a worker began.
    pub attempt: i64,
    /// Queued.
    pub created_at: Timestamp,
    /// Reached a final state.
    pub ended_at: Option<Timestamp>,
}

/// A build that this session now works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Which.
    pub build: BuildId,
    /// Of which deployment.
    pub deployment: DeploymentId,
    /// The session that holds it.
    pub owner: String,
    /// 1, or 2 after a lost worker.
    pub attempt: i64,
}

/// What became of builds whose worker vanished.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requeued {
    /// Waiting once more.
    pub queued: Vec<DeploymentId>,
    /// Given up.
    pub failed: Vec<DeploymentId>,
}

impl Db {
    /// Takes the build that has waited longest.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn claim_build(
        &self,
        owner: &str,
        node: &str,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Claimed>, StoreError> {
        if self.waiting_builds().await? == 0 {
            return Ok(None);
        }
        let mut write = self.write(now).await?;
        let row = sqlx::query(
            "UPDATE builds SET state = 'BUILDING', owner = $1, node_id = $2, lease_until = $3, attempt = attempt + 1 \
             WHERE id = (SELECT id FROM builds WHERE state = 'QUEUED' ORDER BY created_at, id LIMIT 1) \
             RETURNING id, deployment_id, attempt",
        )
        .bind(owner)
        .bind(node)
        .bind(lease_until.0)
        .fetch_optional(write.on())
        .await?;
        // Another process was quicker.
        let Some(row) = row else { return Ok(None) };
        let claimed = Claimed {
            build: row.noun("id")?,
            deployment: row.noun("deployment_id")?,
            owner: owner.to_owned(),
            attempt: row.number("attempt")?,
        };
        move_deployment(&mut write, &claimed.deployment, DeploymentState::Queued, DeploymentState::Building).await?;
        sqlx::query("UPDATE deployments SET building_at = $1 WHERE id = $2")
            .bind(now.0)
            .bind(claimed.deployment.as_str())
            .execute(write.on())
            .await?;
        write.commit().await?;
        Ok(Some(claimed))
    }

    /// Renews the lease; `false` if the build is no longer this session's.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn renew_lease(
        &self,
        claimed: &Claimed,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut write = self.write(now).await?;
        let done = sqlx::query(
            "UPDATE builds SET lease_until = $1 WHERE id = $2 AND owner = $3 AND attempt = $4 AND state = 'BUILDING'",
        )
        .bind(lease_until.0)
        .bind(claimed.build.as_str())
        .bind(&claimed.owner)
        .bind(claimed.attempt)
        .execute(write.on())
        .await?;
        write.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Builds whose lease has expired: back to the queue once, then ERROR.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn recover_builds(&self, now: Timestamp) -> Result<Requeued, StoreError> {
        const LOST: &str = "SELECT id, deployment_id, attempt FROM builds \
             WHERE state = 'BUILDING' AND (lease_until IS NULL OR lease_until < $1)";
        let mut done = Requeued::default();
        if sqlx::query(LOST).bind(now.0).fetch_optional(self.reader()).await?.is_none() {
            return Ok(done);
        }
        let mut write = self.write(now).await?;
        for row in sqlx::query(LOST).bind(now.0).fetch_all(write.on()).await? {
            let (build, deployment) = (row.noun::<BuildId>("id")?, row.noun::<DeploymentId>("deployment_id")?);
            if row.number("attempt")? < ATTEMPTS {
                sqlx::query("UPDATE builds SET state = 'QUEUED', owner = NULL, lease_until = NULL WHERE id = $1")
                    .bind(build.as_str())
                    .execute(write.on())
                    .await?;
                let (from, to) = (DeploymentState::Building, DeploymentState::Queued);
                move_deployment(&mut write, &deployment, from, to).await?;
                done.queued.push(deployment);
            } else {
                let failure = Failure {
                    code: "UNEXPECTED_ERROR".to_owned(),
                    message: "The build was interrupted twice; deploy again.".to_owned(),
                    step: None,
                };
                publish::end_in_error(&mut write, &build, &deployment, &failure).await?;
                done.failed.push(deployment);
            }
        }
        write.commit().await?;
        Ok(done)
    }

    /// Builds of a deployment.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn builds(&self, deployment: &DeploymentId) -> Result<Vec<BuildRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, state, attempt, created_at, ended_at FROM builds WHERE deployment_id = $1 ORDER BY id",
        )
        .bind(deployment.as_str())
        .fetch_all(self.reader())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(BuildRow {
                    id: row.noun("id")?,
                    state: row.label("state", DeploymentState::from_label)?,
                    attempt: row.number("attempt")?,
                    created_at: row.time("created_at")?,
                    ended_at: row.maybe_time("ended_at")?,
                })
            })
            .collect()
    }

    /// Builds that wait for a worker, of all accounts.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn waiting_builds(&self) -> Result<u64, StoreError> {
        self.count_builds("state = 'QUEUED'").await
    }

    /// Builds that wait or are worked on, of all accounts.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn open_builds(&self) -> Result<u64, StoreError> {
        self.count_builds("state = 'QUEUED' OR state = 'BUILDING'").await
    }

    async fn count_builds(&self, which: &'static str) -> Result<u64, StoreError> {
        sqlx::query(&format!("SELECT COUNT(*) AS builds FROM builds WHERE {which}"))
            .fetch_one(self.reader())
            .await?
            .size("builds")
    }
}

/// Moves a deployment from one state to the next, and says so in its log. One that is not in `from` stays.
pub(crate) async fn move_deployment(
    write: &mut Write,
    deployment: &DeploymentId,
    from: DeploymentState,
    to: DeploymentState,
) -> Result<bool, StoreError> {
    debug_assert!(from.can_become(to), "{from:?} → {to:?} is not in the drawing");
    let now = write.now;
    let done = sqlx::query("UPDATE deployments SET state = $1 WHERE id = $2 AND state = $3")
        .bind(to.label())
        .bind(deployment.as_str())
        .bind(from.label())
        .execute(write.on())
        .await?;
    if done.rows_affected() == 1 {
        event::append(write, deployment, &[NewEvent::state(to, now)]).await?;
    }
    Ok(done.rows_affected() == 1)
}
