//! What the host allows at most, and what it writes down of it.

use aop_core::settings::keys::{Bounds, Key};

use super::Config;
use super::keys::{GIB, KIB, wide};

pub(super) static AUDIT_KEYS: &[Key<Config>] = &[
    Key::size(
        "file_max",
        "A file of the audit log that would be larger is continued in another.",
        Bounds::new(64 * KIB, GIB, "a file must hold some lines, and be read by people's tools"),
        |config| config.audit.file_max_bytes,
        |config, bytes| config.audit.file_max_bytes = bytes,
    ),
    Key::count(
        "files_max",
        "Files of the audit log that are kept; the oldest go.",
        Bounds::new(2, 10_000, "one is written, and one says what was before"),
        |config| config.audit.files_max as u64,
        |config, count| config.audit.files_max = wide(count),
    ),
];
