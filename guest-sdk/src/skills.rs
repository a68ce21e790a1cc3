//! Skills: instructions that clients hand to their models.
//!
//! A skill is a directory of files in the format of [Agent Skills](https://agentskills.io), one of which is
//! `SKILL.md`. An agent exports `aop:agent/skills` in its WIT, implements [`Skills`], and names `skills` in
//! [`agent!`](crate::agent!). A skill `refunds` of an agent `billing` is `skill://billing/refunds` for clients. The
//! host computes the digests of the files and reads the frontmatter.
//!
//! ```
//! use aop_agent::skills::{File, GetError, Skill, Skills};
//!
//! struct Billing;
//!
//! // Most agents keep them in files: `include_str!("../skills/refunds/SKILL.md")`.
//! const REFUNDS: &str = "\
//! ---
//! name: refunds
//! description: Refunds a customer by the policy. Use when somebody wants money back.
//! ---
//!
//! Find the order with `billing_find`. What may be refunded is in `references/limits.md`.
//! ";
//!
//! impl Skills for Billing {
//!     fn list() -> Result<Vec<Skill>, String> {
//!         let limits = File::text("references/limits.md", "Up to 100 EUR without asking anybody.");
//!         Ok(vec![Skill::new("refunds", REFUNDS).file(limits)])
//!     }
//! }
//!
//! let refunds = Billing::get("refunds").unwrap();
//! let paths: Vec<_> = refunds.files.iter().map(|file| file.path.as_str()).collect();
//! assert_eq!(paths, ["SKILL.md", "references/limits.md"]);
//! assert_eq!(Billing::get("invoices"), Err(GetError::NotFound));
//! ```

use crate::content::Body;

/// An agent that offers skills.
pub trait Skills {
    /// The skills that exist now.
    ///
    /// # Errors
    /// Why they cannot be listed.
    fn list() -> Result<Vec<Skill>, String>;

    /// One skill: one that is listed, or one that clients learn of in another way. Without an implementation, the
    /// listed ones.
    ///
    /// # Errors
    /// [`GetError`].
    fn get(name: &str) -> Result<Skill, GetError> {
        let skills = Self::list().map_err(GetError::Failed)?;
        skills.into_iter().find(|skill| skill.name == name).ok_or(GetError::NotFound)
    }
}

/// Why a skill cannot be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GetError {
    /// There is no such skill.
    NotFound,
    /// Anything else, in words for the reader.
    Failed(String),
}

/// A skill with everything that is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Skill {
    /// What it is called: the `name` in the frontmatter of its `SKILL.md`.
    pub name: String,
    /// All its files, at most 512 with 16 MiB together.
    pub files: Vec<File>,
    /// Whether its files are made anew for every call, so that nobody can know their digests before.
    pub dynamic: bool,
}

impl Skill {
    /// A skill with nothing but its `SKILL.md`, which begins with frontmatter that has this `name`.
    pub fn new(name: impl Into<String>, instructions: impl Into<String>) -> Self {
        let files = vec![File::text("SKILL.md", instructions)];
        Self { name: name.into(), files, dynamic: false }
    }

    /// One file more.
    #[must_use]
    pub fn file(mut self, file: File) -> Self {
        self.files.push(file);
        self
    }

    /// Its files are made anew for every call. Some clients do not load such a skill.
    #[must_use]
    pub fn dynamic(mut self) -> Self {
        self.dynamic = true;
        self
    }
}

/// One file of a skill.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// Its path in the skill's directory, such as `references/limits.md`.
    pub path: String,
    /// Its MIME type.
    pub mime_type: Option<String>,
    /// What is inside it.
    pub body: Body,
}

impl File {
    /// A text.
    pub fn text(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), mime_type: None, body: Body::text(text) }
    }

    /// Bytes.
    pub fn bytes(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mime_type: None, body: Body::bytes(bytes) }
    }

    /// Its MIME type.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }
}
