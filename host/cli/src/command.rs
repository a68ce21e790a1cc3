//! The subcommands, one file each.

pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod call;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod discover;
pub(crate) mod inspect;
pub(crate) mod key;
pub(crate) mod mcp_config;
pub(crate) mod new;
pub(crate) mod policy;
pub(crate) mod run;
pub(crate) mod secret;
pub(crate) mod serve;
pub(crate) mod tenant;
pub(crate) mod tools;
pub(crate) mod wit;
pub(crate) mod zone;
