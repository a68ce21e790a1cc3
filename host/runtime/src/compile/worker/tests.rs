use super::*;

#[test]
fn bytes_that_do_not_have_their_digest_are_not_compiled() {
    let directory = tempfile::tempdir().unwrap();
    let request = Request {
        component: directory.path().join("component.wasm"),
        digest: Digest::of(b"what was asked for"),
        output: directory.path().join("code"),
        cpu_max_seconds: 1,
        memory_max_bytes: 1,
        component_max_bytes: 100,
        code_max_bytes: 1,
    };
    // A component in itself: the digest is all that is wrong with it.
    std::fs::write(&request.component, wat::parse_str("(component)").unwrap()).unwrap();
    let Outcome::Failed { reason } = compile(&request) else { panic!("it was compiled") };
    assert!(reason.contains("it is damaged"), "{reason}");
    assert!(!request.output.exists());
}
