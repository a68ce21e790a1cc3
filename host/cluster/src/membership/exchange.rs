//! Questions between nodes and their answers: joining, renewing, tokens and documents.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aop_core::cluster::{JoinTokenRequest, RotateKeyRequest};
use aop_core::{Digest, NodeId, Settings};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

use super::documents::DocumentStore;
use super::frame;
use super::gossip::Gossip;
use super::identity::{Identity, Protocol, Request};
use super::members::DOCUMENT_MAX_BYTES;
use super::peer::{Connector, Expect, PeerStream};
use super::token::{JoinToken, Tokens};
use super::{MembershipError, unix_now};

/// How long an answer may take, a forwarded question included; a document of 32 MiB needs a second.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Strangers that are answered at one time. One that joins takes some milliseconds.
const STRANGERS_MAX: usize = 32;
/// How long a stranger may take to ask.
const STRANGER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a member may be quiet on a connection for questions.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How many members that hold the zone's key are asked.
const HOLDERS_ASKED_MAX: usize = 3;

/// Nodes of one zone: what its gossip, documents and connections are made and measured for.
const NODES_MAX: usize = Settings::REPLICAS_MAX as usize;
/// How long until a new member is heard of: two rounds of gossip.
const HEARD_MAX: Duration = Duration::from_secs(2);
/// What somebody hears whose join token leads to nobody, whatever the reason.
const CANNOT_ASK: &str = "the member that made the join token cannot be asked: make another with `aop cluster join-token` on a node that runs";

/// What a node may ask.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// A stranger: let me in. `request` is a certificate request in Base64.
    Join { token: String, request: String },
    /// A node: a new certificate for my key.
    Renew { request: String },
    /// A member, for another one that asked it: the same for that one's key.
    RenewFor { node: NodeId, request: String },
    /// A member: a join token.
    JoinToken(JoinTokenRequest),
    /// A member: the bytes with this digest.
    Document(Digest),
    /// A member: make a new key for the zone.
    RotateKey(RotateKeyRequest),
}

/// What it is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// All in Base64.
    Certificate {
        certificate: String,
        authority: String,
        /// The authorities before that one, for who joins: a node that was of this zone before knows it by one of them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lineage: Vec<String>,
    },
    JoinToken(String),
    /// The bytes follow as a message of their own.
    Document,
    /// The key before stops to count then, in seconds since the Unix epoch.
    Rotated {
        retires_unix_s: u64,
    },
    /// No, because who asks was evicted.
    Evicted,
    /// No, and why.
    Refused(String),
}

impl Answer {
    /// The certificate in an answer, and the authority's.
    pub(crate) fn certificates(
        self,
    ) -> Result<(CertificateDer<'static>, CertificateDer<'static>), MembershipError> {
        match self {
            Self::Certificate { certificate, authority, .. } => {
                Ok((decode(&certificate)?.into(), decode(&authority)?.into()))
            }
            other => Err(other.unexpected()),
        }
    }

    /// The authorities before the one in an answer.
    pub(crate) fn lineage(&self) -> Result<Vec<CertificateDer<'static>>, MembershipError> {
        let Self::Certificate { lineage, .. } = self else { return Ok(Vec::new()) };
        lineage.iter().map(|text| Ok(decode(text)?.into())).collect()
    }

    fn unexpected(self) -> MembershipError {
        match self {
            Self::Refused(reason) => MembershipError::Refused(reason),
            Self::Evicted => MembershipError::Evicted,
            _ => MembershipError::Malformed("it answers another question".to_owned()),
        }
    }
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn decode(text: &str) -> Result<Vec<u8>, MembershipError> {
    STANDARD.decode(text).map_err(|error| MembershipError::Malformed(error.to_string()))
}

/// Asks one question on a fresh connection.
pub(crate) async fn ask(
    stream: &mut PeerStream,
    question: &Question,
) -> Result<Answer, MembershipError> {
    let asked = async {
        frame::write_json(stream, question).await?;
        frame::read_json(stream).await
    };
    let reason = match tokio::time::timeout(ANSWER_MAX, asked).await {
        Ok(Ok(Some(answer))) => return Ok(answer),
        Ok(Ok(None)) => "it closed the connection".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", ANSWER_MAX.as_secs()),
    };
    Err(MembershipError::unreachable("the other node", reason))
}

