use std::sync::Arc;

use aop_core::{Bond, Scope, Scopes};

use super::*;
use crate::access::Vouched;
use crate::testing::{FakeStore, Held, Issuer, Log, Noted, config, named, open};
use crate::{AccessConfig, AccessParts};

fn admin() -> Caller {
    Caller::local(TenantName::default_tenant())
}

fn key(scopes: Scopes) -> NewKey {
    NewKey { name: "ci".to_owned(), scopes, expires_in_seconds: Some(60) }
}

async fn some() -> (Access, Arc<FakeStore>) {
    let store = FakeStore::with(&["acme", "default"]);
    (open(config(), &store, &Issuer::new()).await, store)
}

#[tokio::test]
async fn nobody_hands_out_more_than_they_have() {
    let (access, _) = some().await;
    let few = Scopes::NONE.with(Scope::TenantAdmin).with(Scope::ToolsCall);
    let by = Caller { scopes: few, ..Caller::local(named("acme")) };
    let refused = access.create_key(&by, key(Scopes::ALL)).await.err().unwrap();
    assert!(matches!(refused, AdminError::Forbidden(_)), "{refused}");
    access.create_key(&by, key(few)).await.unwrap();
    let strong = access.create_key(&Caller::local(named("acme")), key(Scopes::ALL)).await.unwrap();
    let refused = access.rotate_key(&by, &strong.key.id, Duration::ZERO).await.err().unwrap();
    assert!(matches!(refused, AdminError::Forbidden(_)), "{refused}");
    let refused = access.revoke_key(&by, &strong.key.id).await.err().unwrap();
    assert!(matches!(refused, AdminError::Forbidden(_)), "{refused}");
    let now = unix_ms(SystemTime::now());
    access.inner.keys.find(strong.text.expose(), now).unwrap();
}

/// Whoever asks may close the connection at any time; half of a tenant must not be left.
#[tokio::test]
async fn a_change_that_began_ends_although_nobody_waits_for_it() {
    let (store, held, log) =
        (FakeStore::with(&["acme", "default"]), Held::new(), Arc::new(Log::default()));
    let parts = AccessParts {
        store: store.clone(),
        audit: log.clone(),
        fetch: Issuer::new(),
        tenancies: vec![held.clone()],
    };
    let access = Access::open(config(), parts).await.unwrap();
    let (by, acme) = (admin(), named("acme"));
    tokio::select! {
        _ = access.delete_tenant(&by, &acme) => unreachable!("the tenancy is held"),
        () = held.began.notified() => {}
    }
    held.go.add_permits(1);
    // Changes come one after another, so this one ends first.
    drop(access.inner.changing.lock().await);
    assert!(!store.tenants.lock().unwrap().contains_key(&acme));
    assert_eq!(log.take(), ["local tenant.delete done acme acme"]);
}

#[tokio::test]
async fn what_was_tried_in_vain_is_noted() {
    let (store, noted, log) = (
        FakeStore::with(&["acme", "default"]),
        Arc::new(Noted::default()),
        Arc::new(Log::default()),
    );
    let parts = AccessParts {
        store: store.clone(),
        audit: log.clone(),
        fetch: Issuer::new(),
        tenancies: vec![noted.clone()],
    };
    let config = AccessConfig { vault: None, tenants: vec![named("made")], ..config() };
    let access = Access::open(config, parts).await.unwrap();
    assert_eq!(log.take(), ["host tenant.create done made made"]);
    let few = Scopes::NONE.with(Scope::TenantAdmin);
    let by = Caller { scopes: few, ..Caller::local(named("acme")) };
    let strong = access.create_key(&Caller::local(named("acme")), key(Scopes::ALL)).await.unwrap();
    let id = strong.key.id;
    let _ = log.take();
    let _ = access.create_key(&by, key(Scopes::ALL)).await.err().unwrap();
    let _ = access.revoke_key(&by, &id).await.err().unwrap();
    let _ = access.rotate_key(&by, &id, Duration::ZERO).await.err().unwrap();
    let name = SecretName::new("s").unwrap();
    let _ = access.set_secret(&by, name.clone(), Secret::new("x".to_owned())).await.err().unwrap();
    let _ = access.create_tenant(&admin(), named("acme")).await.err().unwrap();
    *noted.fails.lock().unwrap() = true;
    let _ = access.delete_tenant(&admin(), &named("acme")).await.err().unwrap();
    // What is not there was no attempt at anything.
    let _ = access.delete_secret(&by, &name).await.err().unwrap();
    assert_eq!(
        log.take(),
        [
            "local key.create refused acme ".to_owned(),
            format!("local key.revoke refused acme {id}"),
            format!("local key.rotate refused acme {id}"),
            "local secret.set refused acme s".to_owned(),
            "local tenant.create refused acme acme".to_owned(),
            "local tenant.delete failed acme acme".to_owned(),
        ]
    );
    let known = Caller { scopes: few, ..Caller::local(TenantName::default_tenant()) };
    let known = Vouched { caller: known, bond: Bond::Open };
    assert!(access.inner.accept(known, Some("made")).is_err());
    assert_eq!(log.take(), ["local access.refuse refused default tenant"]);
}

