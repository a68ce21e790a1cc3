//! A zone that lies, as a process would meet it: over HTTP, with records that are signed by the liar's real key. What
//! needs hours to pass (a replayed delegation) is a test in virtual time beside the code.

use std::sync::{Arc, Mutex, OnceLock};

use aop_tests::{AgentsDirectory, Aop, Host, HostOptions, eventually, guest, http_client};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the liar says instead of the outcome of a name.
type Lie = Box<dyn Fn(&str, u64) -> Value + Send>;

/// What stands between the victim and an honest zone.
struct Liar {
    honest: OnceLock<String>,
    lie: Mutex<Option<Lie>>,
    /// Answers with a gigabyte instead.
    is_endless: Mutex<bool>,
}

fn unix_s() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is later than 1970").as_secs()
}

async fn answer(State(liar): State<Arc<Liar>>, method: Method, uri: Uri, body: Bytes) -> Response {
    if *liar.is_endless.lock().expect("nobody panics") {
        let piece = Bytes::from(vec![b' '; 1 << 20]);
        let pieces = (0..1024).map(move |_| Ok::<_, std::convert::Infallible>(piece.clone()));
        return Body::from_stream(futures::stream::iter(pieces)).into_response();
    }
    let asked: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let honest = liar.honest.get().expect("the honest zone is there");
    let request = http_client().request(method, format!("{honest}{uri}"));
    let request = request.header("content-type", "application/json").body(body);
    let honest = request.send().await.expect("the honest zone answers");
    let mut answer: Value = honest.json().await.expect("it answers with JSON");
    if let Some(lie) = &*liar.lie.lock().expect("nobody panics")
        && let Some(name) = asked["names"][0].as_str()
    {
        answer["results"] = json!([lie(name, unix_s())]);
    }
    axum::Json(answer).into_response()
}

impl Liar {
    async fn start() -> (Arc<Self>, String) {
        let liar = Arc::new(Self {
            honest: OnceLock::new(),
            lie: Mutex::default(),
            is_endless: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        let app = Router::new().fallback(answer).with_state(Arc::clone(&liar));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (liar, url)
    }

    fn says(&self, lie: impl Fn(&str, u64) -> Value + Send + 'static) {
        *self.lie.lock().expect("nobody panics") = Some(Box::new(lie));
    }
}

/// The liar's key, which its parent vouches for.
#[derive(Clone)]
struct Key {
    pair: Arc<Ed25519KeyPair>,
    thumbprint: String,
}

impl Key {
    async fn of(data: &TempDir) -> Self {
        let shown = Aop::new(&["zone", "keys", "--json", "--data", &text(data)]).run().await;
        let thumbprint = shown.code(0).json()["keys"][0]["thumbprint"].as_str().map(str::to_owned);
        let directory =
            std::fs::read_dir(data.path().join("zone/keys")).expect("there are zone files");
        let pem = directory
            .filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok())
            .find(|text| text.contains("PRIVATE KEY"))
            .expect("there is a key");
        let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(base64).expect("PEM is base64");
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).expect("an Ed25519 key");
        Self { pair: Arc::new(pair), thumbprint: thumbprint.expect("it has a name") }
    }

    fn sign(&self, kind: &str, body: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "typ": kind, "kid": self.thumbprint });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(body));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn agent(&self, name: &str, iat: u64, exp: u64) -> Value {
        let body = json!({
            "name": name, "version": 1, "descriptor_sha256": format!("sha256:{}", "00".repeat(32)),
            "endpoints": [{ "url": "http://127.0.0.1:9" }], "ttl": 1, "iat": iat, "exp": exp,
        });
        let record = self.sign("aop-agent-1", &body);
        json!({ "kind": "answer", "links": [], "record": record, "reach": "world", "cached": false })
    }

    fn referral(&self, child: &str, now: u64) -> Value {
        let body = json!({
            "zone": "mid.test", "child": child, "key_thumbprint": self.thumbprint,
            "endpoints": [{ "url": "http://127.0.0.1:9" }], "exports": [], "ttl": 1, "iat": now,
            "exp": now + 600,
        });
        json!({ "kind": "referral", "delegation": self.sign("aop-delegation-1", &body) })
    }
}

fn text(directory: &TempDir) -> String {
    directory.path().display().to_string()
}

async fn zone(name: &str, data: &TempDir, agents: &AgentsDirectory, more: &str) -> Host {
    Aop::new(&["zone", "keygen", "--data", &text(data)]).run().await.code(0).prints(&[]);
    let config = format!(
        "[zone]\nname = \"{name}\"\nttl = \"1s\"\nprivate_networks = [\"127.0.0.0/8\"]\n{more}"
    );
    std::fs::write(data.path().join("zone.toml"), &config).expect("it can be written");
    Host::start(HostOptions {
        agents: vec![agents.path().to_owned()],
        data: Some(data.path().to_owned()),
        config: Some(config),
        ..HostOptions::default()
    })
    .await
}

