use aop_core::{Scope, Scopes, TenantName};

use super::*;

fn record(id: &KeyId, text: &Secret) -> KeyRecord {
    let key = ApiKey {
        id: id.clone(),
        tenant: TenantName::new("acme").unwrap(),
        subject: id.clone(),
        name: "test".to_owned(),
        scopes: Scopes::NONE.with(Scope::ToolsCall),
        created_unix_ms: 1,
        expires_unix_ms: Some(1_000_000),
        revoked_unix_ms: None,
        last_used_unix_ms: None,
    };
    KeyRecord { key, hash: hash(text.expose()).into() }
}

#[test]
fn a_key_is_what_it_says_it_is() {
    let (id, text) = generate();
    assert!(looks_like_one(text.expose()));
    assert_eq!(id_of(text.expose()), Some(id.as_str()));
    let (other, another) = generate();
    assert!(id != other && text != another);
}

#[test]
fn a_key_opens_until_it_expires_or_is_revoked() {
    let ((id, text), keys) = (generate(), Keys::default());
    assert_eq!(keys.find(text.expose(), 0), Err(Refused::Unknown));
    keys.put(&[record(&id, &text)]);
    let caller = keys.find(text.expose(), 999_999).unwrap().caller;
    assert_eq!((&*caller.tenant, caller.scopes.to_string()), ("acme", "tools:call".to_owned()));
    assert_eq!(caller.subject.to_string(), format!("key:{id}"));
    assert_eq!(keys.find(text.expose(), 1_000_000), Err(Refused::Expired));
    let mut revoked = record(&id, &text);
    revoked.key.revoked_unix_ms = Some(5);
    keys.put(&[revoked]);
    assert_eq!(keys.find(text.expose(), 6), Err(Refused::Revoked));
}

#[test]
fn a_wrong_secret_opens_nothing() {
    let ((id, text), keys) = (generate(), Keys::default());
    keys.put(&[record(&id, &text)]);
    let text = text.expose();
    let last = if text.ends_with('a') { "b" } else { "a" };
    let wrong = format!("{}{last}", &text[..text.len() - 1]);
    assert_eq!(keys.find(&wrong, 0), Err(Refused::Wrong));
    let others = ["aop_", "aop__", "aop_x_y", &text[1..], &text[..text.len() - 1], "aop_\u{e9}"];
    for other in others {
        assert_eq!(keys.find(other, 0), Err(Refused::Malformed), "{other}");
    }
    assert_eq!(keys.find(&format!("{text} "), 0), Err(Refused::Malformed));
    assert_eq!(keys.find(&text.to_uppercase().replace("AOP", "aop"), 0), Err(Refused::Unknown));
}

#[test]
fn uses_are_noted_coarsely_and_once() {
    let ((id, text), keys) = (generate(), Keys::default());
    keys.put(&[record(&id, &text)]);
    for now in [100_000, 100_001, 159_999] {
        keys.find(text.expose(), now).unwrap();
    }
    let used = [(id.clone(), 100_000)];
    assert_eq!(keys.unstored_uses(), used);
    assert_eq!(keys.unstored_uses(), used, "until they are");
    keys.stored_uses(&used);
    assert_eq!(keys.unstored_uses(), []);
    keys.find(text.expose(), 160_000).unwrap();
    assert_eq!(keys.of("acme")[0].last_used_unix_ms, Some(160_000));
    // A change of the key keeps what is known of its use.
    keys.put(&[record(&id, &text)]);
    assert_eq!(keys.of("acme")[0].last_used_unix_ms, Some(160_000));
    assert!(keys.of("other").is_empty());
}
