//! The build log, as history and as a stream that ends with the build.

use crate::{Caller, Control, Error};
use dockless_model::DeploymentId;
use dockless_store::EventRow;
use dockless_wire::{Event, EventPayload};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::watch;

/// Records read from the database at once.
const CHUNK: u32 = 500;
/// Records of a history that is asked for without a limit, and at most: whole logs are shorter.
const MAX_HISTORY: usize = 20_000;

/// Which records. Empty is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Only of these types.
    pub kinds: Vec<String>,
    /// Only containing this text.
    pub text: Option<String>,
    /// Only at or after this time, in epoch milliseconds.
    pub since: Option<i64>,
    /// Only at or before this time, in epoch milliseconds.
    pub until: Option<i64>,
    /// Newest first.
    pub backward: bool,
    /// At most so many: the first, or with `backward` the last.
    pub limit: Option<usize>,
}

/// Step of a followed log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// A record.
    Event(Box<Event>),
    /// Nothing for a while.
    KeepAlive,
}

impl EventQuery {
    fn matches(&self, row: &EventRow) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&row.kind))
            && self.text.as_ref().is_none_or(|text| row.text.contains(text.as_str()))
            && self.since.is_none_or(|since| row.at.0 >= since)
            && self.until.is_none_or(|until| row.at.0 <= until)
    }
}

fn event(deployment: &DeploymentId, row: EventRow) -> Event {
    let (id, date) = (row.serial.to_string(), row.at);
    Event {
        id: id.clone(),
        serial: id.clone(),
        created: date,
        date,
        event: row.value.is_some().then(|| "state".to_owned()),
        kind: row.kind,
        level: row.level,
        payload: EventPayload { id, text: row.text.clone(), date, deployment_id: deployment.clone(), value: row.value },
        text: row.text,
    }
}

impl Control {
    /// The build log so far.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database fails.
    pub async fn events(&self, caller: &Caller, name: &str, query: &EventQuery) -> Result<Vec<Event>, Error> {
        let deployment = self.find(caller, name).await?;
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let rows = self.db().events(&deployment.id, after, CHUNK).await?;
            let Some(last) = rows.last() else { break };
            after = last.serial;
            found.extend(rows.into_iter().filter(|row| query.matches(row)).map(|row| event(&deployment.id, row)));
        }
        if query.backward {
            found.reverse();
        }
        found.truncate(query.limit.unwrap_or(MAX_HISTORY).min(MAX_HISTORY));
        Ok(found)
    }

    /// The build log from its beginning, then what comes, until the deployment is in a final state or removed and all
    /// was told. `limit` and `backward` mean nothing here. Dropping the stream ends the watch.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database fails; items fail if it fails later.
    pub async fn follow_events(
        &self,
        caller: &Caller,
        name: &str,
        query: EventQuery,
    ) -> Result<BoxStream<'static, Result<Followed, Error>>, Error> {
        let deployment = self.find(caller, name).await?.id;
        let follower = Follower {
            control: self.clone(),
            caller: caller.clone(),
            revision: self.feed().revision(),
            deployment,
            query,
            after: 0,
            ended: false,
        };
        let batches = stream::try_unfold(follower, |mut follower| async {
            Ok(follower.next().await?.map(|batch| (batch, follower)))
        });
        let items = batches.map(|batch: Result<Vec<Followed>, Error>| match batch {
            Ok(batch) => stream::iter(batch.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        Ok(items.flatten().boxed())
    }
}

struct Follower {
    control: Control,
    caller: Caller,
    revision: watch::Receiver<i64>,
    deployment: DeploymentId,
    query: EventQuery,
    after: i64,
    ended: bool,
}

impl Follower {
    /// The next records, a keep-alive, or the end.
    async fn next(&mut self) -> Result<Option<Vec<Followed>>, Error> {
        while !self.ended {
            self.revision.mark_unchanged();
            // The state is read before the log: what is final then has its last record in what is read after.
            let state =
                self.control.db().deployment(self.caller.id(), &self.deployment).await?.map(|found| found.state);
            let rows = self.control.db().events(&self.deployment, self.after, CHUNK).await?;
            if let Some(last) = rows.last() {
                self.after = last.serial;
                let wanted = rows.into_iter().filter(|row| self.query.matches(row));
                let batch: Vec<_> = wanted.map(|row| Followed::Event(Box::new(event(&self.deployment, row)))).collect();
                if !batch.is_empty() {
                    return Ok(Some(batch));
                }
                continue;
            }
            self.ended = state.is_none_or(|state| state.is_final());
            if self.ended {
                break;
            }
            let quiet = self.control.config().keep_alive;
            // The sender lives as long as `control`, which this holds.
            if tokio::time::timeout(quiet, self.revision.changed()).await.is_err() {
                return Ok(Some(vec![Followed::KeepAlive]));
            }
        }
        Ok(None)
    }
}
