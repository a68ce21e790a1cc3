use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000;

fn zone(text: &str) -> ZoneName {
    text.parse().unwrap()
}

fn endpoint() -> Endpoint {
    Endpoint { url: "https://a.example".to_owned(), weight: 1 }
}

fn agent(name: &str) -> Agent {
    Agent {
        name: name.parse().unwrap(),
        version: 3,
        descriptor_sha256: Digest::of(b"x"),
        endpoints: vec![endpoint()],
        ttl: 300,
        iat: NOW,
        exp: NOW + 3600,
    }
}

fn apex(of: &str, keys: &[&ZoneKey]) -> Apex {
    Apex {
        zone: zone(of),
        serial: 1,
        ttl: 300,
        neg_ttl: 30,
        keys: keys.iter().map(|key| key.public().clone()).collect(),
        endpoints: vec![endpoint()],
        iat: NOW,
        exp: NOW + 3600,
    }
}

fn keys(key: &ZoneKey) -> Keys {
    [(key.public().thumbprint().clone(), key.public().clone())].into()
}

/// A JWS over anything, signed as it should be.
fn raw(header: &str, payload: &str, key: &ZoneKey) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[test]
fn a_record_is_believed_while_it_lives_and_never_for_another_zone() {
    let key = ZoneKey::fleeting().unwrap();
    let jws = sign(&agent("writer.eu.example"), &key).unwrap();
    let read = |zone: &str, now| verify::<Agent>(&jws, &zone.parse().unwrap(), &keys(&key), now);
    assert_eq!(read("eu.example", NOW).unwrap().body, agent("writer.eu.example"));
    read("eu.example", NOW - SKEW_S).unwrap();
    for now in [NOW - SKEW_S - 1, NOW + 3600, 0, u64::MAX / 2] {
        let error = read("eu.example", now).unwrap_err();
        assert!(matches!(error, RecordError::Time { .. }), "{now}");
        assert_eq!(error.to_string().contains("check the clocks"), now < NOW, "{error}");
    }
    assert!(matches!(read("us.example", NOW), Err(RecordError::Bailiwick(_))));
}

#[test]
fn an_apex_is_believed_by_any_of_its_keys_that_is_trusted_and_no_other() {
    let (old, new, rogue) =
        (ZoneKey::fleeting().unwrap(), ZoneKey::fleeting().unwrap(), ZoneKey::fleeting().unwrap());
    let body = apex("eu.example", &[&old, &new]);
    let trusts = |key: &ZoneKey| {
        let trusted = key.public().thumbprint().clone();
        move |kid: &Thumbprint| *kid == trusted
    };
    for signer in [&old, &new] {
        let jws = sign(&body, signer).unwrap();
        verify_apex(&jws, &body.zone, trusts(signer), NOW).unwrap();
    }
    // One who is not in it, and one who put himself into it.
    let jws = sign(&body, &rogue).unwrap();
    assert!(matches!(
        verify_apex(&jws, &body.zone, trusts(&rogue), NOW),
        Err(RecordError::UnknownKey { .. })
    ));
    let forged = sign(&apex("eu.example", &[&rogue, &old]), &rogue).unwrap();
    assert!(matches!(
        verify_apex(&forged, &body.zone, trusts(&old), NOW),
        Err(RecordError::UnknownKey { .. })
    ));
}

