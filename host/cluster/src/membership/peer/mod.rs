//! Connections between nodes: one port, several protocols, everyone authenticated before a byte of
//! theirs is read.

mod connect;
mod listen;

use aop_core::{BoxFuture, NodeId};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;

pub(crate) use self::connect::{Connector, Expect, open_as};
pub(crate) use self::listen::{Accepted, Counts, Listener, ListenerLimits};
use super::MembershipError;
use super::identity::NodeCertificate;

/// An authenticated connection with another node, seen from either side.
pub type PeerStream = tokio_rustls::TlsStream<TcpStream>;

/// Serves the HTTP/2 connections that other nodes open; routing implements it.
pub trait ServeHttp2: Send + Sync {
    /// Serves one connection until it ends. `peer` was proven by its certificate. Dropping the future
    /// closes the connection.
    fn serve(&self, peer: NodeId, stream: PeerStream) -> BoxFuture<'static, ()>;
}

/// Opens connections to members; what routing pools.
pub trait Connect: Send + Sync {
    /// A fresh HTTP/2-ready connection to a live member (ALPN `h2` was agreed, `TCP_NODELAY` is set).
    ///
    /// # Errors
    /// [`MembershipError::UnknownNode`] when it is no live member, [`MembershipError::Unreachable`] when it
    /// does not answer in time, [`MembershipError::Impostor`] when somebody else does.
    fn connect<'a>(
        &'a self,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<PeerStream, MembershipError>>;
}

/// Who is at the other end, from the certificate that the handshake verified.
fn peer_of(certificates: Option<&[CertificateDer<'_>]>) -> Result<NodeId, MembershipError> {
    let certificate = certificates.and_then(<[_]>::first).ok_or_else(|| {
        MembershipError::Certificate("the other side showed no certificate".to_owned())
    })?;
    Ok(NodeCertificate::read(certificate)?.node)
}
