//! The one integration test binary: linking it once is what keeps `cargo test` short. Every module
//! is a part of the contract; `tidy` is the contract with whoever reads the code.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on stops where it stands and says why"
)]

mod access;
mod audit;
mod authoring;
mod built;
mod capabilities;
mod cli;
mod clients;
mod drain;
mod endpoints;
mod faults;
mod federation;
mod handles;
mod hostile;
mod leak;
mod liar;
mod lying;
mod mount;
mod observe;
mod policy;
mod quotas;
mod reload;
mod routing;
mod serve;
mod supply;
mod team;
mod tidy;
mod types;
mod zone;