#[tokio::test]
async fn uses_of_keys_that_could_not_be_stored_are_stored_later() {
    let (access, store) = some().await;
    let created = access.create_key(&admin(), key(Scopes::ALL)).await.unwrap();
    let now = unix_ms(SystemTime::now());
    access.inner.keys.find(created.text.expose(), now).unwrap();
    let stored = || store.keys.lock().unwrap()[&created.key.id].key.last_used_unix_ms;
    *store.fails.lock().unwrap() = true;
    access.note_uses_now().await;
    assert_eq!(stored(), None);
    *store.fails.lock().unwrap() = false;
    access.note_uses_now().await;
    assert_eq!(stored(), Some(now));
}

#[tokio::test]
async fn keys_that_cannot_be_are_refused_with_the_reason() {
    let (access, _) = some().await;
    let call = Scopes::NONE.with(Scope::ToolsCall);
    for new in [
        NewKey { name: " ".to_owned(), ..key(call) },
        NewKey { name: "x".repeat(129), ..key(call) },
        NewKey { name: "a\u{1b}[31m".to_owned(), ..key(call) },
        key(Scopes::NONE),
        NewKey { expires_in_seconds: Some(0), ..key(call) },
        NewKey { expires_in_seconds: Some(u64::MAX), ..key(call) },
    ] {
        let refused = access.create_key(&admin(), new.clone()).await.err().unwrap();
        assert!(matches!(refused, AdminError::Invalid(_)), "{new:?}: {refused}");
    }
}

#[tokio::test]
async fn a_tenant_has_its_own_keys_and_not_too_many() {
    let (access, _) = some().await;
    let acme = Caller::local(named("acme"));
    let call = Scopes::NONE.with(Scope::ToolsCall);
    let created = access.create_key(&acme, key(call)).await.unwrap();
    assert_eq!(access.keys(&acme).await.unwrap(), std::slice::from_ref(&created.key));
    assert!(access.keys(&admin()).await.unwrap().is_empty());
    for refused in [
        access.revoke_key(&admin(), &created.key.id).await.map(|_| ()),
        access.rotate_key(&admin(), &created.key.id, Duration::ZERO).await.map(|_| ()),
    ] {
        assert!(matches!(refused, Err(AdminError::NotFound(_))), "another tenant's does not exist");
    }
    for _ in 1..KEYS_PER_TENANT_MAX {
        access.create_key(&acme, key(call)).await.unwrap();
    }
    let refused = access.create_key(&acme, key(call)).await.err().unwrap();
    assert!(matches!(refused, AdminError::Conflict(_)), "{refused}");
    access.create_key(&admin(), key(call)).await.unwrap();
}

