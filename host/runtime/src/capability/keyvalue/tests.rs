use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use aop_core::{BoxFuture, TenantName};

use super::*;

/// A bucket of numbered keys, whose values somebody else changes before each of so many swaps.
struct Numbered {
    keys: Mutex<BTreeSet<String>>,
    value: Vec<u8>,
    conflicts: AtomicU32,
    pages: AtomicU32,
}

impl Numbered {
    fn new(count: u32, value: &[u8], conflicts: u32) -> Arc<Self> {
        Arc::new(Self {
            keys: Mutex::new((0..count).map(|n| format!("{n:05}")).collect()),
            value: value.to_owned(),
            conflicts: conflicts.into(),
            pages: 0.into(),
        })
    }

    fn shared(self: &Arc<Self>) -> Shared {
        let bucket =
            Bucket { tenant: TenantName::new("default").unwrap(), scope: BucketScope::Tenant };
        let quota = BucketQuota {
            keys_max: 1,
            bytes_max: 1,
            agent_bytes_max: None,
            tenant_bytes_max: None,
        };
        Shared { buckets: self.clone(), bucket, quota, payer: Payer::nobody() }
    }
}

impl Buckets for Numbered {
    fn get<'a>(
        &'a self,
        _: &'a Bucket,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, BucketError>> {
        Box::pin(async { Ok(Some(self.value.clone())) })
    }

    fn exists<'a>(
        &'a self,
        _: &'a Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<bool, BucketError>> {
        Box::pin(async move { Ok(self.keys.lock().unwrap().contains(key)) })
    }

    fn set<'a>(
        &'a self,
        _: &'a Bucket,
        _: BucketQuota,
        _: &'a [(String, Vec<u8>)],
    ) -> BoxFuture<'a, Result<(), BucketError>> {
        Box::pin(async { Ok(()) })
    }

    fn delete<'a>(
        &'a self,
        _: &'a Bucket,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<(), BucketError>> {
        Box::pin(async {
            self.keys.lock().unwrap().retain(|key| !keys.contains(key));
            Ok(())
        })
    }

    fn swap<'a>(
        &'a self,
        _: &'a Bucket,
        _: BucketQuota,
        _: &'a str,
        _: Option<&'a [u8]>,
        _: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), BucketError>> {
        let conflicts = &self.conflicts;
        let left = conflicts.try_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        Box::pin(async move { if left.is_ok() { Err(BucketError::Conflict) } else { Ok(()) } })
    }

    fn keys<'a>(
        &'a self,
        _: &'a Bucket,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<KeyPage, BucketError>> {
        self.pages.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let keys = self.keys.lock().unwrap();
            let mut rest = keys.iter().filter(|key| after.is_none_or(|after| key.as_str() > after));
            let page: Vec<_> = rest.by_ref().take(limit as usize).cloned().collect();
            let next = rest.next().and(page.last().cloned());
            Ok(KeyPage { keys: page, next })
        })
    }
}

/// A handle that listed nothing yet.
fn opened() -> Opened {
    Opened { whose: Whose::Tenant, listed: None }
}

#[tokio::test]
async fn whether_a_key_exists_is_asked_without_its_value() {
    // Whatever is got there has a value.
    let shared = Numbered::new(1, b"value", 0).shared();
    assert!(shared.exists("00000").await.unwrap());
    assert!(!shared.exists("00001").await.unwrap());
    assert!(matches!(shared.exists("").await, Err(Refusal::Other(_))));
}

#[tokio::test]
async fn pages_by_count_cover_every_key_once() {
    let all = Numbered::new(2500, b"", 0);
    let (shared, mut bucket) = (all.shared(), opened());
    let mut seen = Vec::new();
    let mut cursor = Some(0);
    while let Some(count) = cursor {
        let (keys, next) = bucket.list(&shared, count).await.unwrap();
        assert_eq!(next, (next.is_some()).then_some(count + keys.len() as u64));
        seen.extend(keys);
        cursor = next;
    }
    assert_eq!(seen.len(), 2500);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 2500);
    assert_eq!(all.pages.load(Ordering::Relaxed), 3, "one page costs one question");

    // A handle that did not see the page before finds its place, wherever that is.
    for (count, left) in [(1, 999), (1000, 1000), (1500, 500), (2000, 500), (2499, 1), (2500, 0)] {
        let (keys, _) = opened().list(&shared, count).await.unwrap();
        assert_eq!(keys.len(), left, "{count}");
    }
    assert_eq!(opened().list(&shared, u64::MAX).await.unwrap(), (vec![], None));
    let empty = Numbered::new(0, b"", 0).shared();
    assert_eq!(opened().list(&empty, 0).await.unwrap(), (vec![], None));
}

#[tokio::test]
async fn pages_go_on_where_they_ended_when_keys_are_removed_meanwhile() {
    let all = Numbered::new(1500, b"", 0);
    let (shared, mut bucket) = (all.shared(), opened());
    let (keys, next) = bucket.list(&shared, 0).await.unwrap();
    assert_eq!((keys.len(), next), (1000, Some(1000)));
    shared.delete(&keys).await.unwrap();
    let (keys, next) = bucket.list(&shared, 1000).await.unwrap();
    assert_eq!((keys.len(), next), (500, None), "none is skipped");
}

#[tokio::test]
async fn a_sum_is_tried_again_but_not_for_ever() {
    let bucket = |value: &[u8], conflicts| Numbered::new(0, value, conflicts).shared();
    assert_eq!(bucket(b"5", 3).increment("k", 2_u64).await.unwrap(), 7);
    assert_eq!(bucket(b"5", 3).increment("k", -7_i64).await.unwrap(), -2);
    for (value, delta) in [("-1", 1_u64), ("x", 1), ("", 1), ("18446744073709551615", 1)] {
        assert!(bucket(value.as_bytes(), 0).increment("k", delta).await.is_err(), "{value}");
    }
    let said = bucket(b"5", INCREMENT_TRIES_MAX).increment("k", 1_u64).await.unwrap_err();
    assert!(matches!(said, Refusal::Other(why) if why.starts_with("too many others")));
}

#[tokio::test]
async fn batches_are_bounded() {
    let bucket = Numbered::new(0, &[0; 1 << 20], 0).shared();
    let keys = |count: usize| vec!["k".to_owned(); count];
    assert_eq!(bucket.get_many(keys(16)).await.unwrap().len(), 16);
    assert!(bucket.get_many(keys(17)).await.is_err(), "more than 16 MiB");
    assert!(bucket.get_many(keys(1001)).await.is_err());
    assert!(bucket.delete(&keys(1001)).await.is_err());
    assert!(bucket.set(&vec![("k".to_owned(), vec![]); 1001]).await.is_err());
    assert!(bucket.set(&[("k".to_owned(), vec![0; (1 << 20) + 1])]).await.is_err());
    assert!(bucket.set(&[("k".to_owned(), vec![0; 1 << 20])]).await.is_ok());
    for key in ["", &"k".repeat(1025)] {
        assert!(bucket.get(key).await.is_err());
    }
    assert!(bucket.get(&"k".repeat(1024)).await.is_ok());
}