/// Answers questions.
pub(crate) struct Answerer {
    identity: Arc<Identity>,
    connector: Connector,
    tokens: Tokens,
    documents: Arc<DocumentStore>,
    gossip: Arc<Gossip>,
    strangers: Semaphore,
}

impl Answerer {
    pub(crate) fn new(
        identity: Arc<Identity>,
        connector: Connector,
        tokens: Tokens,
        documents: Arc<DocumentStore>,
        gossip: Arc<Gossip>,
    ) -> Self {
        let strangers = Semaphore::new(STRANGERS_MAX);
        Self { identity, connector, tokens, documents, gossip, strangers }
    }

    /// Answers on a connection until it ends: one question of strangers, any number of members'.
    pub(crate) async fn serve(
        &self,
        protocol: Protocol,
        peer: Option<NodeId>,
        mut stream: PeerStream,
    ) -> std::io::Result<()> {
        let is_stranger = protocol == Protocol::Join;
        let _place = match is_stranger.then(|| self.strangers.try_acquire()) {
            Some(Err(_)) => return Ok(()),
            place => place,
        };
        let patience = if is_stranger { STRANGER_PATIENCE } else { IDLE_MAX };
        loop {
            let read = frame::read_json::<Question>(&mut stream);
            let Ok(question) = tokio::time::timeout(patience, read).await else { return Ok(()) };
            let Some(question) = question? else { return Ok(()) };
            let (answer, document) = self.answer(protocol, peer.as_ref(), question).await;
            let answered = async {
                frame::write_json(&mut stream, &answer).await?;
                match document {
                    Some(bytes) => frame::write(&mut stream, &bytes).await,
                    None => Ok(()),
                }
            };
            tokio::time::timeout(ANSWER_MAX, answered).await??;
            if protocol != Protocol::Ask {
                return stream.shutdown().await;
            }
        }
    }

    /// What a question gets, by who asks.
    async fn answer(
        &self,
        protocol: Protocol,
        peer: Option<&NodeId>,
        question: Question,
    ) -> (Answer, Option<Bytes>) {
        let mut document = None;
        let answer = match (protocol, peer, question) {
            (Protocol::Join, _, Question::Join { token, request }) => {
                self.join(&token, &request).await
            }
            (Protocol::Renew, Some(peer), Question::Renew { request }) => {
                self.renew(peer, &request).await
            }
            (Protocol::Ask, Some(_), Question::Join { token, request }) => {
                self.redeem(&token, &request)
            }
            (Protocol::Ask, Some(_), Question::RenewFor { node, request }) => {
                self.sign_for(&node, &request)
            }
            (Protocol::Ask, Some(_), Question::JoinToken(request)) => {
                self.issue(request).map(|token| Answer::JoinToken(token.write()))
            }
            (Protocol::Ask, Some(_), Question::Document(digest)) => {
                document = self.documents.get(&digest);
                match document {
                    Some(_) => Ok(Answer::Document),
                    None => Ok(Answer::Refused("this node does not have it".to_owned())),
                }
            }
            (Protocol::Ask, Some(_), Question::RotateKey(request)) => {
                self.rotate(request).map(|retires_unix_s| Answer::Rotated { retires_unix_s })
            }
            _ => Err(MembershipError::Refused("that cannot be asked here".to_owned())),
        };
        let answer = answer.unwrap_or_else(|error| {
            tracing::info!(?protocol, ?peer, %error, "refused what a node asked for");
            match error {
                MembershipError::Refused(reason) => Answer::Refused(reason),
                MembershipError::Evicted => Answer::Evicted,
                other => Answer::Refused(other.to_string()),
            }
        });
        (answer, document)
    }

