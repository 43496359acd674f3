//! The build log.

use crate::{
    Db, StoreError,
    db::Write,
    row::{CHUNK, Columns, tuples},
};
use dockless_model::{DeploymentId, DeploymentState, Timestamp};

/// A line to be added to a build log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// When it was written.
    pub at: Timestamp,
    /// `command`, `stdout`, `stderr` or `event`.
    pub kind: &'static str,
    /// `error` or `warning`.
    pub level: Option<&'static str>,
    /// Without the line end.
    pub text: String,
    /// New state, on kind `event`.
    pub value: Option<String>,
}

impl NewEvent {
    /// A deployment changed its state.
    pub(crate) fn state(state: DeploymentState, at: Timestamp) -> Self {
        Self { at, kind: "event", level: None, text: String::new(), value: Some(state.label().to_owned()) }
    }
}

/// A line of a build log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Place in the log, counted from 1.
    pub serial: i64,
    /// When it was written.
    pub at: Timestamp,
    /// `command`, `stdout`, `stderr` or `event`.
    pub kind: String,
    /// `error` or `warning`.
    pub level: Option<String>,
    /// Without the line end.
    pub text: String,
    /// New state, on kind `event`.
    pub value: Option<String>,
}

impl Db {
    /// Adds lines to a build log, in order. A deployment that was removed has no log: nothing happens then.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn append_events(
        &self,
        deployment: &DeploymentId,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut write = self.write(now).await?;
        append(&mut write, deployment, events).await?;
        write.commit().await
    }

    /// Lines of a build log after a serial, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn events(&self, deployment: &DeploymentId, after: i64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT serial, at, kind, level, text, value FROM build_events \
             WHERE deployment_id = $1 AND serial > $2 ORDER BY serial LIMIT $3",
        )
        .bind(deployment.as_str())
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(EventRow {
                    serial: row.number("serial")?,
                    at: row.time("at")?,
                    kind: row.text("kind")?,
                    level: row.maybe_text("level")?,
                    text: row.text("text")?,
                    value: row.maybe_text("value")?,
                })
            })
            .collect()
    }
}

pub(crate) async fn append(
    write: &mut Write,
    deployment: &DeploymentId,
    events: &[NewEvent],
) -> Result<(), StoreError> {
    let last: Option<i64> = sqlx::query_scalar(
        "SELECT COALESCE((SELECT MAX(serial) FROM build_events WHERE deployment_id = deployments.id), 0) \
         FROM deployments WHERE id = $1",
    )
    .bind(deployment.as_str())
    .fetch_optional(write.on())
    .await?;
    let Some(mut serial) = last else { return Ok(()) };
    for chunk in events.chunks(CHUNK) {
        let sql = format!(
            "INSERT INTO build_events (deployment_id, serial, at, kind, level, text, value) VALUES {}",
            tuples(chunk.len(), 7)
        );
        let mut query = sqlx::query(&sql);
        for event in chunk {
            serial += 1;
            query = query
                .bind(deployment.as_str())
                .bind(serial)
                .bind(event.at.0)
                .bind(event.kind)
                .bind(event.level)
                .bind(&event.text)
                .bind(&event.value);
        }
        query.execute(write.on()).await?;
    }
    Ok(())
}