/// The victim, which pinned the liar, and what is told to it.
struct Scene {
    victim: Host,
    liar: Arc<Liar>,
    key: Key,
    asked: u32,
    _others: (Host, [TempDir; 2], [AgentsDirectory; 2]),
}

impl Scene {
    async fn new() -> Self {
        let [data, victim_data] = [(); 2].map(|()| TempDir::new().expect("a directory"));
        let agents = AgentsDirectory::new();
        agents.put("echo.toml", b"[export]\nto = [\"world\"]\n");
        agents.put("echo.wasm", &std::fs::read(guest("echo")).expect("there is a guest"));
        // Whoever asks the zone asks the liar.
        let (liar, url) = Liar::start().await;
        let endpoints = format!("endpoints = [\"{url}\"]\n");
        let honest = zone("mid.test", &data, &agents, &endpoints).await;
        liar.honest.set(honest.url("")).expect("it is set once");
        let none = AgentsDirectory::new();
        let victim = zone("victim.example", &victim_data, &none, "").await;
        let key = Key::of(&data).await;
        let config = victim_data.path().join("zone.toml").display().to_string();
        let place = text(&victim_data);
        let pin = ["zone", "peer", "--anchor", &url, "--key", &key.thumbprint];
        // Its apex comes through the liar, who tells the truth until it is asked for names.
        let pin = [&pin[..], &["--config", &config, "--data", &place]].concat();
        Aop::new(&pin).run().await.code(0).prints(&[]);
        let scene = Self {
            victim,
            liar,
            key,
            asked: 0,
            _others: (honest, [data, victim_data], [agents, none]),
        };
        eventually("the honest answer is believed", || async {
            let ran = scene.victim.aop(&["zone", "resolve", "echo.mid.test"]).run().await;
            ran.status.success().then_some(())
        })
        .await;
        scene
    }

    async fn count(&self, name: &str) -> f64 {
        self.victim.metrics().await.value(name).unwrap_or_default()
    }

    /// Asks for a name that nobody asked for before, and checks that what comes is refused, logged and counted.
    async fn refuses(&mut self, what: &str, metric: &str) {
        self.asked += 1;
        let before = self.count(metric).await;
        let logged = || self.victim.log().matches("is not believed").count();
        let lines = logged();
        let name = format!("lie-{}.mid.test", self.asked);
        let ran = self.victim.aop(&["zone", "resolve", &name]).run().await;
        assert!(!ran.status.success(), "{what} was believed: {}", ran.stdout);
        ran.complains(&["mid.test"]);
        assert!(self.count(metric).await > before, "{what} is not counted as {metric}");
        eventually("it is logged", || async { (logged() > lines).then_some(()) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_zone_is_refused_logged_and_counted_over_http() {
    let mut scene = Scene::new().await;
    let key = scene.key.clone();
    scene.liar.says(move |name, now| {
        let mut answer = key.agent(name, now, now + 600);
        let good = answer["record"].as_str().expect("it is signed").to_owned();
        let (signed, signature) = good.rsplit_once('.').expect("a JWS has three parts");
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64");
        bytes[10] ^= 1;
        answer["record"] = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes)).into();
        answer
    });
    scene.refuses("a bad signature", "aop_zone_records_bad_signature_total").await;

    let key = scene.key.clone();
    scene.liar.says(move |name, now| key.agent(name, now - 7200, now - 3600));
    scene.refuses("an expired record", "aop_zone_records_expired_total").await;

    let key = scene.key.clone();
    scene.liar.says(move |_, now| key.agent("lie.other.test", now, now + 600));
    scene.refuses("another zone's agent", "aop_zone_records_out_of_bailiwick_total").await;

    for (what, child) in [
        ("a referral that does not contain the name", "beside.mid.test"),
        ("a referral to itself", "mid.test"),
        ("a referral back up", "test"),
    ] {
        let key = scene.key.clone();
        scene.liar.says(move |_, now| key.referral(child, now));
        scene.refuses(what, "aop_zone_records_out_of_bailiwick_total").await;
    }

    scene.liar.says(|_, _| json!({ "kind": "answer", "links": [] }));
    scene.refuses("nonsense", "aop_zone_records_malformed_total").await;

    *scene.liar.is_endless.lock().expect("nobody panics") = true;
    let before = scene.victim.resident_bytes();
    scene.refuses("a gigabyte", "aop_zone_records_malformed_total").await;
    let grown = scene.victim.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "it took {} MiB to refuse a gigabyte", grown >> 20);
    *scene.liar.is_endless.lock().expect("nobody panics") = false;

    // The truth is believed again.
    scene.liar.lie.lock().expect("nobody panics").take();
    let ran = scene.victim.aop(&["zone", "resolve", "mid.test"]).run().await;
    ran.code(0).prints(&["mid.test"]);
}
