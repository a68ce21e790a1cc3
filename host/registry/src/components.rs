//! Component bytes on disk, named by what they hash to.
//!
//! An agent's file may change or go at any time; a rollback and an agent of the API need the bytes
//! all the same. A component is written beside its place, flushed and renamed into it, so a file
//! with a digest for a name is always whole. What no stored revision refers to is collected.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aop_core::{AgentName, Digest, Store, TenantName};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use uuid::Uuid;

use crate::RegistryError;

const SUFFIX: &str = ".wasm";
const UNFINISHED_SUFFIX: &str = ".tmp";

/// A stored component is compared piece by piece, so that a second copy is never in memory.
const COMPARED_BYTES: usize = 64 << 10;

/// The directory of components.
pub(crate) struct Components {
    directory: PathBuf,
    // Read by every load from before its bytes are written until the store refers to them, written
    // by collection: what a load is about to refer to cannot be collected under it.
    loading: Arc<RwLock<()>>,
    /// What tenants uploaded since the last collection, in bytes: it may be here although no revision refers to it.
    uploads: Mutex<HashMap<TenantName, HashMap<Digest, Upload>>>,
}

/// A component that was uploaded.
#[derive(Clone, Default)]
struct Upload {
    bytes: u64,
    /// For these agents.
    agents: HashSet<AgentName>,
}

/// Keeps collection away while a load is under way.
pub(crate) struct Kept {
    _loading: OwnedRwLockReadGuard<()>,
}

impl Components {
    /// Opens `components/` in the data directory and clears what a crash left unfinished there.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, RegistryError> {
        let directory = data_dir.join("components");
        let clear = || {
            fs::create_dir_all(&directory)?;
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                if path.to_string_lossy().ends_with(UNFINISHED_SUFFIX) {
                    fs::remove_file(&path)?;
                }
            }
            Ok(())
        };
        clear().map_err(|error: io::Error| RegistryError::io(&directory, &error))?;
        Ok(Self { directory, loading: Arc::default(), uploads: Mutex::default() })
    }

    /// Where a component is, if it is there.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{}{SUFFIX}", digest.hex()))
    }

    /// Held by a load for as long as the store does not refer to its component.
    pub(crate) async fn keep(&self) -> Kept {
        Kept { _loading: Arc::clone(&self.loading).read_owned().await }
    }

    /// Stores a component, durably; a damaged file in its place is replaced. Blocks on the disk.
    pub(crate) fn put(&self, bytes: &[u8], digest: &Digest) -> Result<(), RegistryError> {
        let path = self.path(digest);
        // Looking costs a read; writing what is there already would cost a flush at every start.
        if holds(&path, bytes) {
            return Ok(());
        }
        let unfinished = self.directory.join(format!("{}{UNFINISHED_SUFFIX}", Uuid::now_v7()));
        let write = || {
            // Where others may look into the directory, they still see no component.
            let mut options = File::options();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            // The rename itself is durable only once the directory is.
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|error| {
            // It may not even exist; the next start clears what stays.
            let _ = fs::remove_file(&unfinished);
            RegistryError::io(&path, &error)
        })
    }

    /// Checks that a stored component is what its name says. Blocks on the disk.
    pub(crate) fn verify(&self, digest: &Digest) -> Result<(), RegistryError> {
        self.read(digest).map(drop)
    }

    /// The bytes of a stored component, if they are what its name says. Blocks on the disk.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        let path = self.path(digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RegistryError::Host(format!(
                    "component {digest} is no longer in the data directory: load it again"
                )));
            }
            Err(error) => return Err(RegistryError::io(&path, &error)),
        };
        if Digest::of(&bytes) == *digest {
            return Ok(bytes);
        }
        Err(RegistryError::Host(format!(
            "{} is damaged: remove it and load the component again",
            path.display()
        )))
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<TenantName, HashMap<Digest, Upload>>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a component as the tenant's, from before it is kept until a collection finds whether anything refers to it.
    /// Whether it was not counted for the agent yet.
    pub(crate) fn count_upload(
        &self,
        (tenant, agent): (&TenantName, &AgentName),
        digest: Digest,
        bytes: u64,
    ) -> bool {
        let mut uploads = self.uploads();
        let upload = uploads.entry(tenant.clone()).or_default().entry(digest).or_default();
        upload.bytes = bytes;
        upload.agents.insert(agent.clone())
    }

    /// Counts it no more: it was not kept.
    pub(crate) fn discount_upload(
        &self,
        (tenant, agent): (&TenantName, &AgentName),
        digest: &Digest,
    ) {
        let mut uploads = self.uploads();
        if let Some(of_tenant) = uploads.get_mut(tenant) {
            if let Some(upload) = of_tenant.get_mut(digest) {
                upload.agents.remove(agent);
            }
            of_tenant.retain(|_, upload| !upload.agents.is_empty());
            if of_tenant.is_empty() {
                uploads.remove(tenant);
            }
        }
    }

    /// What a tenant's uploads take: those that the store refers to, and those that it may refer to yet, without those of the
    /// agent that it will not refer to any more. Blocks on the disk.
    pub(crate) fn uploaded_bytes(
        &self,
        (tenant, agent): (&TenantName, &AgentName),
        stored: &[Digest],
        forgotten: &[Digest],
    ) -> u64 {
        let mut counted = self.uploads().get(tenant).cloned().unwrap_or_default();
        // Another agent that has the same may be about to be loaded with it.
        counted.retain(|digest, upload| {
            !forgotten.contains(digest) || upload.agents.iter().any(|other| other != agent)
        });
        for digest in stored {
            counted.entry(*digest).or_insert_with(|| {
                // One that is lost takes nothing.
                let bytes = fs::metadata(self.path(digest)).map_or(0, |metadata| metadata.len());
                Upload { bytes, ..Upload::default() }
            });
        }
        counted.values().map(|upload| upload.bytes).sum()
    }

    /// Removes what no revision in the store refers to, and says how many that were; none when a
    /// load is under way, since what it will refer to is not known yet.
    pub(crate) async fn collect(
        self: &Arc<Self>,
        store: &dyn Store,
    ) -> Result<Option<usize>, RegistryError> {
        let Ok(guard) = Arc::clone(&self.loading).try_write_owned() else { return Ok(None) };
        let referred: HashSet<PathBuf> =
            store.digests().await?.iter().map(|digest| self.path(digest)).collect();
        let components = Arc::clone(self);
        let sweep = move || {
            let _guard = guard;
            let mut removed = 0;
            for entry in fs::read_dir(&components.directory)? {
                let path = entry?.path();
                let ours = path.to_string_lossy().ends_with(SUFFIX);
                if ours && !referred.contains(&path) {
                    fs::remove_file(&path)?;
                    removed += 1;
                }
            }
            // While no upload is under way: what is left, the store refers to.
            components.uploads().clear();
            Ok(removed)
        };
        let swept = tokio::task::spawn_blocking(sweep).await;
        let swept = swept.map_err(|error| RegistryError::Host(error.to_string()))?;
        swept.map(Some).map_err(|error: io::Error| RegistryError::io(&self.directory, &error))
    }
}

/// Whether a file holds exactly these bytes. One that cannot be read does not.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let compare = || -> io::Result<bool> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() != bytes.len() as u64 {
            return Ok(false);
        }
        let mut piece = vec![0; COMPARED_BYTES];
        for expected in bytes.chunks(COMPARED_BYTES) {
            let found = &mut piece[..expected.len()];
            file.read_exact(found)?;
            if found != expected {
                return Ok(false);
            }
        }
        Ok(true)
    };
    compare().unwrap_or(false)
}

#[cfg(test)]
mod tests;
