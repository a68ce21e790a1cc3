use aop_core::bucket::{Bucket, BucketQuota, BucketScope, Buckets as _};
use aop_core::model::{SpentTokens, TokenLedger as _};
use aop_core::{
    AgentId, AgentName, Digest, NewRevision, Origin, Scope, Scopes, Settings, Store as _,
    TaskRecord, TaskState, Tasks as _,
};
use uuid::Uuid;

use super::*;
use crate::StoreConfig;

fn open(directory: &std::path::Path) -> SqliteStore {
    SqliteStore::open(&StoreConfig::new(directory)).unwrap()
}

fn named(name: &str) -> TenantName {
    TenantName::new(name).unwrap()
}

fn acme() -> Tenant {
    Tenant { name: named("acme"), created_unix_ms: 7 }
}

fn key(id: &str, tenant: &str) -> KeyRecord {
    let id = KeyId::new(id).unwrap();
    let key = ApiKey {
        id: id.clone(),
        tenant: named(tenant),
        subject: id,
        name: "ci".to_owned(),
        scopes: Scopes::NONE.with(Scope::ToolsCall).with(Scope::AgentsWrite),
        created_unix_ms: 5,
        expires_unix_ms: Some(100),
        revoked_unix_ms: None,
        last_used_unix_ms: None,
    };
    KeyRecord { key, hash: [7; 32] }
}

fn secret(tenant: &str, value: &[u8]) -> SealedSecret {
    let entry = SecretEntry { name: SecretName::new("token").unwrap(), updated_unix_ms: 3 };
    SealedSecret { tenant: named(tenant), entry, sealed: value.to_vec() }
}

const FIRST: &str = "aaaaaaaaaaaa";

#[tokio::test]
async fn tenants_are_kept_once_and_default_is_always_there() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = open(directory.path());
        store.add_tenant(acme()).await.unwrap();
        assert!(matches!(store.add_tenant(acme()).await, Err(StoreError::Conflict)));
    }
    let store = open(directory.path());
    let tenants = store.tenants().await.unwrap();
    assert_eq!(tenants, [acme(), Tenant { name: named("default"), created_unix_ms: 0 }]);
    store.remove_tenant(&named("acme")).await.unwrap();
    // What an earlier try could not finish is finished by the next.
    store.remove_tenant(&named("acme")).await.unwrap();
    assert_eq!(store.tenants().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_older_value_of_a_secret_is_in_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let is_somewhere = |mark: &[u8]| {
        std::fs::read_dir(directory.path()).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            bytes.windows(mark.len()).any(|window| window == mark)
        })
    };
    store.put_secrets(vec![secret("default", b"the-first-value")]).await.unwrap();
    store.put_secrets(vec![secret("default", b"a-second-value")]).await.unwrap();
    assert!(!is_somewhere(b"the-first-value") && is_somewhere(b"a-second-value"));
    let name = SecretName::new("token").unwrap();
    assert!(store.remove_secret(&named("default"), &name).await.unwrap());
    assert!(!is_somewhere(b"a-second-value"));
}

#[tokio::test]
async fn keys_are_kept_changed_and_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert!(!store.had_keys().await.unwrap());
    assert!(matches!(store.put_keys(vec![key(FIRST, "nobody")]).await, Err(StoreError::Missing)));
    let mut record = key(FIRST, "default");
    store.put_keys(vec![record.clone()]).await.unwrap();
    assert_eq!(AccessStore::keys(&store).await.unwrap(), [record.clone()]);
    store.note_used(vec![(record.key.id.clone(), 50)]).await.unwrap();
    record.key.revoked_unix_ms = Some(60);
    store.put_keys(vec![record.clone()]).await.unwrap();
    record.key.last_used_unix_ms = Some(50);
    assert_eq!(AccessStore::keys(&store).await.unwrap(), [record.clone()]);
    store.remove_keys(vec![record.key.id]).await.unwrap();
    assert!(AccessStore::keys(&store).await.unwrap().is_empty());
    assert!(store.had_keys().await.unwrap());
}

