use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::pool::IDLE_TIMEOUT;
use super::*;
use crate::testing::{Names, Step, Stub, ok};

const PATIENT: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));

fn request() -> Request<EgressBody> {
    let body: EgressBody = Box::pin(Full::new(Bytes::new()).map_err(|never| match never {}));
    Request::get("/").header("Host", "a").body(body).unwrap()
}

/// A server with a certificate for a name, and a network that trusts it.
async fn certified(name: &str, resolver: Names) -> (Stub, Network) {
    let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = certified.cert.der().clone();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let wrap = move |stream| {
        let acceptor = acceptor.clone();
        // A client that refuses the certificate leaves a stream that says nothing.
        async move {
            match acceptor.accept(stream).await {
                Ok(stream) => Box::new(stream) as Box<dyn Stream>,
                Err(_) => Box::new(tokio::io::empty()),
            }
        }
    };
    let stub = Stub::serve(|_| vec![Step::Send(ok("secret"))], wrap).await;
    (stub, Network::with_tls(resolver, client))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

fn target(is_tls: bool, host: &str, stub: &Stub) -> Target {
    Target { is_tls, host: host.to_owned(), port: stub.address.port() }
}

/// An agent on behalf of a tenant.
fn owner(policy: &Arc<aop_core::Policy>, tenant: u64) -> Owner {
    use aop_core::fair::{Flow, Party};
    let flow = |id| Flow { id, weight: Flow::WEIGHT_DEFAULT };
    Owner::agent(policy, Party { tenant: flow(tenant), agent: flow(tenant) })
}

#[tokio::test]
async fn certificates_are_checked_against_the_name_that_was_asked_for() {
    let here: &[&[&str]] = &[&["127.0.0.1"]];
    let names = Names::default().with("good.test", here).with("other.test", here);
    let (stub, network) = certified("good.test", names.clone()).await;
    let ask = async |network: &Network, host: &str| {
        network.send(&Owner::HOST, &target(true, host, &stub), |_| true, request(), PATIENT).await
    };
    let response = ask(&network, "good.test").await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "secret");
    let refusal = ask(&network, "other.test").await.unwrap_err().to_string();
    assert!(refusal.contains("cannot connect") && refusal.contains("certificate"), "{refusal}");
    let strangers = Network::new(names);
    let refusal = ask(&strangers, "good.test").await.unwrap_err().to_string();
    assert!(refusal.contains("certificate"), "{refusal}");
    assert_eq!(stub.requests().len(), 1);
}

