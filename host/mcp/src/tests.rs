//! The whole edge against fakes of the traits it serves, driven as HTTP requests without a socket.

mod asking;
mod differential;
mod fakes;
mod hostile;
mod listening;
pub(crate) mod requests;
mod rounds;
mod sessions;
mod socket;
mod stateless;

pub(crate) use self::fakes::{CALL_ID, World, tool};
pub(crate) use self::requests::{Answer, post, send};
