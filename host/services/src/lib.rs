//! What the capabilities of agents stand on, kept out of `runtime` so that their dependencies do
//! not slow the slowest crate to build. Today that is the sink for guest logs; outgoing HTTP and
//! model providers join it here.

mod guest_log;

pub use guest_log::GuestLogs;
