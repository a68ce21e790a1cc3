use aop_core::{Admin as _, Caller, NewKey, Scopes, Secret, Secrets as _};

use super::*;
use crate::testing::{FakeStore, Issuer, Log, Noted, config, named, open};
use crate::{AccessConfig, AccessParts, Vault};

struct Node {
    access: Access,
    noted: std::sync::Arc<Noted>,
    log: std::sync::Arc<Log>,
    store: std::sync::Arc<FakeStore>,
    directory: tempfile::TempDir,
}

async fn node_with(config: AccessConfig) -> Node {
    let store = FakeStore::with(&["default"]);
    let (log, noted) = (std::sync::Arc::<Log>::default(), std::sync::Arc::<Noted>::default());
    let parts = AccessParts {
        store: store.clone(),
        audit: log.clone(),
        fetch: Issuer::new(),
        tenancies: vec![noted.clone()],
    };
    let access = Access::open(config, parts).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    access.share(directory.path().join("departed.json")).await;
    Node { access, noted, log, store, directory }
}

async fn node() -> Node {
    node_with(config()).await
}

async fn tell(from: &Node, to: &Node) {
    to.access.merge_shared(&from.access.shared().await.unwrap()).await.unwrap();
}

async fn agree(a: &Node, b: &Node) {
    tell(a, b).await;
    tell(b, a).await;
    assert_eq!(
        String::from_utf8(a.access.shared().await.unwrap()),
        String::from_utf8(b.access.shared().await.unwrap())
    );
    // Nothing is left to be told.
    let versions = (a.access.shared_version(), b.access.shared_version());
    tell(a, b).await;
    tell(b, a).await;
    assert_eq!((a.access.shared_version(), b.access.shared_version()), versions);
}

fn admin() -> Caller {
    Caller::local(TenantName::default_tenant())
}

fn of(tenant: &str) -> Caller {
    Caller::local(named(tenant))
}

fn new_key() -> NewKey {
    NewKey { name: "ci".to_owned(), scopes: Scopes::ALL, expires_in_seconds: None }
}

fn secret(name: &str) -> SecretName {
    SecretName::new(name).unwrap()
}

fn opens(node: &Node, key: &str) -> bool {
    node.access.inner.keys.find(key, unix_ms(SystemTime::now())).is_ok()
}

