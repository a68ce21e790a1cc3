use super::*;

/// RFC 8037, appendix A: its key, the key's thumbprint, and a signature.
#[test]
fn thumbprints_and_signatures_are_those_of_the_rfc() {
    let public: PublicKey = serde_json::from_str(
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    )
    .unwrap();
    assert_eq!(public.thumbprint().to_string(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = URL_SAFE_NO_PAD
        .decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
        .unwrap();
    assert!(public.verifies(signed, &signature));
    assert!(!public.verifies(b"something else", &signature));
    assert!(!public.verifies(signed, &signature[1..]));
}

#[test]
fn a_key_is_a_file_for_its_owner_and_none_is_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    assert!(read(&keys).unwrap().is_empty());
    let made = generate(&keys, 7).unwrap();
    assert_eq!(fs::metadata(&made.path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(generate(&keys, 7).is_err(), "the file exists");
    generate(&keys, 8).unwrap();
    let read_back = read(&keys).unwrap();
    assert_eq!(read_back.len(), 2);
    assert_eq!(read_back[0].key.public(), made.key.public(), "the oldest is the first");
}

#[test]
fn what_others_can_read_or_what_is_no_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let made = generate(directory.path(), 1).unwrap();
    fs::set_permissions(&made.path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(read(directory.path()), Err(KeyError::Exposed(_))));
    fs::set_permissions(&made.path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&made.path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        .unwrap();
    assert!(matches!(read(directory.path()), Err(KeyError::Malformed(_))));
}

#[test]
fn the_number_of_keys_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..KEYS_MAX as u64 {
        generate(directory.path(), number).unwrap();
    }
    assert!(matches!(generate(directory.path(), 99), Err(KeyError::TooMany)));
}