    /// A stranger's question: answered here when the token was made here, else by who made it.
    async fn join(&self, token: &str, request: &str) -> Result<Answer, MembershipError> {
        let read = JoinToken::read(token)?;
        if read.node == *self.identity.id() {
            return self.redeem(token, request);
        }
        let question = Question::Join { token: token.to_owned(), request: request.to_owned() };
        // Nobody vouched for the token yet, so it does not say whom to connect to: only a member is asked, where it
        // is known to be, or where a contact is. Whoever shows the token hears the same
        // whatever went wrong, and learns nothing of what else is in this network.
        let known = match self.known(&read.node).await {
            Some(endpoint) => Some(endpoint),
            None => Some(read.endpoint).filter(|endpoint| self.gossip.knows(*endpoint)),
        };
        let Some(endpoint) = known else {
            tracing::info!(node = %read.node, endpoint = %read.endpoint, "a join token names no member that is known");
            return Err(MembershipError::Refused(CANNOT_ASK.to_owned()));
        };
        let asked = async {
            let expect = Expect::Node(&read.node);
            let mut stream = self.connector.open(endpoint, Protocol::Ask, expect).await?;
            ask(&mut stream, &question).await
        };
        asked.await.map_err(|error| {
            tracing::info!(node = %read.node, %endpoint, %error, "the member that made a join token cannot be asked");
            MembershipError::Refused(CANNOT_ASK.to_owned())
        })
    }

    /// Where a member is; one that joined a moment ago may not have been heard of yet.
    async fn known(&self, node: &NodeId) -> Option<SocketAddr> {
        let mut view = self.gossip.view();
        let heard = view.wait_for(|view| view.member(node).is_some());
        let view = tokio::time::timeout(HEARD_MAX, heard).await.ok()?.ok()?;
        view.member(node).map(|member| member.endpoint)
    }

    fn redeem(&self, token: &str, request: &str) -> Result<Answer, MembershipError> {
        let (token, request) = (JoinToken::read(token)?, Request::read(&decode(request)?)?);
        let now = unix_now();
        self.check_not_evicted(&request.node)?;
        let is_full = {
            let view = self.gossip.view();
            let view = view.borrow();
            view.member(&request.node).is_none() && view.members.len() >= NODES_MAX
        };
        if is_full {
            return Err(MembershipError::Refused(format!(
                "the zone has {NODES_MAX} nodes, and every one talks to every other: begin another zone"
            )));
        }
        // Before anything is signed: strangers get no work done.
        self.tokens.redeem(&token, &request.node, now)?;
        let certificate = self.identity.authority().sign(&request, now)?;
        tracing::info!(node = %request.node, "let a node into the zone");
        let trust = self.identity.trust().borrow().clone();
        let lineage = trust.lineage().map(|root| encode(&root.certificate)).collect();
        Ok(self.certificate(&certificate, lineage))
    }

    /// A new certificate for who asks, from here or from a member that can sign.
    async fn renew(&self, peer: &NodeId, request: &str) -> Result<Answer, MembershipError> {
        self.check_not_evicted(peer)?;
        if self.identity.authority().is_held() {
            return self.sign_for(peer, request);
        }
        let question = Question::RenewFor { node: peer.clone(), request: request.to_owned() };
        self.ask_holder(&question).await
    }

    fn sign_for(&self, node: &NodeId, request: &str) -> Result<Answer, MembershipError> {
        let request = Request::read(&decode(request)?)?;
        if request.node != *node {
            return Err(MembershipError::Refused(
                "the certificate request is not for the key of the node that asks".to_owned(),
            ));
        }
        self.check_not_evicted(node)?;
        let certificate = self.identity.authority().sign(&request, unix_now())?;
        Ok(self.certificate(&certificate, Vec::new()))
    }

    fn check_not_evicted(&self, node: &NodeId) -> Result<(), MembershipError> {
        if self.identity.trust().borrow().is_evicted(node) {
            return Err(MembershipError::Evicted);
        }
        Ok(())
    }

    fn certificate(&self, certificate: &CertificateDer<'_>, lineage: Vec<String>) -> Answer {
        Answer::Certificate {
            lineage,
            certificate: encode(certificate),
            authority: encode(self.identity.authority().certificate()),
        }
    }

    fn issue(&self, request: JoinTokenRequest) -> Result<JoinToken, MembershipError> {
        let authority = self.identity.authority();
        if !authority.is_held() {
            return Err(MembershipError::NoAuthority);
        }
        let (node, endpoint) = (self.identity.id().clone(), self.gossip.endpoint());
        self.tokens.issue(authority.fingerprint(), node, endpoint, request, unix_now())
    }

