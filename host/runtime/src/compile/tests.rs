//! Workers that misbehave, as shell scripts.

use std::time::Duration;

use aop_core::Digest;
use aop_core::quota::Payer;

use super::*;
use crate::engine::Model;

/// Runs a worker that is this script.
async fn compile(script: &str) -> Result<(), PrepareError> {
    let directory = tempfile::tempdir().unwrap();
    let cache =
        Cache::open(directory.path(), u64::MAX, &[Model::Sequential.compiling().unwrap()]).unwrap();
    let program = WorkerProgram {
        program: PathBuf::from("/bin/sh"),
        arguments: vec!["-c".to_owned(), script.to_owned()],
    };
    // Far more than any of them takes, far less than anybody would wait.
    let limits = CompileLimits { wall_max: Duration::from_secs(60), ..CompileLimits::default() };
    let path = directory.path().join("component.wasm");
    let artifact = Artifact { path: &path, digest: Digest::of(b"") };
    let party = Payer::nobody().party();
    Compiler::new(cache, program, limits).compile(artifact, party).await.map(|_| ())
}

#[tokio::test]
async fn a_worker_that_complains_much_is_heard_to_its_end() {
    let script =
        r#"yes complaint | head -c 1000000 >&2; echo '{"outcome":"refused","reason":"no"}'"#;
    let refused = compile(script).await.unwrap_err();
    assert!(matches!(&refused, PrepareError::NotAComponent(reason) if reason == "no"), "{refused}");
}

#[tokio::test]
async fn the_last_words_are_kept() {
    let mut said = vec![b'.'; 3 * STDERR_MAX_BYTES];
    said.extend_from_slice(b"out of memory");
    let kept = last_words(said.as_slice()).await.unwrap();
    assert_eq!(kept.len(), STDERR_MAX_BYTES);
    assert!(kept.ends_with(b"..out of memory"));
    assert_eq!(last_words(&b"little"[..]).await.unwrap(), b"little");
}

#[tokio::test]
async fn a_worker_whose_answer_has_no_end_is_stopped() {
    let failed = compile("yes").await.unwrap_err();
    assert!(
        matches!(&failed, PrepareError::Internal(reason) if reason.contains("answered more than")),
        "{failed}"
    );
}
