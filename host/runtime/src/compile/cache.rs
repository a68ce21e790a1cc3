//! Compiled components on disk, by digest and engine version.
//!
//! Mapping compiled code is mapping machine code, so the cache must not take any from elsewhere: every
//! entry is sealed with a keyed BLAKE3 hash over its digest, its interface and its code, under a key
//! that only this data directory has (mode 0600). A file that somebody else put there, that was
//! copied from another host, or that a disk damaged has no valid seal, is ignored and compiled again.
//! Someone who can read the key can already act as the host's user; that is outside what it guards.
//!
//! Its size is bounded by [`sweep`], which forgets what was unused for longest.

mod sweep;
#[cfg(test)]
mod tests;

use std::hash::{Hash, Hasher};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use aop_core::Digest;
use tempfile::NamedTempFile;
use wasmtime::Engine;

use super::worker::Derived;

/// A valid interface file is smaller; see the worker's answer.
const INTERFACE_MAX_BYTES: u64 = 64 << 20;
/// What a kept interface says. A higher number makes old entries unused when the same component is now
/// understood otherwise.
const INTERFACE_FORMAT: u32 = 7;
/// Hex digits of a seal.
const SEAL_LENGTH: usize = 64;

/// The cache of one data directory.
#[derive(Clone)]
pub(crate) struct Cache {
    /// Of every engine version.
    root: PathBuf,
    /// Of this engine version.
    directory: PathBuf,
    key: Arc<[u8; 32]>,
    bytes_max: u64,
    /// Bytes that were written since the last sweep.
    unswept: Arc<AtomicU64>,
}

/// A compiled component: sealed, found and read.
pub(crate) struct Entry {
    /// The code, for wasmtime to map.
    pub(crate) code: PathBuf,
    /// Its size.
    pub(crate) code_bytes: u64,
    /// What the worker said of it.
    pub(crate) derived: Derived,
}

impl Cache {
    /// Opens `root/<version of the engines>`, making the key if there is none, and sweeps all of `root`.
    pub(crate) fn open(root: &Path, bytes_max: u64, engines: &[Engine]) -> std::io::Result<Self> {
        make_private_directory(root)?;
        let key = read_or_make_key(&root.join("seal.key"))?;
        let directory = root.join(version_of(engines));
        make_private_directory(&directory)?;
        let cache = Self {
            root: root.to_owned(),
            directory,
            key: Arc::new(key),
            bytes_max,
            unswept: Arc::default(),
        };
        cache.sweep(None);
        Ok(cache)
    }

    /// A file for the worker to write code into, in the same file system as the cache.
    pub(crate) fn reserve(&self) -> std::io::Result<NamedTempFile> {
        self.temporary("compiling-")
    }

    /// A temporary file, locked so that no process takes it for left over.
    fn temporary(&self, prefix: &str) -> std::io::Result<NamedTempFile> {
        let file = NamedTempFile::with_prefix_in(prefix, &self.directory)?;
        file.as_file().lock()?;
        Ok(file)
    }

    /// The entry, if there is one with a valid seal.
    pub(crate) async fn get(&self, digest: Digest) -> Option<Entry> {
        let cache = self.clone();
        blocking(move || Ok(cache.read(digest))).await.ok().flatten()
    }

    /// Seals and keeps what the worker wrote.
    pub(crate) async fn put(
        &self,
        digest: Digest,
        derived: &Derived,
        code: NamedTempFile,
    ) -> std::io::Result<Entry> {
        let json = serde_json::to_vec(derived)?;
        let cache = self.clone();
        blocking(move || {
            let seal = cache.seal(digest, &json, code.path())?;
            let mut file = cache.temporary("sealing-")?;
            file.write_all(seal.to_hex().as_bytes())?;
            file.write_all(b"\n")?;
            file.write_all(&json)?;
            // The code first: an interface file without its code would be a broken entry.
            let code = code.persist(cache.code(digest)).map_err(|error| error.error)?;
            file.persist(cache.interface(digest)).map_err(|error| error.error)?;
            cache.note_written(digest, code.metadata()?.len() + json.len() as u64);
            cache.read(digest).ok_or_else(|| {
                std::io::Error::other("the compiled code changed while it was stored")
            })
        })
        .await
    }

