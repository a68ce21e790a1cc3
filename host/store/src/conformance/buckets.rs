//! The suite for [`Buckets`].

use std::sync::Arc;

use aop_core::bucket::{
    Bucket, BucketError, BucketQuota, BucketScope, Buckets, KeyPage, SessionId,
};
use aop_core::{AgentId, Subject, TenantName};
use uuid::Uuid;

const ROOMY: BucketQuota = BucketQuota {
    keys_max: 1_000,
    bytes_max: 16 << 20,
    agent_bytes_max: None,
    tenant_bytes_max: None,
};

/// Runs the whole suite on empty buckets. `reopen` closes nothing: everything it returned before has been
/// dropped by then.
///
/// # Panics
/// When the buckets do something else than [`Buckets`] documents.
pub async fn buckets<B: Buckets + 'static>(mut reopen: impl AsyncFnMut() -> B) {
    let buckets = reopen().await;
    reads_what_was_written(&buckets).await;
    buckets_are_apart(&buckets).await;
    writes_all_or_none(&buckets).await;
    keeps_quotas(&buckets).await;
    swaps(&buckets).await;
    pages(&buckets).await;
    let kept = session(AgentId(Uuid::now_v7()), "kept");
    buckets.set(&kept, ROOMY, &[entry("key", "value")]).await.unwrap();
    drop(buckets);
    let buckets = Arc::new(reopen().await);
    assert_eq!(
        get(&*buckets, &kept, "key").await.as_deref(),
        Some("value"),
        "a restart loses nothing"
    );
    counts_under_contention(&buckets).await;
}

/// The bucket of a conversation.
#[must_use]
pub fn session(agent: AgentId, id: &str) -> Bucket {
    let scope = BucketScope::Session(agent, Subject::Local, SessionId::new(id).unwrap());
    Bucket { tenant: TenantName::default_tenant(), scope }
}

fn of_agent() -> Bucket {
    let scope = BucketScope::Agent(AgentId(Uuid::now_v7()));
    Bucket { tenant: TenantName::default_tenant(), scope }
}

fn entry(key: &str, value: &str) -> (String, Vec<u8>) {
    (key.to_owned(), value.as_bytes().to_vec())
}

async fn get(buckets: &dyn Buckets, bucket: &Bucket, key: &str) -> Option<String> {
    let value = buckets.get(bucket, key).await.unwrap()?;
    Some(String::from_utf8(value).unwrap())
}

async fn keys(buckets: &dyn Buckets, bucket: &Bucket) -> Vec<String> {
    buckets.keys(bucket, None, 1000).await.unwrap().keys
}

async fn reads_what_was_written(buckets: &dyn Buckets) {
    let bucket = of_agent();
    assert_eq!(get(buckets, &bucket, "a").await, None);
    assert_eq!(buckets.keys(&bucket, None, 10).await.unwrap(), KeyPage::default());
    buckets.set(&bucket, ROOMY, &[entry("a", "1"), entry("b", ""), entry("", "k")]).await.unwrap();
    buckets.set(&bucket, ROOMY, &[entry("a", "2")]).await.unwrap();
    buckets.set(&bucket, ROOMY, &[]).await.unwrap();
    for (key, value) in [("a", Some("2")), ("b", Some("")), ("", Some("k")), ("c", None)] {
        assert_eq!(get(buckets, &bucket, key).await.as_deref(), value, "{key}");
        assert_eq!(buckets.exists(&bucket, key).await.unwrap(), value.is_some(), "{key}");
    }
    buckets.delete(&bucket, &["a".to_owned(), "c".to_owned()]).await.unwrap();
    assert_eq!(get(buckets, &bucket, "a").await, None);
    buckets.delete(&bucket, &["b".to_owned(), String::new()]).await.unwrap();
    buckets.delete(&bucket, &["b".to_owned()]).await.unwrap();
    assert!(keys(buckets, &bucket).await.is_empty());
    let odd = "José 🦀 \0 %_'";
    let bytes: Vec<u8> = (0..=255).collect();
    buckets.set(&bucket, ROOMY, &[(odd.to_owned(), bytes.clone())]).await.unwrap();
    assert_eq!(buckets.get(&bucket, odd).await.unwrap(), Some(bytes));
}

async fn buckets_are_apart(buckets: &dyn Buckets) {
    let (agent, other) = (AgentId(Uuid::now_v7()), AgentId(Uuid::now_v7()));
    let default = TenantName::default_tenant();
    let elsewhere = TenantName::new("elsewhere").unwrap();
    let somebody = Subject::Key { id: "one".into() };
    let scopes = [
        BucketScope::Tenant,
        BucketScope::Agent(agent),
        BucketScope::Agent(other),
        BucketScope::Session(agent, Subject::Local, SessionId::new("one").unwrap()),
        BucketScope::Session(agent, Subject::Local, SessionId::new("two").unwrap()),
        BucketScope::Session(other, Subject::Local, SessionId::new("one").unwrap()),
        BucketScope::Session(agent, somebody, SessionId::new("one").unwrap()),
    ];
    let all: Vec<Bucket> = [default, elsewhere]
        .into_iter()
        .flat_map(|tenant| scopes.clone().map(|scope| Bucket { tenant: tenant.clone(), scope }))
        .collect();
    for (index, bucket) in all.iter().enumerate() {
        buckets.set(bucket, ROOMY, &[entry("key", &index.to_string())]).await.unwrap();
    }
    for (index, bucket) in all.iter().enumerate() {
        assert_eq!(get(buckets, bucket, "key").await, Some(index.to_string()), "{bucket:?}");
    }
    buckets.delete(&all[3], &["key".to_owned()]).await.unwrap();
    assert_eq!(get(buckets, &all[4], "key").await.as_deref(), Some("4"));
    assert_eq!(get(buckets, &all[10], "key").await.as_deref(), Some("10"));
}