#[test]
fn nothing_but_the_one_form_is_read() {
    let key = ZoneKey::fleeting().unwrap();
    let kid = key.public().thumbprint().to_string();
    let body = serde_json::to_string(&agent("a.eu.example")).unwrap();
    let read = |jws: &str| verify::<Agent>(jws, &zone("eu.example"), &keys(&key), NOW);
    let header = |alg: &str, typ: &str, more: &str| {
        format!(r#"{{"alg":"{alg}","typ":"{typ}","kid":"{kid}"{more}}}"#)
    };
    read(&raw(&header("EdDSA", "aop-agent-1", ""), &body, &key)).unwrap();
    for (alg, typ, more) in [
        ("none", "aop-agent-1", ""),
        ("HS256", "aop-agent-1", ""),
        ("EdDSA", "aop-agent-2", ""),
        ("EdDSA", "aop-apex-1", ""),
        ("EdDSA", "JWT", ""),
        ("EdDSA", "aop-agent-1", r#","crit":["x"]"#),
        ("EdDSA", "aop-agent-1", r#","jwk":{}"#),
    ] {
        let jws = raw(&header(alg, typ, more), &body, &key);
        assert!(
            matches!(read(&jws), Err(RecordError::Malformed(_) | RecordError::Kind(..))),
            "{alg} {typ} {more}"
        );
    }
    let extra = body.replacen('{', r#"{"extra":1,"#, 1);
    assert!(read(&raw(&header("EdDSA", "aop-agent-1", ""), &extra, &key)).is_err());
    assert!(read(&"x".repeat(RECORD_MAX_BYTES + 1)).is_err());
    for junk in ["", ".", "..", "a.b", "a.b.c", "é.é.é"] {
        assert!(read(junk).is_err(), "{junk}");
    }
}

#[test]
fn a_delegation_goes_down_only() {
    let key = ZoneKey::fleeting().unwrap();
    let delegation = |child: &str| Delegation {
        zone: zone("acme.example"),
        child: zone(child),
        key_thumbprint: key.public().thumbprint().clone(),
        endpoints: vec![endpoint()],
        exports: vec![],
        ttl: 300,
        iat: NOW,
        exp: NOW + 3600,
    };
    sign(&delegation("eu.acme.example"), &key).unwrap();
    for child in ["acme.example", "example", "globex.example", "evilacme.example"] {
        let body = delegation(child);
        assert!(matches!(sign(&body, &key), Err(RecordError::Bailiwick(_))), "{child}");
        let header = format!(
            r#"{{"alg":"EdDSA","typ":"aop-delegation-1","kid":"{}"}}"#,
            key.public().thumbprint()
        );
        let jws = raw(&header, &serde_json::to_string(&body).unwrap(), &key);
        let read = verify::<Delegation>(&jws, &zone("acme.example"), &keys(&key), NOW);
        assert!(matches!(read, Err(RecordError::Bailiwick(_))), "{child}");
    }
}

#[test]
fn nobody_is_believed_for_longer_than_the_limit() {
    let key = ZoneKey::fleeting().unwrap();
    let body = Agent { exp: NOW + LIFE_MAX_S + 1, ..agent("a.eu.example") };
    let jws = sign(&body, &key).unwrap();
    assert!(matches!(
        verify::<Agent>(&jws, &zone("eu.example"), &keys(&key), NOW),
        Err(RecordError::Malformed(_))
    ));
}

#[test]
fn urls_with_users_queries_or_other_schemes_are_no_endpoints() {
    for url in ["ftp://a.example", "https://u:p@a.example", "https://a.example/?q", "/x", "a b"] {
        let endpoints = vec![Endpoint { url: url.to_owned(), weight: 1 }];
        assert!(check_endpoints(&endpoints).is_err(), "{url}");
    }
    assert!(check_endpoints(&[]).is_err());
    assert!(check_endpoints(&vec![endpoint(); ENDPOINTS_MAX + 1]).is_err());
}

proptest! {
    /// Whatever a byte of a record is changed to, it is not believed, or it says the same.
    #[test]
    fn a_changed_record_is_refused(at in 0usize..400, to in any::<u8>()) {
        let key = ZoneKey::fleeting().unwrap();
        let jws = sign(&agent("writer.eu.example"), &key).unwrap();
        let mut bytes = jws.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = to;
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(read) = verify::<Agent>(&text, &zone("eu.example"), &keys(&key), NOW)
        {
            prop_assert_eq!(text.as_str(), &*jws);
            prop_assert_eq!(read.body, agent("writer.eu.example"));
        }
    }

    #[test]
    fn any_text_is_no_record(text in ".{0,200}") {
        let key = ZoneKey::fleeting().unwrap();
        prop_assert!(verify::<Agent>(&text, &zone("eu.example"), &keys(&key), NOW).is_err());
    }
}

#[test]
fn an_operator_writes_an_endpoint_that_a_record_may_hold() {
    assert_eq!(Endpoint::new("https://a.example:8000/").unwrap().url, "https://a.example:8000");
    let long = format!("https://{}", "a".repeat(URL_MAX_BYTES));
    for bad in ["", "a.example", "ftp://a", "https://", "https://u@a", "https://a/?b", &long] {
        assert!(Endpoint::new(bad).is_err(), "{bad}");
    }
}
