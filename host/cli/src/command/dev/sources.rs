//! Notices that the source of an agent is another than before.
//!
//! The operating system's events only say that it is time to look. Whether something changed is found
//! by comparing contents, because builds write files next to the source, mostly what was there
//! already. Directories are watched one by one, so that those of packages and builds are not. One that is made anew in
//! the place of another, as version control and generators do, is watched anew.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::output;

/// How long nothing must happen before a build: editors and version control write in bursts.
const QUIET: Duration = Duration::from_millis(150);
/// The longest that a burst is waited for: some program may write without end.
const BURST_MAX: Duration = Duration::from_secs(2);
/// How often sources are looked at where the system reports nothing.
const POLL: Duration = Duration::from_secs(2);
/// Files that are looked at. An agent with more has its data among its sources.
const FILES_MAX: usize = 10_000;
/// A larger file counts as changed when its size or age is another; reading it would take too long.
const READ_MAX_BYTES: u64 = 1 << 20;
/// What packages and builds fill. What is hidden is left out, too.
const SKIPPED_DIRECTORIES: [&str; 5] = ["target", "node_modules", "__pycache__", "venv", "vendor"];
/// What the tools keep up to date themselves.
const SKIPPED_FILES: [&str; 3] = ["Cargo.lock", "go.sum", "package-lock.json"];

/// All sources at one moment: a hash for each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot(BTreeMap<PathBuf, u64>);

impl Snapshot {
    /// The first file that was added, changed or removed.
    pub(super) fn first_difference<'a>(&'a self, before: &'a Self) -> Option<&'a Path> {
        let missing = |from: &'a Self, other: &'a Self| {
            let mut entries = from.0.iter();
            entries.find(|(path, hash)| other.0.get(*path) != Some(hash))
        };
        let found = missing(self, before).or_else(|| missing(before, self));
        found.map(|(path, _)| path.as_path())
    }
}

/// The sources of one agent.
pub(super) struct Sources {
    directory: PathBuf,
    look_again: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    /// Whether something was removed or renamed, so that what is watched may be another directory than the one there.
    has_moved: Arc<AtomicBool>,
    /// Whether there is no source now: nothing tells when there is one again.
    is_gone: bool,
}

impl Sources {
    pub(super) fn new(directory: &Path) -> Self {
        let look_again = Arc::new(Notify::new());
        let has_moved = Arc::<AtomicBool>::default();
        let (notify, moved) = (Arc::clone(&look_again), Arc::clone(&has_moved));
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading files, as builds do, reports itself.
            let is_reading = event.as_ref().is_ok_and(|event| {
                let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
                event.kind.is_access() && event.kind != written
            });
            let stays = event.as_ref().is_ok_and(|event| {
                !matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
            });
            if !stays {
                moved.store(true, Ordering::Relaxed);
            }
            if !is_reading {
                notify.notify_one();
            }
        });
        let watcher = watcher.inspect_err(complain).ok();
        let (directory, watched) = (directory.to_owned(), BTreeSet::new());
        Self { directory, look_again, watcher, watched, has_moved, is_gone: false }
    }

    /// The sources now. Their directories are watched from before they are read.
    pub(super) async fn look(&mut self) -> anyhow::Result<Snapshot> {
        let root = self.directory.clone();
        let directories = blocking(move || directories(&root)).await?;
        self.is_gone = directories.is_empty();
        self.follow(directories.clone());
        let root = self.directory.clone();
        let snapshot = blocking(move || snapshot(&root, &directories)).await?;
        if snapshot.0.len() == FILES_MAX {
            output::note(format_args!("changes are seen in the first {FILES_MAX} files only"));
        }
        Ok(snapshot)
    }

    /// Waits until something happened and then nothing for a while. It need not have been a change.
    pub(super) async fn changed(&self) {
        if self.watcher.is_some() && !self.is_gone {
            self.look_again.notified().await;
        } else {
            // Mostly cut short by nothing: where nothing is watched nobody notifies.
            let _ = tokio::time::timeout(POLL, self.look_again.notified()).await;
        }
        let quiet = async {
            while tokio::time::timeout(QUIET, self.look_again.notified()).await.is_ok() {}
        };
        let _ = tokio::time::timeout(BURST_MAX, quiet).await;
    }

    /// Watches these directories and no others.
    fn follow(&mut self, directories: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.watched.difference(&directories) {
            // The system forgets a directory that is gone by itself.
            let _ = watcher.unwatch(gone);
        }
        let is_anew = self.has_moved.swap(false, Ordering::Relaxed);
        let mut new = directories.iter().filter(|path| is_anew || !self.watched.contains(*path));
        let failed = new.find_map(|new| watcher.watch(new, RecursiveMode::NonRecursive).err());
        self.watched = directories;
        if let Some(error) = failed {
            complain(&error);
            self.watcher = None;
        }
    }
}

fn complain(error: &notify::Error) {
    output::note(format_args!(
        "the system cannot watch the source, which is looked at every few seconds instead: {error}"
    ));
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let done = tokio::task::spawn_blocking(work).await.context("reading the source broke")?;
    done.context("cannot read the source")
}

/// The directory and all below it that can have sources; none when it is not there.
fn directories(root: &Path) -> io::Result<BTreeSet<PathBuf>> {
    if !root.is_dir() {
        return Ok(BTreeSet::new());
    }
    let mut found = BTreeSet::from([root.to_owned()]);
    let mut to_read = vec![root.to_owned()];
    while let Some(directory) = to_read.pop() {
        for path in entries(&directory)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_skipped = SKIPPED_DIRECTORIES.contains(&name.as_ref());
            // A link may lead back to where it is.
            if !is_skipped && !path.is_symlink() && path.is_dir() && found.len() < FILES_MAX {
                found.insert(path.clone());
                to_read.push(path);
            }
        }
    }
    Ok(found)
}

