use aop_core::Settings;
use aop_core::policy::{DirectoryGrant, DirectoryLimits};

use super::opened::tests::Silent;
use super::*;
use crate::guest::Grants;

/// The state of an instance that may write into a directory, which has room for as many files as it has open.
pub(super) fn state(directory: &Path) -> State {
    let mut settings = Settings::default();
    settings.policy.directories = vec![DirectoryGrant {
        host: directory.to_owned(),
        guest: "/work".to_owned(),
        writable: true,
        limits: DirectoryLimits { size_max_bytes: 1 << 20, files_max: 1000 },
    }];
    let environment = std::collections::BTreeMap::new();
    let grants = Arc::new(Grants::new(Arc::new(settings), &environment, &Rooms::default()));
    let call = (&desk::tests::context(), None);
    State::new(&grants, Arc::new(Silent), Arc::default(), call).unwrap()
}

#[test]
fn links_lead_down_only() {
    for target in ["file", "a/b", "./a", "a/./b", "..a", "a..", "a/...", ""] {
        assert!(leads_down(target.as_ref()), "{target}");
    }
    for target in ["..", "../a", "a/..", "a/../../b", "./..", "/", "/etc/passwd", "//a"] {
        assert!(!leads_down(target.as_ref()), "{target}");
    }
}
