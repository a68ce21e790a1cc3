//! Against a registry on this machine that does what a test tells it to.

use std::collections::HashMap;
use std::sync::Mutex;

use aop_core::{BoxFuture, Secret, SecretError, SecretName, Secrets, TenantName};
use aop_services::{EgressConfig, HttpEgress, Network, SystemResolver};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

const COMPONENT: &[u8] = b"\0asm, or so";
const PASSWORD: &str = "hunter2-hunter2";

/// No bundle is better than another.
fn any(_: &[u8], _: &str) -> u8 {
    0
}

/// What a registry answers to a path: the whole response, `{}` standing for its own address.
type Answers = HashMap<String, String>;

struct Stub {
    host: String,
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Stub {
    async fn start(answers: Answers) -> Self {
        Self::answering(move |request| {
            let path = request.split(' ').nth(1).unwrap_or_default();
            answers.get(path).cloned().unwrap_or_else(|| status(404, ""))
        })
        .await
    }

    async fn answering(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (noted, own, answer) = (Arc::clone(&seen), host.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (noted, own, answer) = (Arc::clone(&noted), own.clone(), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    let request = String::from_utf8(head).unwrap();
                    let response = answer(&request).replace("{}", &own);
                    noted.lock().unwrap().push(request);
                    // Whoever asked may have heard enough.
                    let _ = stream.write_all(response.as_bytes()).await;
                });
            }
        });
        Self { host, seen, task }
    }

    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn reference(&self, rest: &str) -> OciReference {
        format!("oci://{}/acme/textkit{rest}", self.host).parse().unwrap()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Nothing;

impl Secrets for Nothing {
    fn get<'a>(
        &'a self,
        _: &'a TenantName,
        name: &'a SecretName,
    ) -> BoxFuture<'a, Result<Secret, SecretError>> {
        Box::pin(async move { Err(SecretError::Missing(name.clone())) })
    }
}

fn status(code: u16, headers: &str) -> String {
    format!("HTTP/1.1 {code} It\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn registries(hosts: &[&str], change: impl FnOnce(&mut RegistriesConfig)) -> Registries {
    let credentials: Vec<_> = hosts
        .iter()
        .map(|host| format!(r#""{host}":{{"username":"user","password":"{PASSWORD}"}}"#))
        .collect();
    let credentials = format!(r#"{{"auths":{{{}}}}}"#, credentials.join(","));
    let mut config = RegistriesConfig {
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        credentials: Credentials::from_json(&credentials).unwrap(),
        ..RegistriesConfig::default()
    };
    change(&mut config);
    let egress =
        HttpEgress::new(Network::new(SystemResolver), Arc::new(Nothing), EgressConfig::default());
    Registries::new(Arc::new(egress), config)
}

fn manifest(component: &[u8]) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{{"mediaType":"application/vnd.wasm.config.v0+json","digest":"{0}","size":2}},"layers":[{{"mediaType":"application/wasm","digest":"{1}","size":{2}}}]}}"#,
        Digest::of(b"{}"),
        Digest::of(component),
        component.len()
    )
}

fn blob_path(bytes: &[u8]) -> String {
    format!("/v2/acme/textkit/blobs/{}", Digest::of(bytes))
}

/// A registry as it should be.
fn honest() -> Answers {
    let manifest = manifest(COMPONENT);
    let digest = Digest::of(manifest.as_bytes());
    [
        (format!("/v2/acme/textkit/manifests/{digest}"), ok(&manifest)),
        ("/v2/acme/textkit/manifests/1.2".to_owned(), ok(&manifest)),
        (blob_path(COMPONENT), ok(std::str::from_utf8(COMPONENT).unwrap())),
    ]
    .into()
}

fn pinned() -> String {
    format!("@{}", Digest::of(manifest(COMPONENT).as_bytes()))
}

async fn refused(answers: Answers, rest: &str) -> String {
    let stub = Stub::start(answers).await;
    let pull = registries(&[&stub.host], |_| ()).pull(&stub.reference(rest), None, &any).await;
    pull.unwrap_err().to_string()
}

#[tokio::test]
async fn a_component_is_pulled_by_the_digest_of_its_manifest_or_its_own() {
    let stub = Stub::start(honest()).await;
    let registries = registries(&[&stub.host], |_| ());
    for (rest, component) in [
        (pinned(), None),
        (format!(":1.2{}", pinned()), None),
        (":1.2".to_owned(), Some(Digest::of(COMPONENT))),
    ] {
        let pulled = registries.pull(&stub.reference(&rest), component, &any).await.unwrap();
        assert_eq!(pulled.component, COMPONENT);
        assert_eq!(format!("@{}", pulled.reference.digest().unwrap()), pinned());
        assert_eq!(pulled.bundle, None);
    }
}

