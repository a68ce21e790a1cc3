//! Follows the agents directories.
//!
//! The operating system's events only say that it is time to look; what changed is found by looking
//! (see [`reconcile`](crate::reconcile)). A look also happens every few seconds without an event,
//! because network file systems, symbolic links and overflowing queues report nothing, and a
//! directory that does not exist yet is looked for more often, since that costs nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::RegistryError;
use crate::commit::Work;
use crate::reconcile::Now;
use crate::registry::OfTenant;
use crate::source::{self, Directory, Listing, Unusable};

/// What a look came to.
pub(crate) struct Look {
    pub(crate) work: Vec<Work>,
    /// Whether something changed that has not settled yet.
    pub(crate) unsettled: bool,
}

/// How often a tenant without directories is looked at: only for agents whose load failed because of the host.
const NOTHING_TO_FOLLOW: Duration = Duration::from_secs(30);

/// How often a directory that does not exist is looked for.
const MISSING_POLL: Duration = Duration::from_millis(250);

impl OfTenant {
    /// Runs until the registry stops.
    pub(crate) async fn watch(self: &Arc<Self>) {
        let mut following = Following::new(Arc::clone(&self.look_again));
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.look_again.notified() => {
                    // Events come in swarms, and nothing is read before it settles anyway.
                    if self.stop.run_until_cancelled(tokio::time::sleep(self.common.config.settle)).await.is_none() {
                        return;
                    }
                }
            }
            let directories = self.directories.clone();
            let followed = tokio::task::spawn_blocking(move || {
                following.follow(&directories);
                following
            });
            following = match followed.await {
                Ok(following) => following,
                Err(error) => {
                    tracing::error!(%error, "the agents directories are not watched any more");
                    return;
                }
            };
            pause = match self.look().await {
                Ok(look) => self.start(look, &following),
                Err(error) => {
                    tracing::warn!(%error, "the agents directories could not be looked at");
                    self.common.config.rescan
                }
            };
            self.agents.sweep();
            self.collect_garbage().await;
        }
    }

    /// Starts what is to be done, and says how long to wait for the next look.
    fn start(self: &Arc<Self>, look: Look, following: &Following) -> Duration {
        if !look.work.is_empty() {
            let own = Arc::clone(self);
            // Compiling may take a minute; other agents change meanwhile.
            self.spawn(async move { own.run(look.work).await });
        }
        if look.unsettled {
            self.common.config.settle
        } else if self.directories.is_empty() {
            NOTHING_TO_FOLLOW
        } else if following.misses_some {
            MISSING_POLL.min(self.common.config.rescan)
        } else {
            self.common.config.rescan
        }
    }

    /// Looks at the directories, and at what failed and may not fail again.
    pub(crate) async fn look(&self) -> Result<Look, RegistryError> {
        let (directories, agents_max) =
            (self.directories.clone(), self.common.agents_left_to(self));
        let known = self.reconciler().files();
        let listed = tokio::task::spawn_blocking(move || {
            // Before the listing: what changes during it must not count as settled.
            let now = Now { clock: Instant::now(), wall: SystemTime::now() };
            (source::list(&directories, agents_max, &known), now)
        });
        let (mut listing, now) =
            listed.await.map_err(|error| RegistryError::Host(error.to_string()))?;
        self.set_aside_names_of_the_api(&mut listing);
        for file in self.agents.set_unusable(std::mem::take(&mut listing.unusable)) {
            tracing::warn!(path = %file.path.display(), reason = file.reason, "file ignored");
        }
        let due = self.agents.due_for_retry(now.clock, self.common.config.retry_after_host_failure);
        let mut reconciler = self.reconciler();
        for (path, directory) in reconciler.note_directories(&listing) {
            report_directory(&path, &directory);
        }
        due.files.iter().for_each(|name| reconciler.again(name));
        let difference = reconciler.look(&listing, now, self.common.config.settle);
        let changes = difference.changes.into_iter().map(Work::File);
        Ok(Look {
            work: due.stored.into_iter().map(Work::Stored).chain(changes).collect(),
            unsettled: difference.unsettled,
        })
    }

    fn set_aside_names_of_the_api(&self, listing: &mut Listing) {
        for name in self.agents.names_of_api_agents() {
            if let Some(found) = listing.agents.remove(&name) {
                let reason = format!(
                    "agent `{name}` was loaded through the API: unload it there first (`aop agent unload {name}`), or rename the file"
                );
                listing.unusable.push(Unusable { name: Some(name), path: found.path, reason });
            }
        }
    }
}

fn report_directory(path: &Path, directory: &Directory) {
    let path = path.display();
    match directory {
        Directory::Read => tracing::debug!(%path, "agents directory found"),
        Directory::Missing => {
            tracing::warn!(%path, "agents directory does not exist; its agents load once it does");
        }
        Directory::Unreadable(error) => {
            tracing::warn!(%path, error, "agents directory cannot be read; its agents stay as they are");
        }
    }
}

/// The operating system's watches, kept on the directories that exist.
struct Following {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, Identity>,
    /// Whether some directory does not exist.
    misses_some: bool,
    has_complained: bool,
}

/// Tells a directory from another one that took its place.
type Identity = Option<(u64, u64)>;

impl Following {
    fn new(look_again: Arc<Notify>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the directory reports itself; only a writer that closed a file is of interest.
            let is_reading = event.as_ref().is_ok_and(|event| {
                let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
                event.kind.is_access() && event.kind != written
            });
            if !is_reading {
                look_again.notify_one();
            }
        });
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(%error, "the system cannot watch directories; they are read every few seconds instead");
        });
        Self {
            watcher: watcher.ok(),
            watched: BTreeMap::new(),
            misses_some: false,
            has_complained: false,
        }
    }

    /// Watches what appeared, and what took the place of what was watched. Blocks on the file system.
    fn follow(&mut self, directories: &[PathBuf]) {
        self.misses_some = false;
        for directory in directories {
            let Ok(metadata) = std::fs::metadata(directory) else {
                self.misses_some = true;
                self.watched.remove(directory);
                continue;
            };
            let identity = identity(&metadata);
            if self.watched.get(directory) != Some(&identity) {
                self.follow_one(directory, identity);
            }
        }
    }

    fn follow_one(&mut self, directory: &Path, identity: Identity) {
        let Some(watcher) = &mut self.watcher else { return };
        // Of a directory that was there before; there need not be one.
        let _ = watcher.unwatch(directory);
        match watcher.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(directory.to_owned(), identity);
            }
            Err(error) if !self.has_complained => {
                self.has_complained = true;
                let path = directory.display();
                tracing::warn!(%path, %error, "directory cannot be watched; it is read every few seconds instead");
            }
            Err(_) => {}
        }
    }
}

#[cfg(unix)]
fn identity(metadata: &std::fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_metadata: &std::fs::Metadata) -> Identity {
    None
}