#[tokio::test]
async fn a_replaced_key_works_during_the_overlap_and_is_the_same_subject() {
    let (access, store) = some().await;
    let old = access.create_key(&admin(), key(Scopes::ALL)).await.unwrap();
    let new = access.rotate_key(&admin(), &old.key.id, Duration::from_secs(5)).await.unwrap();
    let now = unix_ms(SystemTime::now());
    let find = |text: &Secret, at: u64| {
        access.inner.keys.find(text.expose(), at).map(|known| known.caller)
    };
    assert_eq!(find(&old.text, now).unwrap(), find(&new.text, now).unwrap());
    assert!(find(&old.text, now + 6_000).is_err());
    find(&new.text, now + 6_000).unwrap();
    assert!(find(&new.text, now + 61_000).is_err(), "it lives as long as the old one did");
    assert_eq!(store.keys.lock().unwrap().len(), 2);
    access.revoke_key(&admin(), &old.key.id).await.unwrap();
    let refused = access.rotate_key(&admin(), &old.key.id, Duration::ZERO).await.err().unwrap();
    assert!(matches!(refused, AdminError::Conflict(_)), "{refused}");
    let long = Duration::from_secs(91 * 24 * 60 * 60);
    let refused = access.rotate_key(&admin(), &new.key.id, long).await.err().unwrap();
    assert!(matches!(refused, AdminError::Invalid(_)), "{refused}");
}

