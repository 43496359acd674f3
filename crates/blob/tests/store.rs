//! The blob store on a real folder.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use dockless_blob::{BlobError, BlobStore};
use dockless_model::Digest;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

fn store() -> (TempDir, BlobStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobStore::open(folder.path()).unwrap();
    (folder, store)
}

fn temporaries(root: &Path) -> usize {
    fs::read_dir(root.join("tmp")).unwrap().count()
}

fn make_old(path: &Path, age: Duration) {
    let file = fs::File::open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[tokio::test]
async fn a_content_comes_back_under_both_of_its_names() {
    let (folder, store) = store();
    let stored = store.put(b"hello").await.unwrap();
    assert_eq!(stored.digest, Digest::of(b"hello"));
    assert_eq!(stored.wire.to_string(), "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d");
    assert_eq!(stored.size, 5);
    assert_eq!(store.read(&stored.digest).await.unwrap(), b"hello");
    assert!(store.contains(&stored.digest).await);
    let name = stored.digest.to_string();
    let meta = fs::metadata(folder.path().join(&name[..2]).join(&name[2..])).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o444);
    assert_eq!(temporaries(folder.path()), 0);
}

#[tokio::test]
async fn contents_larger_than_the_buffer_are_hashed_whole() {
    let (_folder, store) = store();
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let mut writer = store.writer().await.unwrap();
    for chunk in bytes.chunks(70_001) {
        writer.write(chunk).await.unwrap();
    }
    let stored = writer.finish().await.unwrap();
    assert_eq!((stored.digest, stored.size), (Digest::of(&bytes), 1_000_003));
    assert_eq!(store.read(&stored.digest).await.unwrap(), bytes);
}

#[tokio::test]
async fn an_abandoned_write_leaves_nothing() {
    let (folder, store) = store();
    let mut writer = store.writer().await.unwrap();
    writer.write(&vec![1; 600_000]).await.unwrap();
    assert_eq!(temporaries(folder.path()), 1);
    drop(writer);
    assert_eq!(temporaries(folder.path()), 0);
    assert!(!store.contains(&Digest::of(&vec![1; 600_000])).await);
}

#[tokio::test]
async fn a_content_that_is_not_what_was_announced_leaves_nothing() {
    let (folder, store) = store();
    let announced = store.put(b"announced").await.unwrap().wire;
    let mut writer = store.writer().await.unwrap();
    writer.write(b"other").await.unwrap();
    assert!(matches!(writer.finish_as(announced).await, Err(BlobError::Mismatch { found }) if found != announced));
    assert!(!store.contains(&Digest::of(b"other")).await);
    assert_eq!(temporaries(folder.path()), 0);
    let mut writer = store.writer().await.unwrap();
    writer.write(b"announced").await.unwrap();
    assert_eq!(writer.finish_as(announced).await.unwrap().wire, announced);
}

#[tokio::test]
async fn many_writers_of_one_content_all_succeed() {
    let (folder, store) = store();
    let writers: Vec<_> = (0..16)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.put(b"same").await })
        })
        .collect();
    for writer in writers {
        assert_eq!(writer.await.unwrap().unwrap().digest, Digest::of(b"same"));
    }
    assert_eq!(store.read(&Digest::of(b"same")).await.unwrap(), b"same");
    assert_eq!(temporaries(folder.path()), 0);
}

#[tokio::test]
async fn opening_removes_what_dead_writers_left_and_spares_living_ones() {
    let (folder, store) = store();
    let tmp = folder.path().join("tmp");
    let dead = tmp.join("put-dead");
    fs::write(&dead, b"half").unwrap();
    make_old(&dead, Duration::from_secs(3600));
    let mut writer = store.writer().await.unwrap();
    writer.write(b"living").await.unwrap();
    for entry in fs::read_dir(&tmp).unwrap() {
        make_old(&entry.unwrap().path(), Duration::from_secs(3600));
    }
    let second = BlobStore::open(folder.path()).unwrap();
    assert!(!dead.exists());
    let stored = writer.finish().await.unwrap();
    assert!(second.contains(&stored.digest).await);
}

#[tokio::test]
async fn a_missing_content_is_told_from_a_failure() {
    let (_folder, store) = store();
    let nothing = Digest::of(b"nothing");
    assert!(matches!(store.read(&nothing).await, Err(BlobError::Missing(digest)) if digest == nothing));
    assert!(matches!(store.open_file(&nothing), Err(BlobError::Missing(_))));
    store.remove(&nothing).await.unwrap();
}

#[tokio::test]
async fn only_contents_old_enough_are_removed_and_storing_again_makes_them_young() {
    let (folder, store) = store();
    let digest = store.put(b"x").await.unwrap().digest;
    let hour = Duration::from_secs(3600);
    assert!(!store.remove_older(&digest, hour).await.unwrap());
    let name = digest.to_string();
    let path = folder.path().join(&name[..2]).join(&name[2..]);
    make_old(&path, hour * 2);
    let listed = store.list(digest.as_bytes()[0]).await.unwrap();
    assert!(listed.len() == 1 && listed[0].age >= hour && listed[0].size == 1, "{listed:?}");
    store.put(b"x").await.unwrap();
    assert!(!store.remove_older(&digest, hour).await.unwrap());
    make_old(&path, hour * 2);
    assert!(store.remove_older(&digest, hour).await.unwrap());
    assert!(!store.contains(&digest).await);
}

#[tokio::test]
async fn free_space_is_told() {
    let (_folder, store) = store();
    assert!(store.free_bytes().await.unwrap() > 0);
}

#[tokio::test]
async fn a_batch_stores_what_it_took_once_it_is_finished_and_makes_old_contents_young() {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobStore::open(folder.path()).unwrap();
    let old = store.put(b"old").await.unwrap().digest;
    let path = folder.path().join(&old.to_string()[..2]).join(&old.to_string()[2..]);
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(10_000);
    std::fs::File::open(&path).unwrap().set_modified(long_ago).unwrap();

    let mut batch = store.batch();
    let mut digests = Vec::new();
    for index in 0..600 {
        let text = format!("content {index}");
        digests.push((batch.add(&mut text.as_bytes(), text.len() as u64).unwrap(), text));
    }
    assert_eq!(batch.add(&mut &b"old"[..], 3).unwrap(), old);
    assert!(batch.add(&mut &b"short"[..], 6).is_err());
    batch.finish().unwrap();
    for (digest, text) in digests {
        assert_eq!(store.read(&digest).await.unwrap(), text.as_bytes());
    }
    assert!(!store.remove_older(&old, std::time::Duration::from_secs(60)).await.unwrap(), "it was stored just now");

    std::fs::File::open(&path).unwrap().set_modified(long_ago).unwrap();
    assert!(store.refresh_blocking(&old).unwrap());
    assert!(!store.remove_older(&old, std::time::Duration::from_secs(60)).await.unwrap());
    assert!(!store.refresh_blocking(&dockless_model::Digest::of(b"never stored")).unwrap());
    assert_eq!(std::fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}
