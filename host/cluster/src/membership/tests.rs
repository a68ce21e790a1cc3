//! Real nodes on loopback: TLS, joining, gossip and documents together. What is waited for is a change
//! of a watched value.

use std::time::Duration;

use super::*;
use crate::ZoneName;

/// How long anything here may take: generous, because the machine is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers a call with who makes it.
struct Greeter;

impl ServeHttp2 for Greeter {
    fn serve(&self, peer: NodeId, mut stream: PeerStream) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let _ = frame::write(&mut stream, peer.as_str().as_bytes()).await;
        })
    }
}

struct Node {
    membership: Arc<Membership>,
    data: tempfile::TempDir,
}

fn config(join: &[SocketAddr], token: Option<String>) -> MembershipConfig {
    MembershipConfig {
        zone: None,
        listen: Some(([127, 0, 0, 1], 0).into()),
        advertise: None,
        join: join.iter().map(ToString::to_string).collect(),
        token,
        labels: [("site".to_owned(), "here".to_owned())].into(),
        capacity: 4,
        gossip_interval: Duration::from_millis(100),
    }
}

async fn start_in(
    data: tempfile::TempDir,
    config: &MembershipConfig,
) -> Result<Node, MembershipError> {
    let directory = IdentityDirectory::of_data(data.path());
    let membership = Membership::start(&directory, config, Arc::new(Greeter)).await?;
    Ok(Node { membership, data })
}

async fn start(config: &MembershipConfig) -> Result<Node, MembershipError> {
    start_in(tempfile::tempdir().unwrap(), config).await
}

async fn found() -> Node {
    let zone: ZoneName = "test.example".parse().unwrap();
    start(&MembershipConfig { zone: Some(zone), ..config(&[], None) }).await.unwrap()
}

async fn token(node: &Node, uses: u32) -> String {
    let request = JoinTokenRequest { lifetime_s: 60, uses };
    node.membership.join_token(request).await.unwrap().token
}

async fn join(member: &Node, token: String) -> Result<Node, MembershipError> {
    start(&config(&[member.membership.endpoint()], Some(token))).await
}

async fn until<T: Clone>(mut watched: watch::Receiver<T>, mut holds: impl FnMut(&T) -> bool) -> T {
    let waited = tokio::time::timeout(PATIENCE, watched.wait_for(|value| holds(value))).await;
    waited.expect("it happens in time").expect("somebody publishes").clone()
}

async fn until_members(node: &Node, count: usize) -> Arc<View> {
    until(node.membership.view(), |view| view.members.len() == count).await
}

fn rotation(overlap_s: u64) -> RotateKeyRequest {
    RotateKeyRequest { overlap_s, again: false }
}