#[tokio::test]
async fn a_tag_alone_is_no_component() {
    let stub = Stub::start(honest()).await;
    let error = registries(&[&stub.host], |_| ())
        .pull(&stub.reference(":1.2"), None, &any)
        .await
        .unwrap_err();
    assert!(matches!(error, PullError::NotPinned(_)), "{error}");
    assert!(stub.requests().is_empty());
}

#[tokio::test]
async fn a_registry_that_nobody_listed_is_not_asked() {
    let stub = Stub::start(honest()).await;
    let error = registries(&["ghcr.io"], |_| ())
        .pull(&stub.reference(&pinned()), None, &any)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("AOP_SUPPLY_REGISTRIES"), "{error}");
    assert!(stub.requests().is_empty());
}

#[tokio::test]
async fn what_has_another_digest_is_refused() {
    let other = manifest(b"other");
    let mut answers = honest();
    answers.insert(format!("/v2/acme/textkit/manifests/{}", &pinned()[1..]), ok(&other));
    assert!(refused(answers, &pinned()).await.starts_with("the manifest is not the one"));

    let mut answers = honest();
    answers.insert(blob_path(COMPONENT), ok("\0asm, or no"));
    assert!(refused(answers, &pinned()).await.starts_with("the component is not the one"));

    let stub = Stub::start(honest()).await;
    let own = Some(Digest::of(b"other"));
    let pull = registries(&[&stub.host], |_| ()).pull(&stub.reference(":1.2"), own, &any).await;
    assert!(matches!(pull.unwrap_err(), PullError::WrongDigest { what: "the component", .. }));
    assert_eq!(stub.requests().len(), 1, "the component itself is not even asked for");
}

#[tokio::test]
async fn what_is_too_large_is_not_read() {
    let endless = |length: &str| {
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{length}\r\n{}", "x".repeat(3 << 20))
    };
    for length in ["", "Content-Length: 99999999999\r\n"] {
        let mut answers = honest();
        answers.insert(blob_path(COMPONENT), endless(length));
        let error = refused(answers, &pinned()).await;
        assert!(error.contains("larger than"), "{error}");
        let mut answers = honest();
        answers.insert("/v2/acme/textkit/manifests/1.2".to_owned(), endless(length));
        let stub = Stub::start(answers).await;
        let own = Some(Digest::of(COMPONENT));
        let pull = registries(&[&stub.host], |_| ()).pull(&stub.reference(":1.2"), own, &any).await;
        let error = pull.unwrap_err().to_string();
        assert!(error.contains("larger than"), "{error}");
    }
    let stub = Stub::start(honest()).await;
    let registries = registries(&[&stub.host], |config| config.component_max_bytes = 3);
    let error =
        registries.pull(&stub.reference(&pinned()), None, &any).await.unwrap_err().to_string();
    assert!(error.contains("this host accepts 3"), "{error}");
}

