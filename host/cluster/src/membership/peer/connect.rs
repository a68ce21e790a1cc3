//! Opening connections to other nodes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aop_core::NodeId;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{PeerStream, peer_of};
use crate::membership::MembershipError;
use crate::membership::identity::{Identity, Protocol};

/// How long a connection may take to be open and authenticated. A healthy node needs two round trips;
/// a frozen one must not hold a call for long.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Who should be at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect<'a> {
    /// This node.
    Node(&'a NodeId),
    /// Any node of the zone.
    Member,
}

/// Opens connections as this node.
#[derive(Clone)]
pub(crate) struct Connector {
    identity: Arc<Identity>,
}

impl Connector {
    pub(crate) fn new(identity: Arc<Identity>) -> Self {
        Self { identity }
    }

    /// Opens a connection for a protocol that members speak.
    ///
    /// # Errors
    /// [`MembershipError::Unreachable`], [`MembershipError::Impostor`].
    pub(crate) async fn open(
        &self,
        address: SocketAddr,
        protocol: Protocol,
        expect: Expect<'_>,
    ) -> Result<PeerStream, MembershipError> {
        let stream = open_as(address, self.identity.tls().client(protocol)).await?;
        let found = peer_of(stream.get_ref().1.peer_certificates())?;
        match expect {
            Expect::Node(expected) if *expected != found => {
                Err(MembershipError::Impostor { address, expected: expected.clone(), found })
            }
            _ => Ok(stream),
        }
    }
}

impl Connector {
    /// Ends when whoever is at the other end of a connection was evicted.
    pub(crate) fn until_evicted(
        &self,
        stream: &PeerStream,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (identity, peer) =
            (self.identity.clone(), peer_of(stream.get_ref().1.peer_certificates()));
        async move {
            if let Ok(peer) = peer {
                identity.until_evicted(&peer).await;
            }
        }
    }
}

/// Opens a connection with a configuration.
pub(crate) async fn open_as(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> Result<PeerStream, MembershipError> {
    let opened = tokio::time::timeout(CONNECT_MAX, async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(config).connect(ServerName::IpAddress(address.ip().into()), stream).await
    });
    match opened.await {
        Ok(Ok(stream)) => Ok(PeerStream::Client(stream)),
        Ok(Err(error)) if is_of_a_certificate(&error) => {
            Err(MembershipError::Stranger { address, reason: error.to_string() })
        }
        Ok(Err(error)) => Err(MembershipError::unreachable(address, error)),
        Err(_) => Err(MembershipError::unreachable(
            address,
            format!("no answer within {} s", CONNECT_MAX.as_secs()),
        )),
    }
}

/// Whether a handshake failed because this side does not believe who signed the other's certificate. One of a node that was
/// evicted, or whose time a clock says is over, is something else.
fn is_of_a_certificate(error: &std::io::Error) -> bool {
    use rustls::CertificateError as Reason;
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(reason)) = tls else { return false };
    !matches!(
        reason,
        Reason::Revoked
            | Reason::Expired
            | Reason::ExpiredContext { .. }
            | Reason::NotValidYet
            | Reason::NotValidYetContext { .. }
    )
}