fn eviction(node: &NodeId) -> EvictRequest {
    EvictRequest { node: node.clone(), absent: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_join_by_token_see_each_other_and_leave() {
    let first = found().await;
    let token = token(&first, 2).await;
    let second = join(&first, token.clone()).await.unwrap();
    let third = join(&second, token).await.unwrap();
    for node in [&first, &second, &third] {
        let view = until_members(node, 3).await;
        let other = view.others().next().unwrap();
        assert_eq!((other.capacity, &other.labels["site"]), (4, &"here".to_owned()));
    }
    // A member without the zone's key has one made by who holds it.
    let token = self::token(&third, 1).await;
    let view = until(first.membership.view(), |view| view.members.len() == 3).await;
    assert_eq!(view.members.values().filter(|member| member.holds_authority).count(), 1);
    assert!(token.starts_with("aop1_"));

    second.membership.drain().await;
    let gone = second.membership.node().clone();
    until(first.membership.view(), |view| {
        view.members.get(&gone).is_none_or(|member| member.draining)
    })
    .await;
    second.membership.leave().await;
    until_members(&first, 2).await;
    until_members(&third, 2).await;
    assert_eq!(first.membership.status().partition, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_reach_everybody_and_the_registries_are_equal() {
    let first = found().await;
    let second = join(&first, token(&first, 1).await).await.unwrap();
    until_members(&second, 2).await;
    let bytes = Bytes::from(vec![7; 3 << 20]);
    first.membership.publish(Member::CATALOGUE, bytes.clone()).unwrap();
    let documents = until(second.membership.documents(), |documents| {
        documents.named(Member::CATALOGUE).any(|(node, _)| node == first.membership.node())
    })
    .await;
    let (_, document) = documents.named(Member::CATALOGUE).next().unwrap();
    assert_eq!(document.bytes, bytes);
    let wanted = first.membership.view().borrow().registry_digest();
    until(second.membership.view(), |view| view.registry_digest() == wanted).await;
    let too_large = Bytes::from(vec![0; DOCUMENT_MAX_BYTES + 1]);
    assert!(matches!(
        first.membership.publish(Member::CATALOGUE, too_large),
        Err(MembershipError::TooLarge { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_for_calls_knows_both_ends() {
    let first = found().await;
    let second = join(&first, token(&first, 1).await).await.unwrap();
    until_members(&second, 2).await;
    let mut stream = second.membership.connect(first.membership.node()).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let greeting = frame::read(&mut stream, 100).await.unwrap().unwrap();
    assert_eq!(greeting, second.membership.node().as_str().as_bytes());
    let stranger = NodeId::of_public_key(b"nobody");
    assert!(matches!(
        second.membership.connect(&stranger).await,
        Err(MembershipError::UnknownNode(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_used_up_foreign_or_none_are_refused_with_the_reason() {
    let (first, foreign) = (found().await, found().await);
    let once = token(&first, 1).await;
    let second = join(&first, once.clone()).await.unwrap();
    let error = join(&first, once).await.err().unwrap().to_string();
    assert!(error.contains("used up"), "{error}");
    let error = start(&config(&[first.membership.endpoint()], None)).await.err().unwrap();
    assert!(matches!(error, MembershipError::NoToken), "{error}");
    let error = join(&first, "nonsense".to_owned()).await.err().unwrap();
    assert!(matches!(error, MembershipError::MalformedToken), "{error}");
    // The token of another zone: nothing is sent to this one, and the other one lets it in.
    let other = join(&first, token(&foreign, 1).await).await.unwrap();
    until_members(&foreign, 2).await;
    assert_ne!(other.membership.status().node, second.membership.status().node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_zone_moves_no_node_and_is_not_passed_over_in_silence() {
    let (first, foreign) = (found().await, found().await);
    let second = join(&first, token(&first, 1).await).await.unwrap();
    until_members(&second, 2).await;
    let me = second.membership.node().clone();
    second.membership.leave().await;
    first.membership.leave().await;
    let second_data = second.data;
    for data in [second_data.path(), first.data.path()] {
        let other = config(&[foreign.membership.endpoint()], Some(token(&foreign, 1).await));
        let directory = IdentityDirectory::of_data(data);
        let started = Membership::start(&directory, &other, Arc::new(Greeter)).await;
        let error = started.err().unwrap();
        assert!(matches!(error, MembershipError::TokenOfOtherZone { .. }), "{error}");
    }
    // Without it, both are where they were.
    let first = start_in(first.data, &config(&[], None)).await.unwrap();
    let second = start_in(second_data, &config(&[], None)).await.unwrap();
    until_members(&first, 2).await;
    assert_eq!(second.membership.node(), &me);
    assert_eq!(foreign.membership.view().borrow().members.len(), 1);
}

/// A zone whose key was made anew twice while one of its two nodes was away; that node's data and id.
async fn rotated_twice() -> (Node, tempfile::TempDir, NodeId) {
    let first = found().await;
    let second = join(&first, token(&first, 1).await).await.unwrap();
    until_members(&first, 2).await;
    let me = second.membership.node().clone();
    second.membership.leave().await;
    until_members(&first, 1).await;
    for hours in [2, 4] {
        first.membership.rotate_key(rotation(3600)).await.unwrap();
        let ended = unix_now() + hours * 3600;
        let forgotten = first.membership.identity.change_trust(|trust| {
            trust.forget(ended);
            Ok(())
        });
        forgotten.unwrap();
    }
    (first, second.data, me)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_missed_two_rotations_comes_back_as_itself_with_a_token() {
    let (first, data, me) = rotated_twice().await;
    let back = config(&[first.membership.endpoint()], Some(token(&first, 1).await));
    let second = start_in(data, &back).await.unwrap();
    assert_eq!(second.membership.node(), &me);
    until_members(&first, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_comes_back_as_itself_without_a_token() {
    let first = found().await;
    let second = join(&first, token(&first, 1).await).await.unwrap();
    until_members(&first, 2).await;
    let view = until_members(&second, 2).await;
    let me = second.membership.node().clone();
    let generation = view.members[&me].generation;
    second.membership.leave().await;
    let second = start_in(second.data, &config(&[], None)).await.unwrap();
    assert_eq!(second.membership.node(), &me);
    let back = until(first.membership.view(), |view| {
        view.members.get(&me).is_some_and(|member| member.generation > generation)
    })
    .await;
    assert_eq!(back.members.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_says_so_until_it_is_not() {
    let (first, data, _) = rotated_twice().await;
    let second = start_in(data, &config(&[], None)).await.unwrap();
    assert_eq!(second.membership.belonging.standing().await, join::Standing::LockedOut);
    assert_eq!(second.membership.status().certificate_ends_in_s, 0);
    second.membership.leave().await;
    let back = config(&[first.membership.endpoint()], Some(token(&first, 1).await));
    let second = start_in(second.data, &back).await.unwrap();
    until_members(&second, 2).await;
    assert_eq!(second.membership.belonging.standing().await, join::Standing::Fine);
    assert!(second.membership.status().certificate_ends_in_s > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_nowhere_near_gossip() {
    let first = found().await;
    let foreign = found().await;
    // A node of another zone has a certificate, only not of this one.
    let connector = Connector::new(foreign.membership.identity.clone());
    for protocol in [Protocol::Gossip, Protocol::Ask, Protocol::Http2, Protocol::Renew] {
        let opened = connector.open(first.membership.endpoint(), protocol, Expect::Member).await;
        assert!(opened.is_err(), "{protocol:?}");
    }
    // Noise, and nothing at all.
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut noise = tokio::net::TcpStream::connect(first.membership.endpoint()).await.unwrap();
    noise.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, noise.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.len() < 64, "at most an alert");
    assert_eq!(
        first.membership.streams.traffic().received.load(std::sync::atomic::Ordering::Relaxed),
        0
    );
    assert!(first.membership.counts.refused.load(std::sync::atomic::Ordering::Relaxed) >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_certificate_still_renews_and_does_nothing_else() {
    let first = found().await;
    let second = join(&first, token(&first, 1).await).await.unwrap();
    let identity = second.membership.identity.clone();
    // As if it had been off for 30 days: the certificate it has was made then.
    let month = 30 * 24 * 60 * 60;
    let request = identity::Request::read(&identity.request().unwrap()).unwrap();
    let old = first.membership.identity.authority().sign(&request, unix_now() - month).unwrap();
    let authority = first.membership.identity.authority().certificate().clone();
    identity.renew(old, &authority).unwrap();
    assert!(identity.validity().1 < unix_now());
    let connector = Connector::new(identity.clone());
    let endpoint = first.membership.endpoint();
    let mut stream = connector.open(endpoint, Protocol::Gossip, Expect::Member).await;
    // In TLS 1.3 a client learns of its refusal with its first read.
    if let Ok(stream) = &mut stream {
        assert!(
            frame::read(stream, 10).await.is_ok_and(|read| read.is_none())
                || frame::read(stream, 10).await.is_err()
        );
    }
    let mut stream = connector.open(endpoint, Protocol::Renew, Expect::Member).await.unwrap();
    let question =
        exchange::Question::Renew { request: exchange::encode(&identity.request().unwrap()) };
    let (certificate, authority) =
        exchange::ask(&mut stream, &question).await.unwrap().certificates().unwrap();
    identity.renew(certificate, &authority).unwrap();
    assert!(identity.validity().1 > unix_now());
}

/// Whether a node lets another one speak to it; in TLS 1.3 a client learns of its refusal with its first read.
async fn is_let_in(node: &Node, by: &Node) -> bool {
    let connector = Connector::new(node.membership.identity.clone());
    let endpoint = by.membership.endpoint();
    let opened = connector.open(endpoint, Protocol::Http2, Expect::Member).await;
    let Ok(mut stream) = opened else { return false };
    matches!(frame::read(&mut stream, 100).await, Ok(Some(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_node_is_cut_off_by_all_and_comes_back_as_another_one() {
    let first = found().await;
    let token = token(&first, 2).await;
    let (second, third) =
        (join(&first, token.clone()).await.unwrap(), join(&first, token).await.unwrap());
    for node in [&first, &second, &third] {
        until_members(node, 3).await;
    }
    let gone = third.membership.node().clone();
    let own = first.membership.node().clone();
    assert!(matches!(first.membership.evict(&eviction(&own)).await, Err(ClusterError::Invalid(_))));
    // A connection that is open when it happens.
    let mut open = third.membership.connect(&own).await.unwrap();
    frame::read(&mut open, 100).await.unwrap().unwrap();

    let report = second.membership.evict(&eviction(&gone)).await.unwrap();
    assert!(report.was_member && report.is_new && !report.held_authority);
    assert!(!second.membership.evict(&eviction(&gone)).await.unwrap().is_new);
    for node in [&first, &second] {
        until(node.membership.identity.trust(), |trust| trust.is_evicted(&gone)).await;
        until_members(node, 2).await;
        assert!(!is_let_in(&third, node).await);
        assert_eq!(node.membership.status().evicted.len(), 1);
        assert_eq!(node.membership.status().partition, None);
    }
    let ended = tokio::time::timeout(PATIENCE, frame::read(&mut open, 100)).await.unwrap();
    assert!(!matches!(ended, Ok(Some(_))), "the connection was cut");
    // It learns of it, and sees nobody any more.
    tokio::time::timeout(PATIENCE, third.membership.stop.cancelled()).await.unwrap();
    until_members(&third, 1).await;
    let status = third.membership.status();
    assert_eq!(status.members.len(), 1, "{status:?}");

    // The others remember it over a restart.
    second.membership.leave().await;
    let second = start_in(second.data, &config(&[], None)).await.unwrap();
    assert!(second.membership.identity.trust().borrow().is_evicted(&gone));
    until_members(&first, 2).await;

    // Without a token it does not start; with one it is another node.
    third.membership.leave().await;
    let directory = IdentityDirectory::of_data(third.data.path());
    let started = Membership::start(&directory, &config(&[], None), Arc::new(Greeter)).await;
    assert!(matches!(started.err().unwrap(), MembershipError::Evicted));
    let token = self::token(&first, 1).await;
    let join = config(&[first.membership.endpoint()], Some(token));
    let again = start_in(third.data, &join).await.unwrap();
    assert_ne!(again.membership.node(), &gone);
    for node in [&first, &second, &again] {
        until_members(node, 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_when_it_was_evicted_learns_it_from_whoever_it_asks() {
    let first = found().await;
    let second = join(&first, token(&first, 1).await).await.unwrap();
    until_members(&first, 2).await;
    until_members(&second, 2).await;
    second.membership.leave().await;
    until_members(&first, 1).await;
    let mut away = eviction(second.membership.node());
    let unknown = first.membership.evict(&away).await;
    assert!(
        matches!(&unknown, Err(ClusterError::Invalid(why)) if why.contains("--absent")),
        "{unknown:?}"
    );
    away.absent = true;
    first.membership.evict(&away).await.unwrap();
    let directory = IdentityDirectory::of_data(second.data.path());
    let second = start_in(second.data, &config(&[], None)).await.unwrap();
    tokio::time::timeout(PATIENCE, second.membership.stop.cancelled()).await.unwrap();
    assert!(directory.is_evicted());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_zone_gets_a_new_key_and_nobody_is_lost() {
    let first = found().await;
    let token = token(&first, 3).await;
    let (second, third) =
        (join(&first, token.clone()).await.unwrap(), join(&first, token.clone()).await.unwrap());
    for node in [&first, &second, &third] {
        until_members(node, 3).await;
    }
    // One is away.
    third.membership.leave().await;
    until_members(&first, 2).await;
    let old = first.membership.identity.authority();

    for bad in [0, 29, 91 * 24 * 60 * 60] {
        let refused = second.membership.rotate_key(rotation(bad)).await;
        assert!(matches!(refused, Err(ClusterError::Invalid(_))), "{bad}: {refused:?}");
    }
    // A member without the key asks the one that has it.
    second.membership.rotate_key(rotation(3600)).await.unwrap();
    let again = second.membership.rotate_key(rotation(3600)).await;
    assert!(
        matches!(&again, Err(ClusterError::Invalid(why)) if why.contains("rotated lately")),
        "{again:?}"
    );
    let new = first.membership.identity.authority();
    assert_ne!(new.fingerprint(), old.fingerprint());
    for node in [&first, &second] {
        until(node.membership.identity.trust(), |trust| {
            trust.newest().fingerprint() == new.fingerprint()
        })
        .await;
        until(node.membership.identity.renewals(), |()| !node.membership.identity.is_outdated())
            .await;
    }
    assert!(is_let_in(&second, &first).await && is_let_in(&first, &second).await);

    // The one that was away has a certificate of the old key and never heard of the new one.
    let third = start_in(third.data, &config(&[], None)).await.unwrap();
    for node in [&first, &second, &third] {
        until_members(node, 3).await;
    }
    until(third.membership.identity.trust(), |trust| {
        trust.newest().fingerprint() == new.fingerprint()
    })
    .await;
    // Tokens of before are void, new ones are not.
    assert!(join(&first, token).await.is_err());
    let fourth = join(&first, self::token(&second, 1).await).await.unwrap();
    until_members(&fourth, 4).await;

    // The old key stops to count; all that have renewed go on.
    let nodes = [&first, &second, &third, &fourth];
    for node in nodes {
        let ended = unix_now() + 3601;
        node.membership
            .identity
            .change_trust(|trust| {
                trust.forget(ended);
                Ok(())
            })
            .unwrap();
        assert_eq!(node.membership.identity.trust().borrow().authorities().count(), 1);
    }
    for node in nodes {
        for by in nodes {
            assert!(is_let_in(node, by).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_nobody_made_leads_nowhere_and_tells_nothing() {
    let first = found().await;
    let token = token::JoinToken::read(&self::token(&first, 1).await).unwrap();
    let listening = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [listening.local_addr().unwrap(), closed.local_addr().unwrap()];
    drop(closed);
    let request = exchange::encode(&first.membership.identity.request().unwrap());
    let mut answers = Vec::new();
    for endpoint in addresses {
        let mut forged = token.clone();
        forged.node = NodeId::of_public_key(b"nobody");
        forged.endpoint = endpoint;
        let forged = forged.write();
        let config = identity::tls::join_client(token.zone).unwrap();
        let mut stream = peer::open_as(first.membership.endpoint(), config).await.unwrap();
        let question = exchange::Question::Join { token: forged, request: request.clone() };
        match exchange::ask(&mut stream, &question).await.unwrap() {
            exchange::Answer::Refused(reason) => answers.push(reason),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answers[0], answers[1], "an open port looks like a closed one");
    let connected = tokio::time::timeout(Duration::ZERO, listening.accept()).await;
    assert!(connected.is_err(), "nobody connects to what a stranger names");
}