#[tokio::test]
async fn a_registry_that_never_answers_is_given_up() {
    let stub = Stub::answering(|_| "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_owned()).await;
    let limit = Duration::from_millis(200);
    let registries = registries(&[&stub.host], |config| config.pull_timeout = limit);
    // The stub closes, so the answer is short; a listener that accepts nothing is silent.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let silent_registries = self::registries(&[&host], |config| config.pull_timeout = limit);
    let reference: OciReference = format!("oci://{host}/acme/textkit{}", pinned()).parse().unwrap();
    let error = silent_registries.pull(&reference, None, &any).await.unwrap_err();
    assert_eq!(error, PullError::Timeout(limit));
    assert!(registries.pull(&stub.reference(&pinned()), None, &any).await.is_err());
}

#[tokio::test]
async fn a_redirect_leads_to_public_hosts_only_and_takes_no_credential_along() {
    let elsewhere = Stub::start(HashMap::new()).await;
    let port = elsewhere.host.rsplit(':').next().unwrap().to_owned();
    for location in [
        format!("http://{}/blob", elsewhere.host),
        format!("https://{}/blob", elsewhere.host),
        format!("https://localhost:{port}/blob"),
        format!("https://[::1]:{port}/blob"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "file:///etc/passwd".to_owned(),
        "/v2/blob".to_owned(),
    ] {
        let mut answers = honest();
        answers.insert(
            blob_path(COMPONENT),
            status(307, &format!("Location: {location}?sig=secret\r\n")),
        );
        let error = refused(answers, &pinned()).await;
        assert!(error.contains("may only point to https://"), "{location}: {error}");
        assert!(!error.contains("sig=secret"), "{error}");
    }
    // A name that leads to this machine is found out after it was resolved.
    let name = "localhost.localdomain";
    let mut answers = honest();
    answers.insert(
        blob_path(COMPONENT),
        status(307, &format!("Location: https://{name}:{port}/blob\r\n")),
    );
    let error = refused(answers, &pinned()).await;
    assert!(
        error.contains("private address")
            || error.contains("no address")
            || error.contains("cannot be found")
            || error.contains(name),
        "{error}"
    );
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_token_is_fetched_from_a_listed_realm_for_this_artifact_only() {
    let files = honest();
    let stub = Stub::answering(move |request| {
        let path = request.split(' ').nth(1).unwrap();
        if path.starts_with("/token?") {
            return ok(r#"{"token":"opaque-token"}"#);
        }
        if !request.contains("authorization: Bearer opaque-token") {
            return status(401, "WWW-Authenticate: Bearer realm=\"http://{}/token?x=1\",service=\"it self\",scope=\"repository:everything:push\"\r\n");
        }
        files.get(path).cloned().unwrap_or_else(|| status(404, ""))
    })
    .await;
    let pulled = registries(&[&stub.host], |_| ())
        .pull(&stub.reference(&pinned()), None, &any)
        .await
        .unwrap();
    assert_eq!(pulled.component, COMPONENT);
    let requests = stub.requests();
    assert!(!requests[0].contains("authorization"), "{requests:?}");
    let asked = "GET /token?service=it%20self&scope=repository:acme/textkit:pull HTTP/1.1";
    assert!(requests[1].starts_with(asked), "{requests:?}");
    assert!(requests[1].contains("authorization: Basic "), "{requests:?}");
    assert!(
        requests[2..].iter().all(|request| request.contains("Bearer opaque-token")),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_realm_elsewhere_sees_no_password() {
    let thief = Stub::start(HashMap::new()).await;
    let realms = [
        (format!("http://{}/token", thief.host), "has its tokens made there"),
        ("https://evil.example/token".to_owned(), "add `evil.example` to `registries`"),
        ("http://{}@evil.example/token".to_owned(), "has its tokens made there"),
        ("ftp://{}/token".to_owned(), "must begin with https://"),
        ("nonsense".to_owned(), "tokens made there"),
    ];
    for (realm, complaint) in realms {
        let header = format!("WWW-Authenticate: Bearer realm=\"{realm}\"\r\n");
        let stub = Stub::answering(move |_| status(401, &header)).await;
        let pull =
            registries(&[&stub.host], |_| ()).pull(&stub.reference(&pinned()), None, &any).await;
        let error = pull.unwrap_err().to_string();
        assert!(error.contains(complaint), "{realm}: {error}");
        assert_eq!(stub.requests().len(), 1);
    }
    assert!(thief.requests().is_empty());
}

#[tokio::test]
async fn a_password_goes_where_it_is_asked_for_and_is_shown_nowhere() {
    let files = honest();
    let stub = Stub::answering(move |request| {
        let path = request.split(' ').nth(1).unwrap();
        if !request.contains("authorization: Basic dXNlcjpodW50ZXIyLWh1bnRlcjI=") {
            return status(401, "WWW-Authenticate: Basic realm=\"it\"\r\n");
        }
        files.get(path).cloned().unwrap_or_else(|| status(403, ""))
    })
    .await;
    let registries = registries(&[&stub.host], |_| ());
    assert!(registries.pull(&stub.reference(&pinned()), None, &any).await.is_ok());
    let refused =
        registries.pull(&stub.reference(&format!("@{}", Digest::of(b"x"))), None, &any).await;
    let error = refused.unwrap_err();
    assert!(error.to_string().contains("does not let this host read it"), "{error}");
    assert!(!format!("{error:?} {:?}", registries.config).contains("hunter2"));

    let nobody = self::registries(&[], |config| config.hosts = vec![stub.host.clone()]);
    let error = nobody.pull(&stub.reference(&pinned()), None, &any).await.unwrap_err();
    assert!(error.to_string().contains("AOP_REGISTRY_CREDENTIALS"), "{error}");
}

#[tokio::test]
async fn a_token_that_is_none_is_told_so() {
    for token in ["{}", "[]", r#"{"token":"a\nb"}"#, r#"{"token":7}"#] {
        let stub = Stub::answering(move |request| {
            if request.starts_with("GET /token") {
                return ok(token);
            }
            status(401, "WWW-Authenticate: Bearer realm=\"http://{}/token\"\r\n")
        })
        .await;
        let pull =
            registries(&[&stub.host], |_| ()).pull(&stub.reference(&pinned()), None, &any).await;
        let error = pull.unwrap_err().to_string();
        assert!(error.contains("token"), "{token}: {error}");
    }
}

#[tokio::test]
async fn a_bundle_that_refers_to_the_component_comes_along() {
    const KIND: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let bundle = r#"{"a":"bundle"}"#;
    let attached = format!(
        r#"{{"schemaVersion":2,"artifactType":"{KIND}","layers":[{{"mediaType":"{KIND}","digest":"{}","size":{}}}]}}"#,
        Digest::of(bundle.as_bytes()),
        bundle.len()
    );
    let list = format!(
        r#"{{"mediaType":"{INDEX}","manifests":[{{"mediaType":"{IMAGE}","digest":"{}","size":1,"artifactType":"text/x"}},{{"mediaType":"{IMAGE}","digest":"{}","size":{},"artifactType":"{KIND}"}}]}}"#,
        Digest::of(b"other"),
        Digest::of(attached.as_bytes()),
        attached.len()
    );
    let manifest = &pinned()[1..];
    let places = [
        format!("/v2/acme/textkit/referrers/{manifest}"),
        format!("/v2/acme/textkit/manifests/{}", manifest.replace(':', "-")),
    ];
    for place in places {
        let mut answers = honest();
        answers.insert(place, ok(&list));
        let of_bundle = format!("/v2/acme/textkit/manifests/{}", Digest::of(attached.as_bytes()));
        answers.insert(of_bundle.clone(), ok(&attached));
        answers.insert(blob_path(bundle.as_bytes()), ok(bundle));
        let stub = Stub::start(answers.clone()).await;
        let registries = registries(&[&stub.host], |_| ());
        let pulled = registries.pull(&stub.reference(&pinned()), None, &any).await.unwrap();
        assert_eq!(pulled.bundle.as_deref(), Some(bundle));

        // One that is not what the list says is none.
        answers.insert(of_bundle, ok(&attached.replace("schemaVersion\":2", "schemaVersion\":3")));
        let stub = Stub::start(answers).await;
        let registries = self::registries(&[&stub.host], |_| ());
        assert_eq!(
            registries.pull(&stub.reference(&pinned()), None, &any).await.unwrap().bundle,
            None
        );
    }
}

#[tokio::test]
async fn no_bundle_stands_in_the_way_of_a_better_one() {
    const KIND: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let attached = |bundle: &str| {
        format!(
            r#"{{"schemaVersion":2,"artifactType":"{KIND}","layers":[{{"mediaType":"{KIND}","digest":"{}","size":{}}}]}}"#,
            Digest::of(bundle.as_bytes()),
            bundle.len()
        )
    };
    let junk = (0..20).map(|number| format!("junk {number}"));
    let bundles = junk.chain(["good", "fair", "good, too", "never asked for"].map(str::to_owned));
    let mut answers = honest();
    let mut entries = Vec::new();
    for bundle in bundles {
        let attached = attached(&bundle);
        let digest = Digest::of(attached.as_bytes());
        entries.push(format!(
            r#"{{"mediaType":"{IMAGE}","digest":"{digest}","size":{},"artifactType":"{KIND}"}}"#,
            attached.len()
        ));
        answers.insert(format!("/v2/acme/textkit/manifests/{digest}"), ok(&attached));
        answers.insert(blob_path(bundle.as_bytes()), ok(&bundle));
    }
    let list = format!(r#"{{"mediaType":"{INDEX}","manifests":[{}]}}"#, entries.join(","));
    let place = format!("/v2/acme/textkit/referrers/{}", &pinned()[1..]);
    answers.insert(place, ok(&list));
    let stub = Stub::start(answers).await;
    let registries = registries(&[&stub.host], |_| ());
    let rank = |component: &[u8], bundle: &str| {
        assert_eq!(component, COMPONENT);
        assert_ne!(bundle, "good, too", "there is no better one than the one before");
        u8::from(bundle.starts_with("fair")) + 3 * u8::from(bundle.starts_with("good"))
    };
    let pulled = registries.pull(&stub.reference(&pinned()), None, &rank).await.unwrap();
    assert_eq!(pulled.bundle.as_deref(), Some("good"));
    let pulled = registries.pull(&stub.reference(&pinned()), None, &any).await.unwrap();
    assert_eq!(pulled.bundle.as_deref(), Some("junk 0"), "the first of equals");
}