    /// Removes the entry of a component, of whichever engine version.
    pub(crate) async fn forget(&self, digest: Digest) {
        let cache = self.clone();
        let removed = blocking(move || {
            for directory in std::fs::read_dir(&cache.root)? {
                let entry = directory?.path().join(digest.hex());
                for kind in [sweep::CODE, sweep::INTERFACE] {
                    match std::fs::remove_file(entry.with_extension(kind)) {
                        Err(error) if !is_absent(&error) => return Err(error),
                        _ => {}
                    }
                }
            }
            Ok(())
        });
        if let Err(error) = removed.await {
            tracing::warn!(%digest, %error, "the compiled code of a component that is gone could not be removed");
        }
    }

    fn read(&self, digest: Digest) -> Option<Entry> {
        let file = std::fs::File::open(self.interface(digest)).ok()?;
        let mut text = Vec::new();
        (&file).take(INTERFACE_MAX_BYTES).read_to_end(&mut text).ok()?;
        let (seal, json) = text.split_at_checked(SEAL_LENGTH)?;
        let json = json.strip_prefix(b"\n")?;
        let code = self.code(digest);
        let expected = self.seal(digest, json, &code).ok()?;
        // `blake3::Hash` compares in constant time.
        if blake3::Hash::from_hex(seal).ok()? != expected {
            tracing::warn!(%digest, "a cached component has no valid seal and is compiled again");
            return None;
        }
        // In a directory that cannot be written, nothing is swept either.
        let _ = file.set_modified(SystemTime::now());
        let code_bytes = code.metadata().ok()?.len();
        Some(Entry { code, code_bytes, derived: serde_json::from_slice(json).ok()? })
    }

    fn seal(&self, digest: Digest, json: &[u8], code: &Path) -> std::io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(digest.as_bytes());
        hasher.update(&(json.len() as u64).to_le_bytes());
        hasher.update(json);
        hasher.update_mmap(code)?;
        Ok(hasher.finalize())
    }

    fn note_written(&self, digest: Digest, bytes: u64) {
        let unswept = self.unswept.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if unswept > sweep::room(self.bytes_max) {
            self.sweep(Some(&self.entry(digest)));
        }
    }

    fn sweep(&self, spared: Option<&Path>) {
        match sweep::sweep(&self.root, self.bytes_max, spared) {
            // What is there beyond the room that a sweep leaves counts as written since.
            Ok(bytes) => {
                let room = sweep::room(self.bytes_max);
                self.unswept.store(bytes.saturating_sub(self.bytes_max - room), Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "the cache of compiled code could not be swept"),
        }
    }

    /// Where an entry is, without an extension.
    fn entry(&self, digest: Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }

    fn code(&self, digest: Digest) -> PathBuf {
        self.entry(digest).with_extension(sweep::CODE)
    }

    fn interface(&self, digest: Digest) -> PathBuf {
        self.entry(digest).with_extension(sweep::INTERFACE)
    }
}

/// Not there, or what looks like a directory of an engine version is the file with the key.
fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// What the compiled code depends on: wasmtime's version and settings, and our own format.
fn version_of(engines: &[Engine]) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    INTERFACE_FORMAT.hash(&mut hasher);
    for engine in engines {
        engine.precompile_compatibility_hash().hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

fn make_private_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn read_or_make_key(path: &Path) -> std::io::Result<[u8; 32]> {
    match std::fs::read(path) {
        Ok(bytes) => bytes.try_into().map_err(|_| {
            std::io::Error::other(format!("{} is damaged: remove it", path.display()))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
            // Written aside (mode 0600) and renamed: a crash leaves no half a key.
            let parent = path.parent().unwrap_or(Path::new("."));
            let mut file = NamedTempFile::with_prefix_in("key-", parent)?;
            file.write_all(&key)?;
            file.persist_noclobber(path).map(|_| key).or_else(|error| {
                // Another process was faster: its key counts.
                if error.error.kind() == std::io::ErrorKind::AlreadyExists {
                    read_or_make_key(path)
                } else {
                    Err(error.error)
                }
            })
        }
        Err(error) => Err(error),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