#[tokio::test]
async fn connections_that_wait_are_bounded_and_closed_in_time() {
    let stub = Stub::saying("hello").await;
    let network = Network::new(Names::default());
    let target = target(false, "127.0.0.1", &stub);
    let send =
        async || network.send(&Owner::HOST, &target, |_| true, request(), PATIENT).await.unwrap();
    let responses = futures::future::join_all((0..20).map(|_| send())).await;
    assert_eq!(stub.connections(), 20);
    for response in responses {
        response.into_body().collect().await.unwrap();
    }
    while network.idle() < 8 {
        tokio::task::yield_now().await;
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(network.idle(), 8, "eight wait for one server");
    tokio::time::pause();
    tokio::time::advance(IDLE_TIMEOUT).await;
    while network.idle() > 0 {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn an_address_that_does_not_answer_leaves_time_for_the_next() {
    let stub = Stub::saying("hello").await;
    // Nobody listens on the port at the first address.
    let names = Names::default().with("two.test", &[&["127.0.0.2", "127.0.0.1"]]);
    let network = Network::new(names);
    let target = target(false, "two.test", &stub);
    network.send(&Owner::HOST, &target, |_| true, request(), PATIENT).await.unwrap();
    let only_first = |address: IpAddr| address.to_string() == "127.0.0.2";
    let refused = network.send(&Owner::HOST, &target, only_first, request(), PATIENT).await;
    assert!(matches!(refused, Err(NetworkError::Connect { .. })), "{refused:?}");
}

/// Everything that blocks ends only when the test says so.
#[tokio::test]
async fn what_blocks_keeps_its_place_when_nobody_waits_for_it() {
    static PLACES: Semaphore = Semaphore::const_new(1);
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let mut first = Box::pin(blocking(&PLACES, move || {
        begun.send(()).unwrap();
        let _ = ends.recv();
    }));
    assert!(futures::poll!(&mut first).is_pending());
    has_begun.await.unwrap();
    drop(first);
    let mut second = Box::pin(blocking(&PLACES, || ()));
    assert!(futures::poll!(&mut second).is_pending());
    assert_eq!(PLACES.available_permits(), 0, "its thread is still taken");
    drop(end);
    second.await.unwrap();
}

#[test]
fn what_could_not_be_read_is_read_again() {
    let cell = OnceLock::new();
    assert_eq!(keep(&cell, || Err("no file")), Err("no file"));
    assert_eq!(keep(&cell, || Ok::<_, &str>(1)), Ok(1));
    assert_eq!(keep(&cell, || Err("no file")), Ok(1), "once is enough");
}

#[tokio::test]
async fn a_connection_serves_its_owner_only() {
    let stub = Stub::saying("hello").await;
    let network = Network::new(Names::default());
    let target = target(false, "127.0.0.1", &stub);
    let policies = [Arc::default(), Arc::default()];
    let owners = [Owner::HOST, owner(&policies[0], 1), owner(&policies[1], 1)];
    for _ in 0..2 {
        for owner in &owners {
            let idle = network.idle();
            let response = network.send(owner, &target, |_| true, request(), PATIENT).await;
            response.unwrap().into_body().collect().await.unwrap();
            while network.idle() < idle.max(1) {
                tokio::task::yield_now().await;
            }
        }
    }
    assert_eq!((stub.connections(), stub.requests().len()), (3, 6));
}

#[tokio::test]
async fn connections_that_wait_are_bounded_over_all_servers() {
    let stub = Stub::saying("hello").await;
    let hosts: Vec<_> = (0..33).map(|index| format!("host-{index}.test")).collect();
    let here: &[&[&str]] = &[&["127.0.0.1"]];
    let names = hosts.iter().fold(Names::default(), |names, host| names.with(host, here));
    let network = Network::new(names);
    for host in &hosts {
        let target = target(false, host, &stub);
        let send = async || {
            network.send(&Owner::HOST, &target, |_| true, request(), PATIENT).await.unwrap()
        };
        let idle = network.idle();
        for response in futures::future::join_all((0..8).map(|_| send())).await {
            response.into_body().collect().await.unwrap();
        }
        while network.idle() < (idle + 8).min(256) {
            tokio::task::yield_now().await;
        }
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!((stub.connections(), network.idle()), (33 * 8, 256));
}

/// Paused time passes while all wait for each other, and not while a thread looks something up.
#[tokio::test(start_paused = true)]
async fn few_names_are_looked_up_at_one_time() {
    let all = LOOKUPS.acquire_many(u32::try_from(LOOKUPS_MAX).unwrap()).await.unwrap();
    let limit = Duration::from_secs(1);
    let asked = tokio::time::timeout(limit, SystemResolver.resolve("127.0.0.1")).await;
    assert!(asked.is_err(), "{asked:?}");
    drop(all);
    let found = SystemResolver.resolve("127.0.0.1").await.unwrap();
    assert_eq!(found, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
}

/// Never answers, and counts who waits.
#[derive(Clone, Default)]
struct Silence(Arc<std::sync::atomic::AtomicUsize>);

impl ResolveName for Silence {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let answer = (host == "known.test").then(|| vec!["127.0.0.1".parse().unwrap()]);
        Box::pin(async move {
            match answer {
                Some(answer) => Ok(answer),
                None => std::future::pending().await,
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn an_agents_lookups_are_bounded_also_when_it_stops_waiting() {
    let silence = Silence::default();
    let network = Network::new(silence.clone());
    let (greedy, other) = (Arc::default(), Arc::default());
    let (greedy, other) = (owner(&greedy, 1), owner(&other, 1));
    for _ in 0..10 {
        let asking = network.inner.look_up(&greedy, "silent.test");
        assert!(tokio::time::timeout(Duration::from_secs(1), asking).await.is_err());
    }
    assert_eq!(silence.0.load(Ordering::SeqCst), LOOKUPS_PER_OWNER_MAX, "the rest never began");
    assert_eq!(network.inner.look_up(&other, "known.test").await.len(), 1);
    assert_eq!(network.inner.look_up(&Owner::HOST, "known.test").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_agents_of_one_tenant_leave_lookups_to_others() {
    let silence = Silence::default();
    let network = Network::new(silence.clone());
    let greedy: Vec<Arc<aop_core::Policy>> = (0..20).map(|_| Arc::default()).collect();
    let asking = greedy.iter().flat_map(|policy| {
        let asks = |_| async { network.inner.look_up(&owner(policy, 1), "silent.test").await };
        (0..LOOKUPS_PER_OWNER_MAX).map(asks)
    });
    let asking = futures::future::join_all(asking);
    assert!(tokio::time::timeout(Duration::from_secs(1), asking).await.is_err());
    let begun = silence.0.load(Ordering::SeqCst);
    assert!((LOOKUPS_OF_AGENTS_MAX / 2..LOOKUPS_OF_AGENTS_MAX).contains(&begun), "{begun}");
    let other = owner(&Arc::default(), 2);
    assert_eq!(network.inner.look_up(&other, "known.test").await.len(), 1);
    let one_more = Arc::default();
    let one_more = owner(&one_more, 1);
    let waiting = network.inner.look_up(&one_more, "known.test");
    assert!(tokio::time::timeout(Duration::from_secs(1), waiting).await.is_err());
}
