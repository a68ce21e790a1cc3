use std::sync::atomic::Ordering;

use aop_core::TenantName;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::testing::{AUDIENCE, Held, ISSUER, Issuer as Fake, SlowIssuer, claims, issuer_config};

/// Seconds since the epoch; what the tests take for now.
const NOW: u64 = 1_000_000;
const NOW_MS: u64 = NOW * 1000;

fn tokens(config: IssuerConfig, issuer: &Arc<Fake>) -> Tokens {
    let fetch: Arc<dyn Fetch> = issuer.clone();
    Tokens::new(vec![config], &fetch)
}

fn ed() -> serde_json::Value {
    json!({ "alg": "EdDSA", "kid": "ed" })
}

#[tokio::test]
async fn a_token_speaks_for_its_subject_tenant_and_scopes() {
    let issuer = Fake::new();
    let tokens = tokens(issuer_config(), &issuer);
    let token = issuer.token(NOW + 60);
    assert!(tokens.known(&token, NOW_MS).is_none());
    let known = tokens.verify(&token, Repute::Good, NOW_MS).await.unwrap();
    let caller = known.caller.clone();
    assert_eq!(caller.tenant, TenantName::new("acme").unwrap());
    assert_eq!(caller.subject.to_string(), format!("token:{ISSUER}#ada"));
    // Whoever can ask an issuer for any scope must not get the one over all tenants.
    assert_eq!(caller.scopes.to_string(), "tools:call");
    assert_eq!(tokens.known(&token, NOW_MS), Some(known));
    let es = issuer.sign(&json!({ "alg": "ES256", "kid": "ec" }), &claims(NOW + 60));
    tokens.verify(&es, Repute::Good, NOW_MS).await.unwrap();
}

#[tokio::test]
async fn claims_are_mapped_as_the_operator_says() {
    let issuer = Fake::new();
    let admin = Scopes::NONE.with(Scope::ClusterAdmin).with(Scope::ToolsList);
    let config = IssuerConfig {
        tenant: TenantRule::Fixed(TenantName::default_tenant()),
        scope_claim: "realm.roles".to_owned(),
        scopes: [("ops team".to_owned(), admin)].into(),
        grant: Scopes::NONE.with(Scope::ToolsCall),
        ..issuer_config()
    };
    let tokens = tokens(config, &issuer);
    let mut claims = claims(NOW + 60);
    claims["realm"] = json!({ "roles": ["ops team", "tenant:admin"] });
    let caller =
        tokens.verify(&issuer.sign(&ed(), &claims), Repute::Good, NOW_MS).await.unwrap().caller;
    assert_eq!(&*caller.tenant, "default");
    assert_eq!(caller.scopes.to_string(), "tools:call tools:list cluster:admin");
}

