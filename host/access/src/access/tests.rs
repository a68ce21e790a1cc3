use std::sync::Arc;

use aop_core::{Admin as _, AdminError, NewKey, Secret};

use super::*;
use crate::testing::{FakeStore, Issuer, config, issuer_config, named, open};

async fn ask(
    access: &Access,
    bearer: Option<&str>,
    tenant: Option<&str>,
) -> Result<Caller, AuthenticateError> {
    let address = Some("10.0.0.1".parse().unwrap());
    match access.authenticate(Presented { bearer, tenant, address }) {
        Identified::Now(identified) => identified.map(|known| known.caller),
        Identified::Soon(identifying) => identifying.await.map(|known| known.caller),
    }
}

#[tokio::test]
async fn what_was_opened_holds_until_its_key_or_token_or_tenant_is_gone() {
    let (store, issuer) = world();
    let access =
        open(AccessConfig { issuers: vec![issuer_config()], ..config() }, &store, &issuer).await;
    let know = async |bearer: &str| match access
        .authenticate(Presented { bearer: Some(bearer), ..Presented::default() })
    {
        Identified::Now(identified) => identified.unwrap(),
        Identified::Soon(identifying) => identifying.await.unwrap(),
    };
    let by = Caller::local(named("acme"));
    let first = access.create_key(&by, key(Scopes::ALL)).await.unwrap();
    let other = access.create_key(&by, key(Scopes::ALL)).await.unwrap();
    let first_known = know(first.text.expose()).await;
    let other_known = know(other.text.expose()).await;
    let token_known = know(&issuer.token(soon())).await;
    assert!([&first_known, &other_known, &token_known].into_iter().all(|it| access.holds(it)));
    // A rotation without an overlap ends what the old key opened, though the subject stays.
    let rotated = access.rotate_key(&by, &first.key.id, Duration::ZERO).await.unwrap();
    assert!(!access.holds(&first_known));
    let rotated_known = know(rotated.text.expose()).await;
    assert_eq!(rotated_known.caller, first_known.caller);
    access.revoke_key(&by, &rotated.key.id).await.unwrap();
    assert!(!access.holds(&rotated_known) && access.holds(&other_known));
    let expired = Known { bond: Bond::Token { expires_unix_ms: 1 }, ..token_known.clone() };
    assert!(!access.holds(&expired) && access.holds(&token_known));
    access
        .delete_tenant(&Caller::local(TenantName::default_tenant()), &named("acme"))
        .await
        .unwrap();
    assert!(!access.holds(&other_known) && !access.holds(&token_known));
}

/// Whoever presents this, as the gate keeps it for a request that takes its time.
fn standing(access: &Access, bearer: Option<&str>, tenant: Option<&str>) -> Standing {
    let presented = Presented { bearer, tenant, address: None };
    match access.authenticate(presented) {
        Identified::Now(identified) => Standing::of(identified.unwrap(), Arc::new(access.clone())),
        Identified::Soon(_) => panic!("a key is known at once"),
    }
}

/// Whether one look at a future is not enough.
fn waits<F: Future + Unpin>(future: &mut F) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(future).poll(&mut context).is_pending()
}

fn lapsed<T>(result: Result<T, AdminError>) {
    assert_eq!(result.err(), Some(AdminError::Lapsed));
}

