//! Between zones: names are resolved like in DNS, with signed records, delegation, referrals and caches.
//!
//! A zone is an organisation or site whose nodes trust each other; zones trust only what is signed. Three questions
//! stay apart. *Who said this?* A record is a JWS ([`record`]) whose chain begins at a key that the operator pinned.
//! *Which machine is this?* That of a URL in a signed record, over TLS. *May this caller call?* The called zone
//! decides by the token that it gave to the calling one; what a caller showed to its own zone is never passed on.

mod adapters;
mod answer;
mod attached;
pub mod authority;
mod below;
pub mod book;
pub mod cache;
mod call;
pub mod export;
mod gate;
mod http;
mod import;
pub mod key;
mod listing;
mod measure;
pub mod message;
pub mod name;
mod receive;
pub mod record;
mod relay;
pub mod resolver;
mod search;
mod status;
mod tend;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod uplink;
mod ways;
pub mod well_known;
mod wire;
mod zone;

pub use gate::Gate;
pub use http::router;
pub use import::Imports;
pub use name::{FullName, NameError, ZoneName};
pub use tend::Tending;
pub use uplink::{OpenUplink, Uplink, UplinkStream};
pub use zone::{Zone, ZoneHandle, ZoneParts};
