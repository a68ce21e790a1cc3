//! An audit log that anybody may have written: verifying and reading it ends, and the host can go on with it.
#![no_main]

use aop_access::audit::{self, AuditConfig, AuditLog, ChainPlace};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("00000000000000000001.jsonl");
    std::fs::write(&path, bytes).expect("it can be written");
    let before = audit::verify(directory.path(), None, None).expect("it can be read");
    let mut lines = 0;
    audit::read(directory.path(), |_| lines += 1).expect("it can be read");
    assert_eq!(lines, before.lines);
    drop(AuditLog::open(directory.path(), AuditConfig::default(), None).expect("it can be continued"));
    let after = audit::verify(directory.path(), None, None).expect("it can be read");
    assert!(after.intact || !before.intact, "{before:?} {after:?}");
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(place) = text.parse::<ChainPlace>()
    {
        assert_eq!(place.to_string().parse(), Ok(place));
    }
});
