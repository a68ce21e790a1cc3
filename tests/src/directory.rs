//! A directory of agents that a test fills and changes.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

use crate::{component, guest};

/// A directory for `aop serve --agents`. Files appear in it at once, by renaming.
#[derive(Debug)]
pub struct AgentsDirectory(TempDir);

impl Default for AgentsDirectory {
    fn default() -> Self {
        Self::new()
    }
}

impl AgentsDirectory {
    /// An empty one.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        Self(TempDir::with_prefix("aop-agents-").expect("a directory can be made"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts a file there, or replaces it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn put(&self, file: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(file);
        let mut new =
            NamedTempFile::with_prefix_in(".new-", self.path()).expect("a file can be made");
        new.write_all(bytes).expect("a file can be written");
        new.persist(&path).expect("a file can be renamed");
        path
    }

    /// Removes a file.
    ///
    /// # Panics
    /// When there is none.
    pub fn remove(&self, file: &str) {
        std::fs::remove_file(self.path().join(file)).expect("the file was there");
    }

    /// With a fixture guest under its own name.
    #[must_use]
    pub fn with(self, name: &str) -> Self {
        self.with_as(name, name)
    }

    /// With a fixture guest as another agent.
    ///
    /// # Panics
    /// When the guest cannot be read.
    #[must_use]
    pub fn with_as(self, name: &str, agent: &str) -> Self {
        let bytes = std::fs::read(guest(name)).expect("the guest can be read");
        self.put(&format!("{agent}.wasm"), &bytes);
        self
    }

    /// With a component written as text.
    #[must_use]
    pub fn with_text(self, agent: &str, text: &str) -> Self {
        self.put(&format!("{agent}.wasm"), &component(text));
        self
    }

    /// With settings for an agent.
    #[must_use]
    pub fn with_settings(self, agent: &str, toml: &str) -> Self {
        self.put(&format!("{agent}.toml"), toml.as_bytes());
        self
    }
}
