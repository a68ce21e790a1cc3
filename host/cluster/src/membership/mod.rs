//! Who is in the zone.
//!
//! A node has a key, and a certificate that the zone's authority signed; with it, every connection
//! between nodes is mutually authenticated. Members are trusted as a whole: what one says of itself,
//! of callers and of tenants is believed.

mod catalogue;
mod error;
#[expect(dead_code, reason = "joining and gossip, which stand on it, come next")]
mod identity;
mod members;
#[expect(dead_code, unused_imports, reason = "joining and gossip, which stand on it, come next")]
mod peer;
mod view;

pub use catalogue::{Catalogue, CatalogueAgent, CatalogueTool};
pub use error::MembershipError;
pub use identity::IdentityDirectory;
pub use members::{DOCUMENT_MAX_BYTES, Document, Documents, Members};
pub use peer::{Connect, PeerStream, ServeHttp2};
pub use view::{DocumentVersion, Load, Member, View};
