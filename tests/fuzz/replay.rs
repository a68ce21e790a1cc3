//! What was found stays found: the committed inputs of a target, run once as an ordinary test.

use std::path::Path;

/// Runs every input of a target's corpus. The last path that is printed is of the input that fails.
pub(crate) fn replay(target: &str, run: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        run(&std::fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count > 0, "{} is empty", corpus.display());
}

/// The same for a target that takes text; like the fuzzer, it leaves out what is none.
#[allow(dead_code, reason = "each crate uses what its targets take")]
pub(crate) fn replay_text(target: &str, run: impl Fn(&str)) {
    replay(target, |input| {
        if let Ok(text) = std::str::from_utf8(input) {
            run(text);
        }
    });
}