async fn writes_all_or_none(buckets: &dyn Buckets) {
    let bucket = of_agent();
    buckets.set(&bucket, ROOMY, &[entry("a", "old")]).await.unwrap();
    let tight = BucketQuota { keys_max: 2, ..ROOMY };
    let refused =
        buckets.set(&bucket, tight, &[entry("a", "new"), entry("b", "2"), entry("c", "3")]).await;
    assert!(matches!(refused, Err(BucketError::Quota(_))), "{refused:?}");
    assert_eq!(get(buckets, &bucket, "a").await.as_deref(), Some("old"));
    assert_eq!(keys(buckets, &bucket).await, ["a"]);
}

async fn keeps_quotas(buckets: &dyn Buckets) {
    let bucket = of_agent();
    let tight =
        BucketQuota { keys_max: 3, bytes_max: 20, agent_bytes_max: None, tenant_bytes_max: None };
    buckets.set(&bucket, tight, &[entry("a", "123456789"), entry("b", "123456789")]).await.unwrap();
    for (what, entries) in [
        ("bytes", vec![entry("c", "")]),
        ("bytes", vec![entry("a", "1234567890")]),
        ("bytes", vec![entry("z", &"x".repeat(100))]),
    ] {
        let message = buckets.set(&bucket, tight, &entries).await.unwrap_err().to_string();
        assert!(message.contains(what) && message.contains("20"), "{message}");
    }
    buckets.set(&bucket, tight, &[entry("a", ""), entry("c", "")]).await.unwrap();
    let message = buckets.set(&bucket, tight, &[entry("d", "")]).await.unwrap_err().to_string();
    assert!(message.contains("4 keys"), "{message}");
    buckets.delete(&bucket, &["c".to_owned()]).await.unwrap();
    buckets.swap(&bucket, tight, "d", None, Vec::new()).await.unwrap();
    let full = buckets.swap(&bucket, tight, "e", None, Vec::new()).await;
    assert!(matches!(full, Err(BucketError::Quota(_))), "{full:?}");
    let long_key = entry(&"k".repeat(1025), "");
    let long_value = ("k".to_owned(), vec![0; (1 << 20) + 1]);
    for entry in [long_key, long_value] {
        let refused = buckets.set(&bucket, ROOMY, &[entry]).await;
        assert!(matches!(refused, Err(BucketError::Quota(_))));
    }
    let mebibyte = |key: u8| (key.to_string(), vec![0; 1 << 20]);
    let batch: Vec<_> = (0..4).map(mebibyte).collect();
    let message = buckets.set(&of_agent(), ROOMY, &batch).await.unwrap_err().to_string();
    assert!(message.contains("4 MiB"), "{message}");
    let fits = [(("k".repeat(1024)), vec![0; 1 << 20])];
    buckets.set(&of_agent(), ROOMY, &fits).await.unwrap();
}

async fn swaps(buckets: &dyn Buckets) {
    let bucket = of_agent();
    let swap = async |expected: Option<&[u8]>, value: &str| {
        buckets.swap(&bucket, ROOMY, "key", expected, value.as_bytes().to_vec()).await
    };
    assert!(matches!(swap(Some(b""), "x").await, Err(BucketError::Conflict)));
    assert!(keys(buckets, &bucket).await.is_empty());
    swap(None, "one").await.unwrap();
    assert!(matches!(swap(None, "x").await, Err(BucketError::Conflict)));
    assert!(matches!(swap(Some(b"two"), "x").await, Err(BucketError::Conflict)));
    swap(Some(b"one"), "two").await.unwrap();
    assert_eq!(get(buckets, &bucket, "key").await.as_deref(), Some("two"));
}

async fn pages(buckets: &dyn Buckets) {
    let bucket = of_agent();
    let mut expected: Vec<String> = (0..25).map(|index| format!("key-{index:02}")).collect();
    expected.extend(["Z", "é", ""].map(str::to_owned));
    let entries: Vec<_> = expected.iter().rev().map(|key| entry(key, "")).collect();
    expected.sort();
    buckets.set(&bucket, ROOMY, &entries).await.unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = buckets.keys(&bucket, after.as_deref(), 7).await.unwrap();
        assert!(page.keys.len() <= 7);
        found.extend(page.keys);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, expected, "keys come in order, each once");
    let exactly = buckets.keys(&bucket, None, 28).await.unwrap();
    assert_eq!((exactly.keys.len(), exactly.next), (28, None));
}

async fn counts_under_contention<B: Buckets + 'static>(buckets: &Arc<B>) {
    let bucket = of_agent();
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (buckets, bucket) = (Arc::clone(buckets), bucket.clone());
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 {
                loop {
                    let now = buckets.get(&bucket, "count").await.unwrap();
                    let count: u32 = now
                        .as_deref()
                        .map_or(0, |text| str::from_utf8(text).unwrap().parse().unwrap());
                    let next = (count + 1).to_string().into_bytes();
                    match buckets.swap(&bucket, ROOMY, "count", now.as_deref(), next).await {
                        Ok(()) => break,
                        Err(BucketError::Conflict) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(get(&**buckets, &bucket, "count").await.as_deref(), Some("80"));
}
