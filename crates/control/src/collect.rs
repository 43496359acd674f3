//! Collection of what nothing names any more.
//!
//! Safe against whoever stores at the same time, in any process: uploads that are pinned, young or named by a
//! deployment stay; of the rest the blob goes only if it was last stored long ago, and storing it again makes it young.

use crate::{Control, Error};
use dockless_model::chain;

/// How long changes of hosts are kept for processes that sleep.
const CHANGES: std::time::Duration = std::time::Duration::from_secs(3600);

impl Control {
    pub(crate) async fn collect(&self) -> Result<(), Error> {
        let (now, age) = (self.now(), self.config().collect_after);
        let before = |age: std::time::Duration| {
            dockless_model::Timestamp(now.0.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
        };
        self.fold_usage().await?;
        self.db().prune_host_changes(before(CHANGES), now).await?;
        self.blobs().remove_temporaries().await?;
        let uploads = self.db().forget_files(before(age), now).await?;
        let (mut blobs, mut bytes) = (0_u64, 0_u64);
        for shard in 0..=u8::MAX {
            let old: Vec<_> = self.blobs().list(shard).await?.into_iter().filter(|found| found.age >= age).collect();
            let digests: Vec<_> = old.iter().map(|found| found.digest).collect();
            for digest in self.db().unnamed_blobs(&digests).await? {
                if self.blobs().remove_older(&digest, age).await? {
                    blobs += 1;
                    bytes += old.iter().find(|found| found.digest == digest).map_or(0, |found| found.size);
                }
            }
        }
        if uploads + blobs > 0 {
            tracing::info!(uploads, blobs, bytes, "unused uploads collected");
        }
        self.collect_trees(age).await
    }

    /// Trees of builds that ended with their process: nobody was left to say that nothing will name them. One that is
    /// wanted again at this very moment is made again when it is missed.
    async fn collect_trees(&self, age: std::time::Duration) -> Result<(), Error> {
        let stored = match self.platform().stored_trees(age).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(error = chain(&error), "unused trees cannot be looked for");
                return Ok(());
            }
        };
        let node = &self.config().node;
        let unnamed = self.db().unnamed_trees(&stored, node).await?;
        let unused: std::collections::BTreeSet<_> = unnamed.into_iter().filter(|tree| !self.is_placing(tree)).collect();
        if !unused.is_empty() {
            tracing::info!(trees = unused.len(), "unused trees found");
            self.db().doom_trees(&unused, node, self.now()).await?;
            self.removed().notify_one();
        }
        Ok(())
    }
}
