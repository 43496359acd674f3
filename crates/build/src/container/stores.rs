//! Stores of layers, one for each project of an account: which are kept.

use crate::BuildError;
use crate::bench::internal;
use crate::builder::Builder;
use crate::cache::Shelf;
use dockless_model::Digest;
use dockless_sandbox::protocol::MAX_STORES;
use std::time::{Duration, SystemTime};

/// A store that nobody built with for this long goes.
const UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);

impl Builder {
    /// Notes how large a project's store is now, and has those removed that are too many, too large or too old. One
    /// whose size is unknown is taken for too large.
    ///
    /// # Errors
    /// The list cannot be kept, or the warden failed.
    pub(crate) async fn note_store(&self, store: &Digest, bytes: Option<u64>) -> Result<(), BuildError> {
        let builder = self.clone();
        let store = *store;
        let kept = tokio::task::spawn_blocking(move || {
            let cache = builder.cache();
            match bytes {
                Some(bytes) => cache.keep_json(Shelf::Stores, &store, &bytes)?,
                None => cache.remove(Shelf::Stores, &store),
            }
            let found = cache.list(Shelf::Stores)?;
            let (kept, gone) = choose(&found, builder.settings().image_cache_bytes, SystemTime::now());
            for store in gone {
                cache.remove(Shelf::Stores, &store);
            }
            std::io::Result::Ok(kept)
        });
        let step = "keep the layers";
        let kept = kept.await.map_err(internal(step))?.map_err(internal(step))?;
        self.node().keep_stores(kept).await.map_err(internal(step))
    }
}

/// Those used last stay while they fit.
fn choose(found: &[(Digest, SystemTime, u64)], max_bytes: u64, now: SystemTime) -> (Vec<Digest>, Vec<Digest>) {
    let (mut kept, mut gone, mut sum) = (Vec::new(), Vec::new(), 0_u64);
    for (store, used, bytes) in found {
        let old = now.duration_since(*used).is_ok_and(|age| age > UNUSED);
        if !old && sum.saturating_add(*bytes) <= max_bytes && kept.len() < MAX_STORES {
            sum = sum.saturating_add(*bytes);
            kept.push(*store);
        } else {
            gone.push(*store);
        }
    }
    (kept, gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_bounded_in_bytes_age_and_number() {
        let now = SystemTime::now();
        let store = |n: u64, age: Duration, bytes| (Digest::of(&n.to_be_bytes()), now - age, bytes);
        let of = |numbers: &[u64]| numbers.iter().map(|n| Digest::of(&n.to_be_bytes())).collect::<Vec<_>>();
        let day = Duration::from_secs(24 * 3600);
        let found = [store(1, day, 60), store(2, day, 50), store(3, day, 40), store(4, 15 * day, 0)];
        assert_eq!(choose(&found, 100, now), (of(&[1, 3]), of(&[2, 4])));
        assert_eq!(choose(&[store(1, day, 101)], 100, now), (vec![], of(&[1])));
        let many: Vec<_> = (0..300).map(|n| store(n, day, 0)).collect();
        assert_eq!(choose(&many, 1, now).0.len(), MAX_STORES);
    }
}