    /// A join token, from here or from a member that can sign.
    pub(crate) async fn join_token(
        &self,
        request: JoinTokenRequest,
    ) -> Result<String, MembershipError> {
        match self.issue(request) {
            Err(MembershipError::NoAuthority) => {
                match self.ask_holder(&Question::JoinToken(request)).await? {
                    Answer::JoinToken(token) => Ok(token),
                    other => Err(other.unexpected()),
                }
            }
            issued => issued.map(|token| token.write()),
        }
    }

    /// Signs a new certificate for this node.
    pub(crate) fn renew_self(&self) -> Result<(), MembershipError> {
        let request = Request::read(&self.identity.request()?)?;
        let authority = self.identity.authority();
        let certificate = authority.sign(&request, unix_now())?;
        self.identity.renew(certificate, authority.certificate())
    }

    fn rotate(&self, request: RotateKeyRequest) -> Result<u64, MembershipError> {
        let overlap = Duration::from_secs(request.overlap_s);
        if !RotateKeyRequest::OVERLAP.contains(&overlap) {
            return Err(MembershipError::Refused(format!(
                "certificates of the key before count for {} s to {} days more",
                RotateKeyRequest::OVERLAP.start().as_secs(),
                RotateKeyRequest::OVERLAP.end().as_secs() / (24 * 60 * 60)
            )));
        }
        let retires = self.identity.rotate(unix_now(), overlap, request.again)?;
        tracing::warn!(retires_unix_s = retires, "the zone has a new key");
        self.renew_self()?;
        Ok(retires)
    }

    /// Makes a new key for the zone, here or at a member that holds it. Answers when the one before stops to
    /// count, in seconds since the Unix epoch.
    pub(crate) async fn rotate_key(
        &self,
        request: RotateKeyRequest,
    ) -> Result<u64, MembershipError> {
        if self.identity.authority().is_held() {
            return self.rotate(request);
        }
        match self.ask_holder(&Question::RotateKey(request)).await? {
            Answer::Rotated { retires_unix_s } => Ok(retires_unix_s),
            other => Err(other.unexpected()),
        }
    }

    async fn ask_holder(&self, question: &Question) -> Result<Answer, MembershipError> {
        let holders: Vec<_> = self
            .gossip
            .view()
            .borrow()
            .others()
            .filter(|member| member.holds_authority)
            .map(|member| member.id.clone())
            .take(HOLDERS_ASKED_MAX)
            .collect();
        let mut last = MembershipError::NoAuthority;
        for holder in holders {
            match self.ask_member(&holder, question).await {
                Ok(Answer::Refused(reason)) => last = MembershipError::Refused(reason),
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_member(
        &self,
        node: &NodeId,
        question: &Question,
    ) -> Result<Answer, MembershipError> {
        let mut stream = self.open(node).await?;
        ask(&mut stream, question).await
    }

    async fn open(&self, node: &NodeId) -> Result<PeerStream, MembershipError> {
        let endpoint = self.gossip.endpoint_of(node)?;
        self.connector.open(endpoint, Protocol::Ask, Expect::Node(node)).await
    }

    /// The bytes with a digest, from a member. Whether they have it is for the caller to check.
    pub(crate) async fn fetch(
        &self,
        node: &NodeId,
        digest: Digest,
    ) -> Result<Bytes, MembershipError> {
        let fetched = async {
            let mut stream = self.open(node).await?;
            match ask(&mut stream, &Question::Document(digest)).await? {
                Answer::Document => {}
                other => return Err(other.unexpected()),
            }
            let broken = |reason: String| MembershipError::unreachable(node, reason);
            let read = frame::read(&mut stream, DOCUMENT_MAX_BYTES).await;
            let bytes = read.map_err(|error| broken(error.to_string()))?;
            bytes.map(Bytes::from).ok_or_else(|| broken("it sent nothing".to_owned()))
        };
        tokio::time::timeout(ANSWER_MAX, fetched)
            .await
            .unwrap_or_else(|_| Err(MembershipError::unreachable(node, "it is too slow")))
    }
}
