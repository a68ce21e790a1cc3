//! That tenants and secrets were deleted, remembered so that the other nodes of a zone learn of it, and that what has the
//! same name later is later by the clock. A host that is in no zone remembers it until it ends.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use aop_core::{SecretName, TenantName};
use serde::{Deserialize, Serialize};

/// How long: a node that was away for longer brings back what was deleted meanwhile. 30 days, in milliseconds.
const KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// How many; beyond, the oldest are forgotten.
const DEPARTED_MAX: usize = 10_000;

/// A tenant, or a secret of it, was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Departed {
    pub(crate) tenant: TenantName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<SecretName>,
    pub(crate) at_unix_ms: u64,
}

type Which = (TenantName, Option<SecretName>);

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Departures {
    file: OnceLock<PathBuf>,
    gone: Mutex<BTreeMap<Which, u64>>,
}

impl Departures {
    /// Reads a file, and writes it from now on. The other nodes have what a damaged one had.
    pub(crate) fn remember_in(&self, file: PathBuf) {
        let read = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice::<Vec<Departed>>(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let read = read.unwrap_or_else(|error| {
            tracing::warn!(%error, file = %file.display(), "which tenants and secrets were deleted cannot be read: the other nodes know");
            Vec::new()
        });
        let mut gone = self.lock();
        for departed in read {
            let at = gone.entry((departed.tenant, departed.secret)).or_default();
            *at = departed.at_unix_ms.max(*at);
        }
        // Only the first one counts.
        let _ = self.file.set(file);
    }

    /// Notes deletions, in a zone durably. Of two of the same, the later holds.
    pub(crate) fn note(&self, departed: &[Departed]) -> io::Result<()> {
        let mut gone = self.lock();
        let mut next = gone.clone();
        for departed in departed {
            let which = (departed.tenant.clone(), departed.secret.clone());
            let at = next.entry(which).or_default();
            *at = departed.at_unix_ms.max(*at);
        }
        while next.len() > DEPARTED_MAX {
            let Some(oldest) =
                next.iter().min_by_key(|(_, at)| **at).map(|(which, _)| which.clone())
            else {
                break;
            };
            next.remove(&oldest);
        }
        if let Some(file) = self.file.get() {
            write(file, &listed(&next))?;
        }
        *gone = next;
        Ok(())
    }

    /// Whether there are other nodes that could bring back what is forgotten here.
    pub(crate) fn are_shared(&self) -> bool {
        self.file.get().is_some()
    }

    /// What of another node's deletions is new here.
    pub(crate) fn news(&self, theirs: &[Departed], now_unix_ms: u64) -> Vec<Departed> {
        let gone = self.lock();
        let is_new = |departed: &&Departed| {
            let which = (departed.tenant.clone(), departed.secret.clone());
            departed.at_unix_ms.saturating_add(KEPT_MS) > now_unix_ms
                && gone.get(&which).is_none_or(|at| *at < departed.at_unix_ms)
        };
        theirs.iter().filter(is_new).cloned().collect()
    }

    /// When something was deleted last, in milliseconds since the Unix epoch.
    pub(crate) fn at(&self, tenant: &TenantName, secret: Option<&SecretName>) -> Option<u64> {
        self.lock().get(&(tenant.clone(), secret.cloned())).copied()
    }

    /// All that are remembered. Forgets those that are old.
    pub(crate) fn all(&self, now_unix_ms: u64) -> Vec<Departed> {
        let mut gone = self.lock();
        gone.retain(|_, at| at.saturating_add(KEPT_MS) > now_unix_ms);
        listed(&gone)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Which, u64>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listed(gone: &BTreeMap<Which, u64>) -> Vec<Departed> {
    gone.iter()
        .map(|((tenant, secret), at)| Departed {
            tenant: tenant.clone(),
            secret: secret.clone(),
            at_unix_ms: *at,
        })
        .collect()
}

/// Beside its place, then renamed into it: a crash leaves the old or the new one. For the host's own user only: names of
/// tenants and secrets are nobody else's business.
fn write(file: &Path, departed: &[Departed]) -> io::Result<()> {
    let beside = file.with_extension("json.new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut written = options.open(&beside)?;
    written.write_all(&serde_json::to_vec(departed)?)?;
    written.sync_all()?;
    std::fs::rename(&beside, file)?;
    std::fs::File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn nobody_else_reads_what_was_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("departed.json");
        // What a crash left, and what an earlier version wrote.
        for path in [&file, &file.with_extension("json.new")] {
            std::fs::write(path, "[]").unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        let departures = Departures::default();
        departures.remember_in(file.clone());
        let tenant = TenantName::new("acme").unwrap();
        departures.note(&[Departed { tenant, secret: None, at_unix_ms: 1 }]).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