#[tokio::test]
async fn times_have_a_leeway_and_no_more() {
    let issuer = Fake::new();
    let tokens = tokens(issuer_config(), &issuer);
    let leeway = LEEWAY.as_secs();
    let verify = async |exp: serde_json::Value, nbf: serde_json::Value| {
        let mut claims = claims(0);
        claims["exp"] = exp;
        if !nbf.is_null() {
            claims["nbf"] = nbf;
        }
        tokens.verify(&issuer.sign(&ed(), &claims), Repute::Good, NOW_MS).await.map(|_| ())
    };
    let null = serde_json::Value::Null;
    assert_eq!(verify(json!(NOW - leeway + 1), null.clone()).await, Ok(()));
    assert_eq!(verify(json!(NOW - leeway), null.clone()).await, Err(TokenError::Expired));
    assert_eq!(verify(json!(NOW as f64 + 0.5), null.clone()).await, Ok(()));
    assert_eq!(verify(json!(NOW + 60), json!(NOW + leeway)).await, Ok(()));
    assert_eq!(verify(json!(NOW + 600), json!(NOW + leeway + 1)).await, Err(TokenError::Early));
    for exp in [json!("tomorrow"), null.clone(), json!([NOW + 60]), json!(-1)] {
        assert!(matches!(verify(exp, null.clone()).await, Err(TokenError::Invalid(_))));
    }
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_expiry() {
    let issuer = Fake::new();
    let tokens = tokens(issuer_config(), &issuer);
    let token = issuer.token(NOW + 10);
    tokens.verify(&token, Repute::Good, NOW_MS).await.unwrap();
    let end = (NOW + 10 + LEEWAY.as_secs()) * 1000;
    assert!(tokens.known(&token, end - 1).is_some());
    assert!(tokens.known(&token, end).is_none());
    assert_eq!(tokens.verify(&token, Repute::Good, end).await, Err(TokenError::Expired));
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let issuer = Fake::new();
    let stranger = Fake::new();
    let tokens = tokens(issuer_config(), &issuer);
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let good = issuer.token(NOW + 60);
    let parts: Vec<_> = good.split('.').collect();
    // HS256 with the public key as its secret: the classic confusion.
    let confused = {
        let message = format!(
            "{}.{}",
            encode(r#"{"alg":"HS256","kid":"ed"}"#),
            encode(&claims(NOW + 60).to_string())
        );
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &issuer.public_bytes());
        let signed = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes()));
        format!("{message}.{signed}")
    };
    let embedded = json!({ "alg": "EdDSA", "kid": "mine", "jwk": stranger.ed_jwk("mine"),
                           "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x5u" });
    let crit = json!({ "alg": "EdDSA", "kid": "ed", "crit": ["exp"] });
    let with_header = |header: &serde_json::Value| issuer.sign(header, &claims(NOW + 60));
    let cases = [
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("no part for it", format!("{}.{}", parts[0], parts[1])),
        ("alg none", format!("{}.{}.", encode(r#"{"alg":"none"}"#), parts[1])),
        (
            "alg NONE",
            format!("{}.{}.{}", encode(r#"{"alg":"NONE","kid":"ed"}"#), parts[1], parts[2]),
        ),
        ("HS256 with the public key", confused),
        ("another algorithm's key", with_header(&json!({ "alg": "ES256", "kid": "ed" }))),
        ("another key's algorithm", with_header(&json!({ "alg": "EdDSA", "kid": "ec" }))),
        ("a stranger's key", stranger.token(NOW + 60)),
        ("a key that it brings along", stranger.sign(&embedded, &claims(NOW + 60))),
        ("kid that is a path", with_header(&json!({ "alg": "EdDSA", "kid": "../../etc/passwd" }))),
        ("kid that is SQL", with_header(&json!({ "alg": "EdDSA", "kid": "ed' OR '1'='1" }))),
        ("kid that is long", with_header(&json!({ "alg": "EdDSA", "kid": "e".repeat(1000) }))),
        ("kid that is no text", with_header(&json!({ "alg": "EdDSA", "kid": 7 }))),
        ("an extension that must be understood", with_header(&crit)),
        (
            "a token for another purpose",
            with_header(&json!({ "alg": "EdDSA", "kid": "ed", "typ": "logout+jwt" })),
        ),
        (
            "other claims",
            format!("{}.{}.{}", parts[0], encode(&claims(NOW + 600).to_string()), parts[2]),
        ),
        ("four parts", format!("{good}.{}", parts[2])),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("too much", format!("{good}{}", "A".repeat(TOKEN_MAX_BYTES))),
    ];
    for (name, token) in cases {
        let refused = tokens.verify(&token, Repute::Good, NOW_MS).await;
        assert!(refused.is_err(), "{name}: {refused:?}");
        assert!(tokens.known(&token, NOW_MS).is_none(), "{name}");
    }
    tokens.verify(&good, Repute::Good, NOW_MS).await.unwrap();
}

#[tokio::test]
async fn tokens_for_others_are_refused() {
    let issuer = Fake::new();
    let tokens = tokens(issuer_config(), &issuer);
    let cases = [
        ("iss", json!("https://issuer.example"), TokenError::UnknownIssuer),
        ("iss", json!(format!("{ISSUER}/")), TokenError::UnknownIssuer),
        ("aud", json!("https://aop.example"), TokenError::Invalid("InvalidAudience".to_owned())),
        ("aud", json!([]), TokenError::Invalid("InvalidAudience".to_owned())),
        ("sub", json!(""), TokenError::Invalid("its subject is empty or too long".to_owned())),
        ("org", json!({ "tenant": "No Tenant" }), TokenError::NoTenant),
        ("org", json!(7), TokenError::NoTenant),
    ];
    for (claim, value, expected) in cases {
        let mut claims = claims(NOW + 60);
        claims[claim] = value.clone();
        let refused = tokens.verify(&issuer.sign(&ed(), &claims), Repute::Good, NOW_MS).await;
        assert_eq!(refused, Err(expected), "{claim} {value}");
    }
    for missing in ["aud", "sub", "exp", "iss"] {
        let mut claims = claims(NOW + 60);
        claims.as_object_mut().unwrap().remove(missing);
        assert!(
            tokens.verify(&issuer.sign(&ed(), &claims), Repute::Good, NOW_MS).await.is_err(),
            "{missing}"
        );
    }
    let mut several = claims(NOW + 60);
    several["aud"] = json!(["someone", AUDIENCE]);
    tokens.verify(&issuer.sign(&ed(), &several), Repute::Good, NOW_MS).await.unwrap();
}

#[tokio::test]
async fn an_algorithm_that_is_not_allowed_is_refused() {
    let issuer = Fake::new();
    let config = IssuerConfig { algorithms: vec!["ES256".to_owned()], ..issuer_config() };
    let tokens = tokens(config, &issuer);
    assert_eq!(
        tokens.verify(&issuer.token(NOW + 60), Repute::Good, NOW_MS).await,
        Err(TokenError::NotAllowed)
    );
    let config = IssuerConfig { algorithms: vec!["HS256".to_owned()], ..issuer_config() };
    let tokens = self::tokens(config, &issuer);
    assert_eq!(
        tokens.verify(&issuer.token(NOW + 60), Repute::Good, NOW_MS).await,
        Err(TokenError::NotAllowed)
    );
}

#[tokio::test]
async fn keys_that_are_rotated_in_are_fetched_and_a_flood_of_unknown_ones_is_not() {
    let issuer = Fake::new();
    let tokens = tokens(issuer_config(), &issuer);
    let token = issuer.token(NOW + 600);
    tokens.verify(&token, Repute::Good, NOW_MS).await.unwrap();
    let fetches = || issuer.fetches.load(Ordering::SeqCst);
    assert_eq!(fetches(), 2, "metadata and keys");
    let next = issuer.sign(&json!({ "alg": "EdDSA", "kid": "next" }), &claims(NOW + 600));
    for _ in 0..100 {
        assert_eq!(tokens.verify(&next, Repute::Good, NOW_MS).await, Err(TokenError::UnknownKey));
    }
    assert_eq!(fetches(), 2, "it was fetched just before");
    issuer.publish("jwks", &json!({ "keys": [issuer.ed_jwk("next")] }));
    let later = NOW_MS + 30_000;
    tokens.verify(&next, Repute::Good, later).await.unwrap();
    assert_eq!(fetches(), 4);
    // The old key is gone, and with it what it signed.
    assert!(tokens.known(&token, later).is_none());
    assert_eq!(tokens.verify(&token, Repute::Good, later).await, Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn keys_are_used_for_a_while_when_their_issuer_is_away_and_then_not() {
    let issuer = Fake::new();
    let tokens = tokens(issuer_config(), &issuer);
    let token = issuer.token(NOW + 1_000_000);
    tokens.verify(&token, Repute::Good, NOW_MS).await.unwrap();
    issuer.documents.lock().unwrap().clear();
    tokens.verify(&token, Repute::Good, NOW_MS + 30 * 60_000).await.unwrap();
    let refused = tokens.verify(&token, Repute::Good, NOW_MS + 60 * 60_000).await;
    assert!(matches!(refused, Err(TokenError::Unavailable(_))), "{refused:?}");
}

#[tokio::test]
async fn who_goes_away_keeps_no_keys_from_the_others() {
    let (issuer, held) = (Fake::new(), Held::new());
    let slow = SlowIssuer { issuer: issuer.clone(), held: held.clone() };
    let fetch: Arc<dyn Fetch> = Arc::new(slow);
    let tokens = Tokens::new(vec![issuer_config()], &fetch);
    let token = issuer.token(NOW + 60);
    tokio::select! {
        _ = tokens.verify(&token, Repute::Good, NOW_MS) => unreachable!("its keys are not there yet"),
        () = held.began.notified() => {}
    }
    held.go.add_permits(2);
    tokens.verify(&token, Repute::Good, NOW_MS).await.unwrap();
    assert_eq!(issuer.fetches.load(Ordering::SeqCst), 2, "one fetch for both");
}

#[tokio::test]
async fn a_token_is_remembered_as_long_as_its_issuers_keys_are_fresh() {
    let issuer = Fake::new();
    let tokens = tokens(issuer_config(), &issuer);
    let token = issuer.token(NOW + 1_000_000);
    tokens.verify(&token, Repute::Good, NOW_MS).await.unwrap();
    let old = NOW_MS + 10 * 60_000;
    assert!(tokens.known(&token, old - 1).is_some());
    // The key that signed it was withdrawn; only asking again can tell.
    issuer.publish("jwks", &json!({ "keys": [issuer.ed_jwk("next")] }));
    assert!(tokens.known(&token, old).is_none());
    assert_eq!(tokens.verify(&token, Repute::Good, old).await, Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn documents_that_are_not_what_they_should_be_are_refused() {
    let metadata = format!("{ISSUER}/.well-known/openid-configuration");
    for (url, document) in [
        (
            metadata.as_str(),
            json!({ "issuer": "https://evil.example", "jwks_uri": "https://i/jwks" }),
        ),
        (&metadata, json!({ "issuer": ISSUER, "jwks_uri": "http://issuer.example/jwks" })),
        (&metadata, json!({ "issuer": ISSUER, "jwks_uri": "file:///etc/passwd" })),
        (&metadata, json!([])),
        ("jwks", json!({ "keys": "none" })),
        ("jwks", json!({ "keys": [], "padding": "x".repeat(300 << 10) })),
    ] {
        let issuer = Fake::new();
        issuer.publish(url, &document);
        let tokens = tokens(issuer_config(), &issuer);
        let refused = tokens.verify(&issuer.token(NOW + 60), Repute::Good, NOW_MS).await;
        assert!(matches!(refused, Err(TokenError::Unavailable(_))), "{document}: {refused:?}");
    }
}

#[tokio::test]
async fn a_key_that_cannot_check_signatures_does_not_hide_the_others() {
    let issuer = Fake::new();
    let mut for_encryption = issuer.ed_jwk("ed");
    for_encryption["use"] = json!("enc");
    let shared = json!({ "kty": "oct", "kid": "ed", "k": URL_SAFE_NO_PAD.encode([1; 32]) });
    let odd = json!({ "kty": "odd", "kid": "ed" });
    issuer.publish("jwks", &json!({ "keys": [odd, shared, for_encryption, issuer.ed_jwk("ed")] }));
    tokens(issuer_config(), &issuer)
        .verify(&issuer.token(NOW + 60), Repute::Good, NOW_MS)
        .await
        .unwrap();
    let unnamed = issuer.sign(&json!({ "alg": "EdDSA" }), &claims(NOW + 60));
    tokens(issuer_config(), &issuer).verify(&unnamed, Repute::Good, NOW_MS).await.unwrap();
    issuer.publish("jwks", &json!({ "keys": [issuer.ed_jwk("a"), issuer.ed_jwk("b")] }));
    let doubt = tokens(issuer_config(), &issuer).verify(&unnamed, Repute::Good, NOW_MS).await;
    assert_eq!(doubt, Err(TokenError::UnknownKey));
}