fn snapshot(root: &Path, directories: &BTreeSet<PathBuf>) -> io::Result<Snapshot> {
    let mut files = BTreeMap::new();
    for directory in directories {
        for path in entries(directory)? {
            if files.len() < FILES_MAX
                && !is_written_by_tools(&path)
                && let Some(hash) = hash(&path)
            {
                let path = path.strip_prefix(root).unwrap_or(&path).to_owned();
                files.insert(path, hash);
            }
        }
    }
    Ok(Snapshot(files))
}

/// What is in a directory and not hidden. One that is gone meanwhile is empty.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

fn is_written_by_tools(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_built = [".wasm", ".pyc", "~"].iter().any(|end| name.ends_with(end));
    is_built || SKIPPED_FILES.contains(&name.as_ref())
}

/// Of what a file has; none for what is no file, or no longer there.
fn hash(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mut hasher = DefaultHasher::new();
    if metadata.len() <= READ_MAX_BYTES {
        std::fs::read(path).ok()?.hash(&mut hasher);
    } else {
        metadata.len().hash(&mut hasher);
        metadata.modified().ok()?.hash(&mut hasher);
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(root: &Path) -> Snapshot {
        snapshot(root, &directories(root).unwrap()).unwrap()
    }

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn what_changed_is_found_whatever_it_was() {
        let root = tempfile::tempdir().unwrap();
        let difference = |now: &Snapshot, before: &Snapshot| {
            now.first_difference(before).map(|path| path.display().to_string())
        };
        write(root.path(), "a.rs", "1");
        let first = look(root.path());
        write(root.path(), "src/b.rs", "1");
        let added = look(root.path());
        assert_eq!(difference(&added, &first).as_deref(), Some("src/b.rs"));
        write(root.path(), "src/b.rs", "2");
        let changed = look(root.path());
        assert_eq!(difference(&changed, &added).as_deref(), Some("src/b.rs"));
        std::fs::remove_file(root.path().join("a.rs")).unwrap();
        let removed = look(root.path());
        assert_eq!(difference(&removed, &changed).as_deref(), Some("a.rs"));
        // Written again as it was.
        write(root.path(), "src/b.rs", "2");
        assert_eq!(difference(&look(root.path()), &removed), None);
    }

    #[test]
    fn what_tools_write_is_no_source() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "app.js", "");
        let before = look(root.path());
        for file in [
            "target/a.rs",
            "node_modules/b/c.js",
            ".aop/types/a.d.ts",
            ".venv/bin/python",
            "__pycache__/a.pyc",
            "agent.wasm",
            "app.js~",
            ".app.js.swp",
            "Cargo.lock",
        ] {
            write(root.path(), file, "1");
        }
        assert_eq!(look(root.path()), before);
    }

    #[test]
    fn a_large_file_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data.bin");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(READ_MAX_BYTES + 1).unwrap();
        let before = look(root.path());
        file.set_len(READ_MAX_BYTES + 2).unwrap();
        assert!(look(root.path()).first_difference(&before).is_some());
    }

    #[test]
    fn only_so_many_files_are_looked_at() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..=FILES_MAX {
            std::fs::write(root.path().join(number.to_string()), "").unwrap();
        }
        assert_eq!(look(root.path()).0.len(), FILES_MAX);
    }

    #[tokio::test]
    async fn a_change_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "src/a.rs", "1");
        let mut sources = Sources::new(root.path());
        let before = sources.look().await.unwrap();
        write(root.path(), "src/a.rs", "2");
        sources.changed().await;
        let now = sources.look().await.unwrap();
        assert_eq!(now.first_difference(&before), Some(Path::new("src/a.rs")));
        // In a directory that was not there before, too.
        write(root.path(), "new/b.rs", "1");
        sources.changed().await;
        let now = sources.look().await.unwrap();
        write(root.path(), "new/b.rs", "2");
        sources.changed().await;
        let later = sources.look().await.unwrap();
        assert_eq!(later.first_difference(&now), Some(Path::new("new/b.rs")));
    }

    #[tokio::test]
    async fn a_directory_that_is_made_anew_is_watched_again() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("agent");
        write(&root, "src/a.rs", "1");
        let mut sources = Sources::new(&root);
        let before = sources.look().await.unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        sources.changed().await;
        assert_eq!(sources.look().await.unwrap(), Snapshot::default());
        // Nothing is watched now.
        write(&root, "src/a.rs", "1");
        sources.changed().await;
        assert_eq!(sources.look().await.unwrap(), before, "it is the same as it was");
        for text in ["2", "3"] {
            write(&root, "src/a.rs", text);
            sources.changed().await;
            let now = sources.look().await.unwrap();
            assert_eq!(now.first_difference(&before), Some(Path::new("src/a.rs")));
        }
        // In one go, with another in its place before anybody looks.
        std::fs::rename(root.join("src"), parent.path().join("old")).unwrap();
        write(&root, "src/a.rs", "4");
        sources.changed().await;
        let now = sources.look().await.unwrap();
        write(&root, "src/a.rs", "5");
        sources.changed().await;
        let later = sources.look().await.unwrap();
        assert_eq!(later.first_difference(&now), Some(Path::new("src/a.rs")));
    }
}