#[tokio::test]
async fn tenants_keys_and_secrets_reach_the_other_node_and_go_there_too() {
    let (a, b) = (node().await, node().await);
    a.access.create_tenant(&admin(), named("acme")).await.unwrap();
    let key = a.access.create_key(&of("acme"), new_key()).await.unwrap();
    a.access.set_secret(&of("acme"), secret("token"), Secret::new("v1".to_owned())).await.unwrap();
    assert!(!b.access.authenticates());
    agree(&a, &b).await;
    assert!(opens(&b, key.text.expose()) && b.access.authenticates());
    assert_eq!(b.access.get(&named("acme"), &secret("token")).await.unwrap().expose(), "v1");

    // What is changed there comes back.
    b.access.set_secret(&of("acme"), secret("token"), Secret::new("v2".to_owned())).await.unwrap();
    b.access.revoke_key(&of("acme"), &key.key.id).await.unwrap();
    agree(&a, &b).await;
    assert!(!opens(&a, key.text.expose()) && !opens(&b, key.text.expose()));
    assert_eq!(a.access.get(&named("acme"), &secret("token")).await.unwrap().expose(), "v2");

    b.access.delete_secret(&of("acme"), &secret("token")).await.unwrap();
    agree(&a, &b).await;
    assert!(a.store.secrets.lock().unwrap().is_empty());
    a.access.delete_tenant(&admin(), &named("acme")).await.unwrap();
    agree(&a, &b).await;
    for node in [&a, &b] {
        assert_eq!(node.store.tenants.lock().unwrap().len(), 1);
        assert!(node.store.keys.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_an_older_document_says_undoes_nothing() {
    let (a, b) = (node().await, node().await);
    a.access.create_tenant(&admin(), named("acme")).await.unwrap();
    let key = a.access.create_key(&of("acme"), new_key()).await.unwrap();
    a.access.set_secret(&of("acme"), secret("token"), Secret::new("v".to_owned())).await.unwrap();
    agree(&a, &b).await;
    let old = b.access.shared().await.unwrap();
    a.access.revoke_key(&of("acme"), &key.key.id).await.unwrap();
    a.access.delete_secret(&of("acme"), &secret("token")).await.unwrap();
    a.access.merge_shared(&old).await.unwrap();
    assert!(!opens(&a, key.text.expose()));
    assert!(a.store.secrets.lock().unwrap().is_empty());
    a.access.delete_tenant(&admin(), &named("acme")).await.unwrap();
    a.access.merge_shared(&old).await.unwrap();
    assert_eq!(a.store.tenants.lock().unwrap().len(), 1);

    // Also after a restart, which ends what a crash left half done.
    let directory = a.directory;
    a.store.tenants.lock().unwrap().extend(b.store.tenants.lock().unwrap().clone());
    let again = open(config(), &a.store, &Issuer::new()).await;
    again.share(directory.path().join("departed.json")).await;
    assert_eq!(a.store.tenants.lock().unwrap().len(), 1);
    again.merge_shared(&old).await.unwrap();
    assert_eq!(a.store.tenants.lock().unwrap().len(), 1);

    // One of that name that is made anew is another one, whatever the clocks say.
    again.create_tenant(&admin(), named("acme")).await.unwrap();
    let (tenants, store) = (again.shared().await.unwrap(), &b.store);
    b.access.merge_shared(&tenants).await.unwrap();
    assert!(store.tenants.lock().unwrap().contains_key("acme"));
    assert!(store.keys.lock().unwrap().is_empty(), "what the first one had is gone");
    // And stays so when a node that was away comes with it.
    again.merge_shared(&old).await.unwrap();
    assert!(a.store.tenants.lock().unwrap().contains_key("acme"));
    let now = unix_ms(SystemTime::now());
    assert!(again.inner.keys.find(key.text.expose(), now).is_err());
    assert!(again.keys(&of("acme")).await.unwrap().is_empty());
    assert!(a.store.secrets.lock().unwrap().is_empty());
    let new = again.create_key(&of("acme"), new_key()).await.unwrap();
    let tenants = again.shared().await.unwrap();
    b.access.merge_shared(&tenants).await.unwrap();
    assert!(opens(&b, new.text.expose()), "keys of the new one are everywhere");
}

/// When a node says that a tenant was created.
fn created(node: &Node, tenant: &str) -> u64 {
    node.store.tenants.lock().unwrap()[&named(tenant)].created_unix_ms
}

#[tokio::test]
async fn a_deletion_that_is_learnt_late_ends_the_tenant_that_was_there_and_no_later_one() {
    let (a, b) = (node().await, node().await);
    a.access.create_tenant(&admin(), named("acme")).await.unwrap();
    agree(&a, &b).await;
    let first = created(&a, "acme");
    a.access.delete_tenant(&admin(), &named("acme")).await.unwrap();
    a.access.create_tenant(&admin(), named("acme")).await.unwrap();
    let second = created(&a, "acme");
    assert!(second > first, "also within one millisecond");
    // The other node learns of both at once.
    tell(&a, &b).await;
    assert_eq!((&*a.noted.ended.lock().unwrap(), created(&a, "acme")), (&vec![first], second));
    assert_eq!((&*b.noted.ended.lock().unwrap(), created(&b, "acme")), (&vec![first], second));
}

#[tokio::test]
async fn what_a_removal_left_that_failed_is_not_the_next_tenants() {
    let (a, b) = (node().await, node().await);
    a.access.create_tenant(&admin(), named("acme")).await.unwrap();
    agree(&a, &b).await;
    let first = created(&b, "acme");
    a.access.delete_tenant(&admin(), &named("acme")).await.unwrap();
    a.access.create_tenant(&admin(), named("acme")).await.unwrap();
    let key = a.access.create_key(&of("acme"), new_key()).await.unwrap();
    *b.noted.fails.lock().unwrap() = true;
    let document = a.access.shared().await.unwrap();
    b.access.merge_shared(&document).await.unwrap_err();
    assert_eq!(created(&b, "acme"), first, "it is the old one still");
    assert!(!opens(&b, key.text.expose()), "and no key of the next one opens it");
    *b.noted.fails.lock().unwrap() = false;
    b.access.merge_shared(&document).await.unwrap();
    assert_eq!(created(&b, "acme"), created(&a, "acme"));
    assert!(opens(&b, key.text.expose()));
    assert!(b.noted.ended.lock().unwrap().iter().all(|ended| *ended == first));
}

#[tokio::test]
async fn of_two_that_create_one_tenant_the_later_time_holds_on_both() {
    let (a, b) = (node().await, node().await);
    a.access.create_tenant(&admin(), named("acme")).await.unwrap();
    while unix_ms(SystemTime::now()) <= created(&a, "acme") {
        tokio::task::yield_now().await;
    }
    b.access.create_tenant(&admin(), named("acme")).await.unwrap();
    let key = a.access.create_key(&of("acme"), new_key()).await.unwrap();
    let later = created(&b, "acme");
    agree(&a, &b).await;
    assert_eq!((created(&a, "acme"), created(&b, "acme")), (later, later));
    assert!(a.noted.ended.lock().unwrap().is_empty() && b.noted.ended.lock().unwrap().is_empty());
    assert!(opens(&a, key.text.expose()) && opens(&b, key.text.expose()));
    // Whoever keeps something knows it, too.
    let begun = a.noted.what.lock().unwrap().clone();
    assert_eq!(begun, ["+default", "+acme", "+acme"]);
    a.access.delete_tenant(&admin(), &named("acme")).await.unwrap();
    assert_eq!(*a.noted.ended.lock().unwrap(), [later]);
}

#[tokio::test]
async fn two_nodes_that_were_apart_have_what_both_did() {
    let (a, b) = (node().await, node().await);
    a.access.create_tenant(&admin(), named("one")).await.unwrap();
    b.access.create_tenant(&admin(), named("two")).await.unwrap();
    let (first, second) = (
        a.access.create_key(&of("one"), new_key()).await.unwrap(),
        b.access.create_key(&of("two"), new_key()).await.unwrap(),
    );
    agree(&a, &b).await;
    for node in [&a, &b] {
        assert!(opens(node, first.text.expose()) && opens(node, second.text.expose()));
    }
}

#[tokio::test]
async fn a_node_with_another_key_of_the_secrets_keeps_them_and_reads_none() {
    let (a, vault) = (node().await, Vault::new(&"cd".repeat(32)).unwrap());
    let b = node_with(AccessConfig { vault: Some(vault), ..config() }).await;
    a.access.set_secret(&admin(), secret("token"), Secret::new("v".to_owned())).await.unwrap();
    let told = a.access.shared().await.unwrap();
    assert!(!String::from_utf8(told).unwrap().contains("\"v\""));
    agree(&a, &b).await;
    let refused = b.access.get(&admin().tenant, &secret("token")).await.unwrap_err();
    assert!(refused.to_string().contains("cannot be decrypted"), "{refused}");
    assert_eq!(a.access.get(&admin().tenant, &secret("token")).await.unwrap().expose(), "v");
}

#[tokio::test]
async fn nonsense_is_refused_and_configured_tenants_stay() {
    let a = node().await;
    for bad in [
        &b""[..],
        b"{}",
        b"nonsense",
        br#"{"format":2,"tenants":[],"keys":[],"secrets":[],"departed":[]}"#,
    ] {
        assert!(a.access.merge_shared(bad).await.is_err());
    }
    let fixed = node_with(AccessConfig { tenants: vec![named("acme")], ..config() }).await;
    agree(&fixed, &a).await;
    a.access.delete_tenant(&admin(), &named("acme")).await.unwrap();
    tell(&a, &fixed).await;
    assert!(fixed.store.tenants.lock().unwrap().contains_key("acme"));
    // Another hash under a known id is not believed.
    let key = a.access.create_key(&admin(), new_key()).await.unwrap();
    let lie = String::from_utf8(a.access.shared().await.unwrap()).unwrap();
    let other = node().await;
    let id = key.key.id.as_str();
    tell(&a, &other).await;
    let record = other.access.inner.keys.get(&key.key.id).unwrap();
    let hash = serde_json::to_string(&record.hash).unwrap();
    let lie = lie.replace(&hash, &serde_json::to_string(&[0_u8; 32]).unwrap());
    assert!(lie.contains(id));
    other.access.merge_shared(lie.as_bytes()).await.unwrap();
    assert!(opens(&other, key.text.expose()));
}

#[tokio::test]
async fn secrets_that_are_too_large_together_hold_up_no_revocation() {
    let (a, b) = (node().await, node().await);
    a.access.create_tenant(&admin(), named("acme")).await.unwrap();
    let key = a.access.create_key(&of("acme"), new_key()).await.unwrap();
    agree(&a, &b).await;
    let large = Secret::new("x".repeat(Secret::LENGTH_MAX_BYTES));
    for number in 0..=SECRETS_MAX_BYTES / Secret::LENGTH_MAX_BYTES {
        let name = secret(&format!("s{number}"));
        a.access.set_secret(&of("acme"), name, large.clone()).await.unwrap();
    }
    a.access.revoke_key(&of("acme"), &key.key.id).await.unwrap();
    tell(&a, &b).await;
    assert!(!opens(&b, key.text.expose()));
    assert!(b.store.secrets.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_another_node_changed_is_in_the_log_of_this_one() {
    let (a, b) = (node().await, node().await);
    a.access.create_tenant(&admin(), named("acme")).await.unwrap();
    let key = a.access.create_key(&of("acme"), new_key()).await.unwrap().key;
    a.access.set_secret(&of("acme"), secret("s"), Secret::new("v".to_owned())).await.unwrap();
    tell(&a, &b).await;
    let id = &key.id;
    let created = [
        "host tenant.create done acme acme".to_owned(),
        format!("host key.create done acme {id}"),
        "host secret.set done acme s".to_owned(),
    ];
    assert_eq!(b.log.take(), created);
    let next = a.access.rotate_key(&of("acme"), id, std::time::Duration::from_secs(9)).await;
    let next = next.unwrap().key.id;
    a.access.revoke_key(&of("acme"), &next).await.unwrap();
    a.access.delete_secret(&of("acme"), &secret("s")).await.unwrap();
    tell(&a, &b).await;
    let mut changed = b.log.take();
    changed.sort();
    let mut expected = vec![
        format!("host key.create done acme {next}"),
        format!("host key.rotate done acme {id}"),
        "host secret.delete done acme s".to_owned(),
    ];
    expected.sort();
    assert_eq!(changed, expected);
    a.access.delete_tenant(&admin(), &named("acme")).await.unwrap();
    tell(&a, &b).await;
    assert_eq!(b.log.take(), ["host tenant.delete done acme acme"]);
    tell(&a, &b).await;
    assert!(b.log.take().is_empty(), "nothing is told twice");
}

#[tokio::test]
async fn a_node_that_is_told_of_much_at_once_says_how_much() {
    let (a, b) = (node().await, node().await);
    for _ in 0..300 {
        a.access.create_key(&admin(), new_key()).await.unwrap();
    }
    tell(&a, &b).await;
    let log = b.log.take();
    assert_eq!(log.len(), 257);
    assert_eq!(log[256], "host key.create done  ");
    // Of each kind.
    let mut told = Told::new(&b.access);
    for _ in 0..300 {
        told.note(Action::KeyRevoke, &named("acme"), "k");
        told.note(Action::KeyRotate, &named("acme"), "k");
    }
    drop(told);
    let log = b.log.take();
    assert_eq!(log[256..], ["host key.revoke done  ", "host key.rotate done  "]);
}