#[tokio::test]
async fn what_was_revoked_changes_nothing_more() {
    let (store, issuer) = world();
    let access = open(config(), &store, &issuer).await;
    let by = Caller::local(named("acme"));
    let ended = access.create_key(&by, key(Scopes::ALL)).await.unwrap();
    let other = access.create_key(&by, key(Scopes::ALL)).await.unwrap().key.id;
    let standing = standing(&access, Some(ended.text.expose()), None);
    let (by, admin) = (standing.caller().clone(), Arc::new(access.clone()).under(standing));
    let (made, name) = (named("made"), SecretName::new("token").unwrap());
    let value = || Secret::new("v".to_owned());
    admin.set_secret(&by, name.clone(), value()).await.unwrap();
    admin.revoke_key(&by, &ended.key.id).await.unwrap();
    let (keys, secrets) = (store.keys.lock().unwrap().len(), store.secrets.lock().unwrap().clone());
    lapsed(admin.create_key(&by, key(Scopes::ALL)).await);
    lapsed(admin.rotate_key(&by, &other, Duration::ZERO).await);
    lapsed(admin.revoke_key(&by, &other).await);
    lapsed(admin.set_secret(&by, name.clone(), value()).await);
    lapsed(admin.delete_secret(&by, &name).await);
    lapsed(admin.create_tenant(&by, made).await);
    lapsed(admin.delete_tenant(&by, &named("other")).await);
    assert_eq!(store.keys.lock().unwrap().len(), keys);
    assert_eq!(*store.secrets.lock().unwrap(), secrets);
    assert_eq!(store.tenants.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_change_that_waits_for_a_revocation_is_not_made() {
    let (store, issuer) = world();
    let access = open(config(), &store, &issuer).await;
    let by = Caller::local(named("acme"));
    let ended = access.create_key(&by, key(Scopes::ALL)).await.unwrap();
    let admin = Arc::new(access.clone()).under(standing(&access, Some(ended.text.expose()), None));
    let changing = access.inner.changing.lock().await;
    // In the order of the queue for the lock: the revocation first.
    let mut revoking = access.revoke_key(&by, &ended.key.id);
    assert!(waits(&mut revoking));
    tokio::task::yield_now().await;
    let mut creating = admin.create_key(&by, key(Scopes::ALL));
    assert!(waits(&mut creating));
    tokio::task::yield_now().await;
    drop(changing);
    revoking.await.unwrap();
    lapsed(creating.await);
}

#[tokio::test]
async fn a_tenant_that_was_made_anew_is_another_one() {
    let (store, issuer) = world();
    let access = open(config(), &store, &issuer).await;
    let all = create(&access, "default", Scopes::ALL).await;
    let before = standing(&access, Some(all.expose()), Some("acme"));
    let by = standing(&access, Some(all.expose()), None).caller().clone();
    assert!(before.holds());
    access.delete_tenant(&by, &named("acme")).await.unwrap();
    assert!(!before.holds());
    access.create_tenant(&by, named("acme")).await.unwrap();
    assert!(!before.holds(), "the key is good and the name is there, but not that tenant");
    let of_acme = before.caller().clone();
    lapsed(Arc::new(access.clone()).under(before).create_key(&of_acme, key(Scopes::ALL)).await);
    assert!(standing(&access, Some(all.expose()), Some("acme")).holds());
}

#[tokio::test]
async fn whoever_came_to_an_open_host_makes_no_key_once_it_is_closed() {
    let (store, issuer) = world();
    let access = open(config(), &store, &issuer).await;
    let stranger = standing(&access, None, None);
    let (by, admin) = (stranger.caller().clone(), Arc::new(access.clone()).under(stranger));
    admin.create_key(&by, key(Scopes::ALL)).await.unwrap();
    lapsed(admin.create_key(&by, key(Scopes::ALL)).await);
}

fn key(scopes: Scopes) -> NewKey {
    NewKey { name: "test".to_owned(), scopes, expires_in_seconds: None }
}

async fn create(access: &Access, tenant: &str, scopes: Scopes) -> Secret {
    access.create_key(&Caller::local(named(tenant)), key(scopes)).await.unwrap().text
}

fn world() -> (Arc<FakeStore>, Arc<Issuer>) {
    (FakeStore::with(&["acme", "default", "other"]), Issuer::new())
}

/// Seconds since the epoch, for tokens that are good now.
fn soon() -> u64 {
    unix_ms(SystemTime::now()) / 1000 + 600
}

#[tokio::test]
async fn a_host_without_anything_to_check_is_open_to_its_own_machine() {
    let (store, issuer) = world();
    let access = open(config(), &store, &issuer).await;
    assert!(!access.authenticates());
    let caller = ask(&access, None, None).await.unwrap();
    assert_eq!(caller, Caller::local(TenantName::default_tenant()));
    assert_eq!(ask(&access, Some("whatever"), Some("default")).await.unwrap(), caller);
    for tenant in ["", "nobody", "Default", "default/..", "default "] {
        let refused = ask(&access, None, Some(tenant)).await;
        assert_eq!(refused, Err(AuthenticateError::UnknownTenant), "{tenant:?}");
    }
    let from_elsewhere = AccessConfig { is_local: false, ..config() };
    let access = open(from_elsewhere, &store, &issuer).await;
    let caller = ask(&access, None, None).await.unwrap();
    assert_eq!(caller.scopes.to_string(), "tools:call tools:list agents:write");
}

#[tokio::test]
async fn the_first_key_closes_the_host_and_nothing_opens_it_again() {
    let (store, issuer) = world();
    let access = open(config(), &store, &issuer).await;
    let Identified::Now(Ok(stranger)) = access.authenticate(Presented::default()) else {
        panic!("an open host knows whoever comes at once");
    };
    assert!(access.holds(&stranger));
    let created = access
        .create_key(&Caller::local(TenantName::default_tenant()), key(Scopes::ALL))
        .await
        .unwrap();
    assert!(access.authenticates());
    assert!(!access.holds(&stranger), "what came in before loses its standing");
    assert_eq!(ask(&access, None, None).await, Err(AuthenticateError::Missing));
    let admin = ask(&access, Some(created.text.expose()), None).await.unwrap();
    access.revoke_key(&admin, &created.key.id).await.unwrap();
    let refused = ask(&access, Some(created.text.expose()), None).await;
    assert_eq!(refused, Err(AuthenticateError::Invalid));
    store.keys.lock().unwrap().clear();
    assert!(open(config(), &store, &issuer).await.authenticates(), "after a restart, too");
    let required = AccessConfig { required: true, ..config() };
    assert!(open(required, &FakeStore::with(&["default"]), &issuer).await.authenticates());
}

#[tokio::test]
async fn a_key_speaks_for_its_tenant_and_only_a_cluster_admin_for_others() {
    let (store, issuer) = world();
    let access = open(config(), &store, &issuer).await;
    let tenant_admin = create(&access, "acme", Scopes::ALL.without(Scope::ClusterAdmin)).await;
    let cluster_admin = create(&access, "default", Scopes::ALL).await;
    for (text, tenant, expected) in [
        (&tenant_admin, None, Some("acme")),
        (&tenant_admin, Some("acme"), Some("acme")),
        (&tenant_admin, Some("other"), None),
        (&tenant_admin, Some("nobody"), None),
        (&cluster_admin, Some("other"), Some("other")),
        (&cluster_admin, Some("nobody"), None),
        (&cluster_admin, None, Some("default")),
    ] {
        let caller = ask(&access, Some(text.expose()), tenant).await;
        let shown = caller.as_ref().map(|caller| &*caller.tenant);
        assert_eq!(shown, expected.ok_or(&AuthenticateError::UnknownTenant), "{tenant:?}");
    }
}

#[tokio::test]
async fn guessing_is_limited_by_address_and_does_not_lock_out_whoever_has_a_key() {
    let (store, issuer) = world();
    let access =
        open(AccessConfig { issuers: vec![issuer_config()], ..config() }, &store, &issuer).await;
    let good = create(&access, "acme", Scopes::ALL).await;
    let token = issuer.token(soon());
    ask(&access, Some(&token), None).await.unwrap();
    let mut limited = 0;
    for attempt in 0..100 {
        let guess = format!("aop_aaaaaaaaaaaa_{attempt:052}");
        match ask(&access, Some(&guess), None).await {
            Err(AuthenticateError::TooMany { retry_after }) => {
                assert!(retry_after > Duration::ZERO);
                limited += 1;
            }
            refused => assert_eq!(refused, Err(AuthenticateError::Invalid)),
        }
    }
    assert!((70..=80).contains(&limited), "{limited}");
    ask(&access, Some(good.expose()), None).await.unwrap();
    ask(&access, Some(&token), None).await.unwrap();
}

/// All clients of a host behind a proxy have one address.
#[tokio::test]
async fn a_flood_from_an_address_does_not_keep_fresh_tokens_of_it_out() {
    let (store, issuer) = world();
    let open_it =
        || open(AccessConfig { issuers: vec![issuer_config()], ..config() }, &store, &issuer);
    let access = open_it().await;
    let flood = async |access: &Access| {
        for attempt in 0..100 {
            let _ = ask(access, Some(&format!("garbage-{attempt}")), None).await;
        }
        let last = ask(access, Some("garbage"), None).await;
        assert!(matches!(last, Err(AuthenticateError::TooMany { .. })), "{last:?}");
    };
    // Also before the keys of the issuer were had for the first time.
    flood(&access).await;
    ask(&access, Some(&issuer.token(soon())), None).await.unwrap();
    flood(&access).await;
    let several = (1..20).map(|later| issuer.token(soon() + later));
    for token in several {
        ask(&access, Some(&token), None).await.unwrap();
    }
    // What is no good is refused without a line in the log: by its signature, its key, its issuer.
    let claims = crate::testing::claims(soon());
    let forged = format!("{}AAAA", &issuer.token(soon() + 50)[..issuer.token(soon()).len() - 4]);
    let header = serde_json::json!({ "alg": "EdDSA", "kid": "another", "typ": "at+jwt" });
    let of_unknown_key = issuer.sign(&header, &claims);
    let mut elsewhere = claims.clone();
    elsewhere["iss"] = "https://elsewhere.example".into();
    let header = serde_json::json!({ "alg": "EdDSA", "kid": "ed", "typ": "at+jwt" });
    let fetches = issuer.fetches.load(Ordering::SeqCst);
    for token in [forged, of_unknown_key, issuer.sign(&header, &elsewhere)] {
        let refused = ask(&access, Some(&token), None).await;
        assert!(matches!(refused, Err(AuthenticateError::TooMany { .. })), "{refused:?}");
    }
    assert_eq!(issuer.fetches.load(Ordering::SeqCst), fetches, "nothing was fetched for them");
}

#[tokio::test]
async fn tokens_are_believed_and_remembered() {
    let (store, issuer) = world();
    let access =
        open(AccessConfig { issuers: vec![issuer_config()], ..config() }, &store, &issuer).await;
    assert!(access.authenticates());
    assert_eq!(access.issuers(), [issuer_config().issuer]);
    let token = issuer.token(soon());
    let caller = ask(&access, Some(&token), None).await.unwrap();
    assert_eq!((&*caller.tenant, caller.scopes.to_string()), ("acme", "tools:call".to_owned()));
    let presented = Presented { bearer: Some(&token), ..Presented::default() };
    assert!(matches!(access.authenticate(presented), Identified::Now(Ok(_))));
    assert_eq!(
        ask(&access, Some(&token), Some("other")).await,
        Err(AuthenticateError::UnknownTenant)
    );
    // The tenant that it speaks for goes.
    let admin = Caller::local(TenantName::default_tenant());
    access.delete_tenant(&admin, &named("acme")).await.unwrap();
    assert_eq!(ask(&access, Some(&token), None).await, Err(AuthenticateError::Invalid));
    assert_eq!(ask(&access, Some("no.token.at.all"), None).await, Err(AuthenticateError::Invalid));
}

#[tokio::test]
async fn an_issuer_that_is_away_is_no_fault_of_the_caller() {
    let (store, issuer) = world();
    let access =
        open(AccessConfig { issuers: vec![issuer_config()], ..config() }, &store, &issuer).await;
    issuer.documents.lock().unwrap().clear();
    let token = issuer.token(soon());
    assert_eq!(ask(&access, Some(&token), None).await, Err(AuthenticateError::Unavailable));
}

#[tokio::test]
async fn secrets_are_had_by_their_tenant_and_survive_a_new_key() {
    let (store, issuer) = world();
    let (tenant, name) = (named("acme"), SecretName::new("token").unwrap());
    let access = open(config(), &store, &issuer).await;
    let by = Caller::local(tenant.clone());
    access.set_secret(&by, name.clone(), Secret::new("v".to_owned())).await.unwrap();
    assert_eq!(access.get(&tenant, &name).await.unwrap().expose(), "v");
    let elsewhere = access.get(&named("other"), &name).await;
    assert_eq!(elsewhere, Err(SecretError::Missing(name.clone())));

    let keys = format!("{}\n{}", "cd".repeat(32), "ab".repeat(32));
    let rotated = AccessConfig { vault: Some(Vault::new(&keys).unwrap()), ..config() };
    open(rotated, &store, &issuer).await;
    let newest = AccessConfig { vault: Some(Vault::new(&"cd".repeat(32)).unwrap()), ..config() };
    let access = open(newest, &store, &issuer).await;
    assert_eq!(access.get(&tenant, &name).await.unwrap().expose(), "v");

    let access = open(config(), &store, &issuer).await;
    let lost = access.get(&tenant, &name).await;
    assert!(matches!(lost, Err(SecretError::Sealed(_))), "{lost:?}");
    let access = open(AccessConfig { vault: None, ..config() }, &store, &issuer).await;
    assert!(matches!(access.get(&tenant, &name).await, Err(SecretError::Sealed(_))));
}

#[tokio::test]
async fn uses_of_keys_are_written_down() {
    let (store, issuer) = world();
    let access = open(config(), &store, &issuer).await;
    let text = create(&access, "acme", Scopes::ALL).await;
    ask(&access, Some(text.expose()), None).await.unwrap();
    access.note_uses_now().await;
    let used = store.keys.lock().unwrap().values().next().unwrap().key.last_used_unix_ms;
    assert!(used.is_some());
}