#[tokio::test]
async fn secrets_are_kept_per_tenant() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.add_tenant(acme()).await.unwrap();
    store.put_secrets(vec![secret("acme", b"1"), secret("default", b"2")]).await.unwrap();
    store.put_secrets(vec![secret("acme", b"3")]).await.unwrap();
    assert!(matches!(
        store.put_secrets(vec![secret("gone", b"1")]).await,
        Err(StoreError::Missing)
    ));
    let name = SecretName::new("token").unwrap();
    let found = store.secret(&named("acme"), &name).await.unwrap();
    assert_eq!(found, Some(secret("acme", b"3")));
    assert_eq!(store.secrets(None).await.unwrap().len(), 2);
    assert_eq!(store.secrets(Some(&named("default"))).await.unwrap(), [secret("default", b"2")]);
    assert!(store.remove_secret(&named("acme"), &name).await.unwrap());
    assert!(!store.remove_secret(&named("acme"), &name).await.unwrap());
}

#[tokio::test]
async fn nothing_of_a_tenant_that_was_removed_is_left_in_the_directory() {
    const MARK: &str = "xyzzy-plugh-marker";
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.add_tenant(acme()).await.unwrap();
    let tenant = named("acme");
    let id = AgentId(Uuid::from_u128(5));
    let settings = Settings { description: Some(MARK.to_owned()), ..Settings::default() };
    let revision = NewRevision {
        id,
        name: AgentName::new("echo").unwrap(),
        origin: Origin::Api,
        digest: Digest::of(b"component"),
        settings,
        published: Default::default(),
        kept: 10,
        created_unix_ms: 1,
    };
    store.append(&tenant, vec![revision]).await.unwrap();
    let quota = BucketQuota {
        keys_max: 10,
        bytes_max: 1 << 20,
        agent_bytes_max: None,
        tenant_bytes_max: None,
    };
    for scope in [BucketScope::Tenant, BucketScope::Agent(id)] {
        let bucket = Bucket { tenant: tenant.clone(), scope };
        let value = MARK.repeat(1000).into_bytes();
        store.set(&bucket, quota, &[(MARK.to_owned(), value)]).await.unwrap();
    }
    let task = TaskRecord {
        id: MARK.to_owned(),
        tenant: tenant.clone(),
        subject: MARK.to_owned(),
        state: TaskState::Working,
        created_unix_ms: 1,
        updated_unix_ms: 1,
        expires_unix_ms: u64::MAX >> 1,
        outcome: None,
    };
    store.begin(task, 10).await.unwrap();
    store.put_secrets(vec![secret("acme", MARK.as_bytes())]).await.unwrap();
    let mut named_key = key(FIRST, "acme");
    named_key.key.name = MARK.to_owned();
    store.put_keys(vec![named_key]).await.unwrap();
    let files_with_mark = || {
        let files = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let has = |path: &std::path::PathBuf| {
            let bytes = std::fs::read(path).unwrap();
            [MARK.as_bytes(), b"acme"]
                .iter()
                .any(|mark| bytes.windows(mark.len()).any(|w| w == *mark))
        };
        files.filter(has).collect::<Vec<_>>()
    };
    assert!(!files_with_mark().is_empty());
    store.remove_tenant(&tenant).await.unwrap();
    assert_eq!(files_with_mark(), Vec::<std::path::PathBuf>::new());
    assert!(store.digests().await.unwrap().is_empty());
    // A completion that was given up when its call ended is settled late.
    let spent = SpentTokens { tenant: tenant.clone(), agent: id, tokens: 7 };
    store.spend(1, spent.clone()).await.unwrap();
    assert_eq!(store.spent(1).await.unwrap(), []);
    let ours = SpentTokens { tenant: named("default"), ..spent };
    store.spend(1, ours.clone()).await.unwrap();
    assert_eq!(store.spent(1).await.unwrap(), [ours]);
}
