use super::*;
use crate::testing::{Names, Step, Stub, ok};

const LIMITS: ExchangeLimits =
    ExchangeLimits { time: Duration::from_secs(20), answer_max_bytes: 1000 };

fn loopback() -> Vec<IpNet> {
    vec!["127.0.0.0/8".parse().unwrap()]
}

fn zones(names: Names, private: Vec<IpNet>) -> Zones {
    Zones::new(Network::new(names), private)
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::from_static(b"{}")).unwrap()
}

#[tokio::test]
async fn an_exchange_brings_the_whole_answer_and_keeps_the_connection() {
    let stub = Stub::saying("hello").await;
    let zones = zones(Names::default(), loopback());
    let url = format!("http://{}/zone/v1/resolve", stub.address);
    for _ in 0..3 {
        let response = zones.exchange(get(&url), LIMITS).await.unwrap();
        assert_eq!(&response.body()[..], b"hello");
        while zones.network.idle() == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert!(stub.requests()[0].starts_with("GET /zone/v1/resolve HTTP/1.1"));
    assert_eq!(stub.connections(), 1);
}

#[tokio::test]
async fn private_addresses_are_refused_unless_they_are_configured() {
    let stub = Stub::saying("secret").await;
    let (port, none) = (stub.address.port(), Vec::new());
    let names = Names::default().with("zone.example", &[&["127.0.0.1"]]);
    // A literal address in a record is no more welcome than a name that leads there.
    for host in ["127.0.0.1", "zone.example", "[::ffff:127.0.0.1]", "169.254.169.254"] {
        let zones = zones(names.clone(), none.clone());
        let refused = zones.exchange(get(&format!("http://{host}:{port}/")), LIMITS).await;
        assert!(matches!(refused, Err(TransportError::Refused(_))), "{host}: {refused:?}");
    }
    assert_eq!(stub.connections(), 0);
    let zones = zones(names, loopback());
    zones.exchange(get(&format!("http://zone.example:{port}/")), LIMITS).await.unwrap();
}

#[tokio::test]
async fn an_answer_is_cut_off_at_its_limit_whatever_it_announces() {
    let long = ok(&"x".repeat(2000));
    let unannounced =
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(), vec![b'x'; 2000]].concat();
    let huge = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n".to_vec();
    for answer in [long, unannounced, huge] {
        let stub = Stub::start(move |_| vec![Step::Send(answer.clone()), Step::Close]).await;
        let zones = zones(Names::default(), loopback());
        let cut = zones.exchange(get(&format!("http://{}/", stub.address)), LIMITS).await;
        assert!(matches!(cut, Err(TransportError::TooLarge(_))), "{cut:?}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = Stub::saying("elsewhere").await;
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n",
        target.address
    );
    let stub = Stub::start(move |_| vec![Step::Send(answer.clone().into_bytes())]).await;
    let zones = zones(Names::default(), loopback());
    let response = zones.exchange(get(&format!("http://{}/", stub.address)), LIMITS).await.unwrap();
    assert_eq!(response.status(), 307);
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn what_was_not_sent_and_what_was_lost_are_told_apart() {
    let gone = Stub::saying("").await;
    let address = gone.address;
    drop(gone);
    let zones = zones(Names::default(), loopback());
    let nobody = zones.exchange(get("http://nobody.example/"), LIMITS).await;
    assert!(matches!(nobody, Err(TransportError::Unreachable(_))), "{nobody:?}");
    let broken = Stub::start(|_| vec![Step::Close]).await;
    let lost = zones.exchange(get(&format!("http://{}/", broken.address)), LIMITS).await;
    assert!(matches!(lost, Err(TransportError::Broken(_))), "{lost:?}");
    // The port may be another program's by now; either way nothing is answered.
    assert!(zones.exchange(get(&format!("http://{address}/")), LIMITS).await.is_err());
    let hung = Stub::start(|_| vec![Step::Hang]).await;
    let brief = ExchangeLimits { time: Duration::from_millis(50), ..LIMITS };
    let late = zones.exchange(get(&format!("http://{}/", hung.address)), brief).await;
    assert!(matches!(late, Err(TransportError::Broken(_))), "{late:?}");
}

#[tokio::test]
async fn a_connection_becomes_a_stream_when_the_other_side_agrees() {
    use tokio::io::AsyncReadExt as _;
    let request = |stub: &Stub| {
        let request = Request::get(format!("http://{}/zone/v1/below/b.a", stub.address));
        request.header("upgrade", "aop-zone-1").header("connection", "upgrade").body(Bytes::new())
    };
    let agrees = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: aop-zone-1\r\nConnection: upgrade\r\n\r\nmore";
    let stub = Stub::start(|_| vec![Step::Send(agrees.to_vec()), Step::Close]).await;
    let reached = zones(Names::default(), loopback());
    let mut stream = reached.upgrade(request(&stub).unwrap(), LIMITS.time).await.unwrap();
    let mut more = String::new();
    stream.read_to_string(&mut more).await.unwrap();
    assert_eq!((more.as_str(), reached.network.idle()), ("more", 0));
    // It says why not; something in between need not.
    for (body, said) in
        [(r#"{"message":"no such zone"}"#, "no such zone"), ("<html>", "not say why")]
    {
        let answer = ok(body);
        let stub = Stub::start(move |_| vec![Step::Send(answer.clone())]).await;
        let refused = reached.upgrade(request(&stub).unwrap(), LIMITS.time).await.unwrap_err();
        assert!(refused.to_string().contains(said), "{refused}");
    }
    let nowhere = zones(Names::default(), Vec::new());
    let refused = nowhere.upgrade(request(&stub).unwrap(), LIMITS.time).await;
    assert!(matches!(refused, Err(TransportError::Refused(_))), "it may not go there");
}
