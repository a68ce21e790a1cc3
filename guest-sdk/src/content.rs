//! What a tool, a prompt or a resource shows: text, images, sounds, links and documents.
//!
//! A function whose WIT returns `aop:agent/content.block`, or a list of them, decides itself what its caller
//! sees.
//!
//! ```
//! use aop_agent::content::{Annotations, Block, Role};
//!
//! let png = vec![0x89, b'P', b'N', b'G'];
//! let blocks = vec![
//!     Block::text("The chart shows June."),
//!     Block::image(png, "image/png"),
//!     Block::document("report://june", "text/csv", "day,total\n1,3\n")
//!         .annotated(Annotations::for_audience([Role::Assistant]).priority(0.3)),
//! ];
//! # assert_eq!(blocks.len(), 3);
//! ```

pub use crate::bindings::aop::agent::content::{
    Annotations, Block, Body, Embedded, Link, Media, Role, TextBlock,
};

impl Block {
    /// Text for a person or a model.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(TextBlock { text: text.into(), annotations: None })
    }

    /// An image; the MIME type must be of `image/…`.
    pub fn image(data: Vec<u8>, mime_type: impl Into<String>) -> Self {
        Self::Image(Media { data, mime_type: mime_type.into(), annotations: None })
    }

    /// A sound; the MIME type must be of `audio/…`.
    pub fn audio(data: Vec<u8>, mime_type: impl Into<String>) -> Self {
        Self::Audio(Media { data, mime_type: mime_type.into(), annotations: None })
    }

    /// A reference to something that can be read elsewhere.
    pub fn link(uri: impl Into<String>, name: impl Into<String>) -> Self {
        Self::Link(Link {
            uri: uri.into(),
            name: name.into(),
            title: None,
            description: None,
            mime_type: None,
            size: None,
            annotations: None,
        })
    }

    /// A text resource together with what is inside it.
    pub fn document(
        uri: impl Into<String>,
        mime_type: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self::embedded(uri, mime_type, Body::text(text))
    }

    /// A resource together with what is inside it.
    pub fn embedded(uri: impl Into<String>, mime_type: impl Into<String>, body: Body) -> Self {
        let (uri, mime_type) = (uri.into(), Some(mime_type.into()));
        Self::Embedded(Embedded { uri, mime_type, body, annotations: None })
    }

    /// The same block with hints for whoever shows it.
    #[must_use]
    pub fn annotated(mut self, hints: Annotations) -> Self {
        let annotations = match &mut self {
            Self::Text(text) => &mut text.annotations,
            Self::Image(media) | Self::Audio(media) => &mut media.annotations,
            Self::Link(link) => &mut link.annotations,
            Self::Embedded(embedded) => &mut embedded.annotations,
        };
        *annotations = Some(hints);
        self
    }
}

impl Body {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Bytes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Blob(bytes.into())
    }
}

impl Annotations {
    /// For some readers only; for all of them when there are none.
    #[must_use]
    pub fn for_audience(audience: impl IntoIterator<Item = Role>) -> Self {
        let audience = audience.into_iter().collect();
        Self { audience, priority: None, last_modified: None }
    }

    /// How much it matters, from 0 (optional) to 1 (required).
    #[must_use]
    pub fn priority(mut self, priority: f64) -> Self {
        self.priority = Some(priority);
        self
    }

    /// When it last changed, as an ISO 8601 date and time.
    #[must_use]
    pub fn last_modified(mut self, when: impl Into<String>) -> Self {
        self.last_modified = Some(when.into());
        self
    }
}