#[tokio::test]
async fn keys_that_are_long_invalid_go() {
    let (access, store) = some().await;
    let created = access.create_key(&admin(), key(Scopes::ALL)).await.unwrap();
    let mut record = access.inner.keys.get(&created.key.id).unwrap();
    record.key.revoked_unix_ms = Some(1);
    access.inner.keys.put(&[record]);
    access.create_key(&admin(), key(Scopes::ALL)).await.unwrap();
    assert!(!store.keys.lock().unwrap().contains_key(&created.key.id));
    assert_eq!(access.keys(&admin()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn keys_that_are_revoked_keep_no_place_from_new_ones() {
    let (access, store) = some().await;
    let acme = Caller::local(named("acme"));
    let call = Scopes::NONE.with(Scope::ToolsCall);
    let first = access.create_key(&acme, key(call)).await.unwrap();
    let record = access.inner.keys.get(&first.key.id).unwrap();
    let now = unix_ms(SystemTime::now());
    let of = |index: usize, revoked: bool| {
        let (id, text) = generate();
        let ended = now - 1_000_000 + index as u64;
        let mut record = KeyRecord { hash: key::hash(text.expose()).into(), ..record.clone() };
        record.key.id = id;
        match revoked {
            true => record.key.revoked_unix_ms = Some(ended),
            false => record.key.expires_unix_ms = Some(ended),
        }
        record
    };
    let revoked: Vec<_> = (0..INVALID_PER_TENANT_MAX).map(|index| of(index, true)).collect();
    let expired = of(INVALID_PER_TENANT_MAX, false);
    let all = [revoked.clone(), vec![expired.clone()]].concat();
    let stored = all.iter().map(|record| (record.key.id.clone(), record.clone()));
    store.keys.lock().unwrap().extend(stored);
    access.inner.keys.put(&all);
    access.create_key(&acme, key(call)).await.unwrap();
    assert!(access.inner.keys.get(&expired.key.id).is_none(), "what expired goes first");
    access.revoke_key(&acme, &first.key.id).await.unwrap();
    let second = access.create_key(&acme, key(call)).await.unwrap();
    access.rotate_key(&acme, &second.key.id, Duration::ZERO).await.unwrap();
    let is_kept = |index: usize| store.keys.lock().unwrap().contains_key(&revoked[index].key.id);
    assert!(!is_kept(0), "then the oldest");
    assert!(is_kept(2));
    // What is invalid of others is no obstacle, either.
    let oldest = access.inner.keys.oldest(now + 30_000, &|_| true).unwrap();
    assert_eq!(oldest, second.key.id, "it was replaced, and nobody revoked it");

    // Where other nodes could bring them back as valid, what was revoked is remembered.
    let directory = tempfile::tempdir().unwrap();
    access.share(directory.path().join("departed.json")).await;
    access
        .revoke_key(&acme, &access.create_key(&acme, key(call)).await.unwrap().key.id)
        .await
        .unwrap();
    let full = access.create_key(&acme, key(call)).await.err().unwrap();
    assert!(matches!(&full, AdminError::Conflict(why) if why.contains("--expires")), "{full}");
    assert!(is_kept(INVALID_PER_TENANT_MAX - 1));
}

#[tokio::test]
async fn tenants_begin_and_end_with_everything_of_them() {
    let store = FakeStore::with(&["default"]);
    let noted = Arc::new(Noted::default());
    let parts = AccessParts {
        store: store.clone(),
        audit: Arc::new(aop_core::NoAudit),
        fetch: Issuer::new(),
        tenancies: vec![noted.clone()],
    };
    let access = Access::open(config(), parts).await.unwrap();
    let acme = named("acme");
    access.create_tenant(&admin(), acme.clone()).await.unwrap();
    let twice = access.create_tenant(&admin(), acme.clone()).await.err().unwrap();
    assert!(matches!(twice, AdminError::Conflict(_)), "{twice}");
    let of_acme = Caller::local(acme.clone());
    let created = access.create_key(&of_acme, key(Scopes::ALL)).await.unwrap();
    *noted.fails.lock().unwrap() = true;
    let stuck = access.delete_tenant(&admin(), &acme).await.err().unwrap();
    assert!(matches!(stuck, AdminError::Failed(_)), "{stuck}");
    assert!(store.tenants.lock().unwrap().contains_key(&acme), "it can be deleted again");
    *noted.fails.lock().unwrap() = false;
    access.delete_tenant(&admin(), &acme).await.unwrap();
    assert_eq!(*noted.what.lock().unwrap(), ["+default", "+acme", "-acme", "-acme"]);
    assert!(access.inner.keys.find(created.text.expose(), 0).is_err());
    for gone in ["acme", "nobody"] {
        let refused = access.delete_tenant(&admin(), &named(gone)).await.err().unwrap();
        assert!(matches!(refused, AdminError::NotFound(_)), "{refused}");
    }
    let kept = access.delete_tenant(&admin(), &TenantName::default_tenant()).await.err().unwrap();
    assert!(matches!(kept, AdminError::Conflict(_)), "{kept}");
}

#[tokio::test]
async fn a_tenant_is_later_than_the_one_before_it_also_in_no_zone() {
    let (access, store) = some().await;
    let acme = named("again");
    let mut last = 0;
    for _ in 0..5 {
        access.create_tenant(&admin(), acme.clone()).await.unwrap();
        let created = store.tenants.lock().unwrap()[&acme].created_unix_ms;
        assert!(created > last, "{created} {last}");
        last = created;
        access.delete_tenant(&admin(), &acme).await.unwrap();
    }
}

#[tokio::test]
async fn secrets_are_bounded_and_need_a_key() {
    let (access, store) = some().await;
    let name = |name: &str| SecretName::new(name).unwrap();
    let value = |length: usize| Secret::new("x".repeat(length));
    for length in [0, Secret::LENGTH_MAX_BYTES + 1] {
        let refused = access.set_secret(&admin(), name("a"), value(length)).await;
        assert!(matches!(refused, Err(AdminError::Invalid(_))));
    }
    access.set_secret(&admin(), name("a"), value(Secret::LENGTH_MAX_BYTES)).await.unwrap();
    for index in 1..SECRETS_PER_TENANT_MAX {
        access.set_secret(&admin(), name(&format!("s{index}")), value(1)).await.unwrap();
    }
    let refused = access.set_secret(&admin(), name("one-more"), value(1)).await;
    assert!(matches!(refused, Err(AdminError::Conflict(_))));
    access.set_secret(&admin(), name("a"), value(1)).await.unwrap();
    access.delete_secret(&admin(), &name("a")).await.unwrap();
    let refused = access.delete_secret(&admin(), &name("a")).await;
    assert!(matches!(refused, Err(AdminError::NotFound(_))));
    assert!(access.secrets(&Caller::local(named("acme"))).await.unwrap().is_empty());

    let without = AccessConfig { vault: None, ..config() };
    let access = open(without, &store, &Issuer::new()).await;
    let refused = access.set_secret(&admin(), name("a"), value(1)).await.err().unwrap();
    assert!(refused.to_string().contains("AOP_SECRETS_KEY"), "{refused}");
}
