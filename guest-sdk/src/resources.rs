//! Documents and data that clients read by URI.
//!
//! An agent owns the URI scheme that is its name: an agent `notes` offers `notes://…`. It exports
//! `aop:agent/resources` in its WIT, implements [`Resources`], and names `resources` in
//! [`agent!`](crate::agent!), where there is an example.

use crate::content::{Annotations, Body};

/// An agent that offers documents.
pub trait Resources {
    /// The resources that exist now.
    ///
    /// # Errors
    /// Why they cannot be listed.
    fn list() -> Result<Vec<Entry>, String> {
        Ok(Vec::new())
    }

    /// The families of resources.
    ///
    /// # Errors
    /// Why they cannot be listed.
    fn templates() -> Result<Vec<Template>, String> {
        Ok(Vec::new())
    }

    /// Reads one resource: one that is listed, or a member of a family.
    ///
    /// # Errors
    /// [`ReadError`].
    fn read(uri: &str) -> Result<Vec<Contents>, ReadError>;
}

/// Why a resource cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// There is no such resource.
    NotFound,
    /// Anything else, in words for the reader.
    Failed(String),
}

/// A resource that can be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it is, in the agent's own scheme.
    pub uri: String,
    /// A name for programs.
    pub name: String,
    /// A name for people.
    pub title: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// Its MIME type.
    pub mime_type: Option<String>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Hints for whoever shows it.
    pub annotations: Option<Annotations>,
}

impl Entry {
    /// A resource of which no more is known.
    pub fn new(uri: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            name: name.into(),
            title: None,
            description: None,
            mime_type: None,
            size: None,
            annotations: None,
        }
    }

    /// A name for people.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// What it is.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Its MIME type.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }
}

/// A family of resources.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// An RFC 6570 URI template in the agent's own scheme, such as `notes://by-day/{day}`.
    pub uri_template: String,
    /// A name for programs.
    pub name: String,
    /// A name for people.
    pub title: Option<String>,
    /// What the family is.
    pub description: Option<String>,
    /// The MIME type of all its members, when they share one.
    pub mime_type: Option<String>,
    /// Hints for whoever shows it.
    pub annotations: Option<Annotations>,
}

impl Template {
    /// A family of which no more is known.
    pub fn new(uri_template: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            uri_template: uri_template.into(),
            name: name.into(),
            title: None,
            description: None,
            mime_type: None,
            annotations: None,
        }
    }

    /// What the family is.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// The MIME type of all its members.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }
}

/// One part of a resource that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Contents {
    /// Where it is; below the URI that was asked for.
    pub uri: String,
    /// Its MIME type.
    pub mime_type: Option<String>,
    /// What is inside it.
    pub body: Body,
}

impl Contents {
    /// A part whose MIME type is not known.
    pub fn new(uri: impl Into<String>, body: Body) -> Self {
        Self { uri: uri.into(), mime_type: None, body }
    }

    /// Its MIME type.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }
}
