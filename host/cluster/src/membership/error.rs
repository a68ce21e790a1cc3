//! What can go wrong between the nodes of a zone, in words that name the fix.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aop_core::NodeId;

/// Membership of a zone failed.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// A file of the data directory.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the data directory is not what it should be.
    #[error("{} is damaged ({reason}): restore it from a backup, or remove the directory it is in and join again", path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A key that others can read.
    #[error("{} can be read by others than its owner: run `chmod 600` on it first", .0.display())]
    Exposed(PathBuf),
    /// The data directory belongs to another zone.
    #[error(
        "this data directory belongs to the zone {held}, not to {wanted}: use another one with --data, or leave `zone` out"
    )]
    OtherZone {
        /// The zone of the data directory.
        held: String,
        /// The configured one.
        wanted: String,
    },
    /// A join token of another zone than the one that the data directory belongs to.
    #[error(
        "this data directory belongs to another zone than the join token, though both are called {held}: to join that one use another --data, or remove {} first, by which this host leaves its zone", directory.display()
    )]
    TokenOfOtherZone {
        /// The zone of the data directory.
        held: String,
        /// Where the data directory has it.
        directory: PathBuf,
    },
    /// The file of a key that is not the zone's any more.
    #[error(
        "this file does not have the key of the zone {0} that this data directory belongs to: either the key was rotated since (run `aop cluster ca export` again, on a node that holds it), or it is another zone of that name"
    )]
    OtherAuthority(String),
    /// This node was evicted.
    #[error(
        "this node was evicted from its zone: to come back as a new node, make a token with `aop cluster join-token` on a member and start this host with --token TOKEN"
    )]
    Evicted,
    /// There is a zone to join, and nothing to join it with.
    #[error(
        "joining needs a token: run `aop cluster join-token` on a member and start this host with --token TOKEN"
    )]
    NoToken,
    /// A token is no token.
    #[error(
        "the join token is malformed: copy the whole line that `aop cluster join-token` prints"
    )]
    MalformedToken,
    /// Whoever answered is not of the zone of the token.
    #[error("the host that answered is not of the zone of this token: check the address")]
    WrongZone,
    /// The zone refused.
    #[error("the zone refused: {0}")]
    Refused(String),
    /// This node cannot sign.
    #[error(
        "no live node holds the zone's key: run `aop cluster ca import` on one, with the file that `aop cluster ca export` made"
    )]
    NoAuthority,
    /// A node is not in the view.
    #[error("node {0} is not a live member of the zone")]
    UnknownNode(NodeId),
    /// Another node could not be reached.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// Whoever is there has no certificate that this node believes.
    #[error("cannot reach {address}: {reason}")]
    Stranger {
        /// Where.
        address: SocketAddr,
        /// What is wrong with it.
        reason: String,
    },
    /// A node is not who it should be.
    #[error("{address} is node {found}, not {expected}")]
    Impostor {
        /// Where.
        address: SocketAddr,
        /// Who should be there.
        expected: NodeId,
        /// Who is.
        found: NodeId,
    },
    /// What another node sent makes no sense.
    #[error("the other node's answer is malformed: {0}")]
    Malformed(String),
    /// What this node wants to say is too long.
    #[error("{what} has {bytes} bytes, and at most {max} can be told")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The listener could not be opened.
    #[error(
        "cannot listen for other nodes on {address}: {source}: choose another address with `[cluster] listen`"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Nobody knows where this node is.
    #[error(
        "other nodes cannot reach {0}: say where they can with `[cluster] advertise = \"ADDRESS:PORT\"`"
    )]
    NoAddress(SocketAddr),
    /// Certificates, keys and TLS.
    #[error("{0}")]
    Certificate(String),
}

impl MembershipError {
    pub(crate) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, reason: impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn unreachable(address: impl ToString, reason: impl ToString) -> Self {
        Self::Unreachable { address: address.to_string(), reason: reason.to_string() }
    }
}

impl From<rcgen::Error> for MembershipError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(format!("a certificate cannot be made: {error}"))
    }
}

impl From<rustls::Error> for MembershipError {
    fn from(error: rustls::Error) -> Self {
        Self::Certificate(format!("TLS between nodes cannot be set up: {error}"))
    }
}
