//! A call that can ask its client: forms and pages for the person, completions of the client's own model,
//! progress and log lines.
//!
//! [`CallClient`] is the client as the agent sees it, [`Ongoing`] the call that runs by itself, [`attend`]
//! carries what the call says to the client in the way of its revision, and [`Parked`] keeps calls whose client
//! has to come back.

mod attend;
mod client;
mod offers;
mod ongoing;
mod parked;
mod question;
mod sampling;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use attend::{Step, Stream, mark, one_round, to_the_end};
pub(crate) use client::{Asked, CallClient, Line, Notice};
pub(crate) use ongoing::{End, Event, Finished, Ongoing};
pub(crate) use parked::{Parked, ParkedLimits, RequestIdentity};
#[cfg(test)]
pub(crate) use {client::QUESTIONS_MAX, parked::HELD_MAX_BYTES, tests::Started};
