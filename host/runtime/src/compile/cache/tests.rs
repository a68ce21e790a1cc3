use std::fs::{File, read_dir};
use std::time::Duration;

use super::*;
use crate::engine::Model;

/// Larger than what an empty interface and a seal take, so that only code counts.
const CODE_BYTES: usize = 100_000;
/// Three entries, but not four, and a sweep leaves three.
const BYTES_MAX: u64 = 35 * CODE_BYTES as u64 / 10;

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self, bytes_max: u64) -> Cache {
        Cache::open(self.0.path(), bytes_max, &[Model::Sequential.compiling().unwrap()]).unwrap()
    }
}

fn digest(number: u8) -> Digest {
    Digest::of(&[number])
}

async fn put(cache: &Cache, number: u8) {
    let mut code = cache.reserve().unwrap();
    code.write_all(&[number; CODE_BYTES]).unwrap();
    cache
        .put(
            digest(number),
            &Derived {
                interface: aop_core::Interface::default(),
                model: Model::Sequential,
                parts: 1,
            },
            code,
        )
        .await
        .unwrap();
}

/// Makes a file look as if nobody touched it for a while.
fn age(path: &Path, age: Duration) {
    File::open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

fn age_entry(cache: &Cache, number: u8, hours: u64) {
    let age_of = Duration::from_secs(hours * 60 * 60);
    age(&cache.code(digest(number)), age_of);
    age(&cache.interface(digest(number)), age_of);
}

#[tokio::test]
async fn what_was_unused_for_longest_goes_first() {
    let directory = Directory::new();
    let cache = directory.open(BYTES_MAX);
    for number in 1..=3 {
        put(&cache, number).await;
        age_entry(&cache, number, 10 - u64::from(number));
    }
    // The oldest is used, so the second oldest is what goes.
    assert!(cache.get(digest(1)).await.is_some());
    put(&cache, 4).await;
    assert!(cache.get(digest(2)).await.is_none());
    for number in [1, 3, 4] {
        assert!(cache.get(digest(number)).await.is_some(), "{number}");
    }
    assert_eq!(read_dir(&cache.directory).unwrap().count(), 6, "nothing half-gone");
}

#[tokio::test]
async fn a_smaller_bound_counts_from_the_next_start_and_for_other_engine_versions() {
    let directory = Directory::new();
    let cache = directory.open(u64::MAX);
    for number in 1..=2 {
        put(&cache, number).await;
    }
    age_entry(&cache, 2, 1);
    let other = directory.0.path().join("0123456789abcdef");
    std::fs::create_dir(&other).unwrap();
    let old = other.join(digest(3).hex()).with_extension("cwasm");
    std::fs::write(&old, [0; CODE_BYTES]).unwrap();
    age(&old, Duration::from_secs(24 * 60 * 60));
    let cache = directory.open(15 * CODE_BYTES as u64 / 10);
    assert!(!old.exists());
    assert!(cache.get(digest(2)).await.is_none());
    assert!(cache.get(digest(1)).await.is_some());
}

#[tokio::test]
async fn an_entry_beyond_the_bound_still_serves_whoever_compiled_it() {
    let directory = Directory::new();
    let cache = directory.open(1);
    put(&cache, 1).await;
    put(&cache, 2).await;
    assert!(cache.get(digest(1)).await.is_none());
    assert!(cache.get(digest(2)).await.is_some());
}

#[tokio::test]
async fn what_a_crash_left_is_swept_and_what_others_work_with_stays() {
    let directory = Directory::new();
    let cache = directory.open(u64::MAX);
    put(&cache, 1).await;
    age_entry(&cache, 1, 1);
    let (locked, fresh) = (cache.reserve().unwrap(), cache.directory.join("sealing-fresh"));
    age(locked.path(), Duration::from_secs(60 * 60));
    std::fs::write(&fresh, "").unwrap();
    let left_over = [
        cache.directory.join("compiling-a"),
        cache.directory.join("sealing-b"),
        cache.root.join("key-c"),
        cache.root.join("preparing-d"),
    ];
    for path in &left_over {
        std::fs::write(path, "left over").unwrap();
        age(path, sweep::ABANDONED_AFTER + Duration::from_secs(1));
    }
    let cache = directory.open(u64::MAX);
    assert!(left_over.iter().all(|path| !path.exists()));
    assert!(locked.path().exists() && fresh.exists());
    assert!(cache.root.join("seal.key").exists() && cache.get(digest(1)).await.is_some());
}

#[tokio::test]
async fn what_our_key_did_not_seal_is_not_mapped() {
    let directory = Directory::new();
    let cache = directory.open(u64::MAX);
    put(&cache, 1).await;
    let elsewhere = Directory::new();
    let foreign = elsewhere.open(u64::MAX);
    put(&foreign, 2).await;
    for path in [Cache::code, Cache::interface] {
        std::fs::copy(path(&foreign, digest(2)), path(&cache, digest(2))).unwrap();
        // A true seal of other contents is none either.
        std::fs::copy(path(&cache, digest(1)), path(&cache, digest(3))).unwrap();
    }
    assert!(cache.get(digest(2)).await.is_none());
    assert!(cache.get(digest(3)).await.is_none());
    assert!(cache.get(digest(1)).await.is_some());
}
