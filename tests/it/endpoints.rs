//! Every endpoint of the real binary against every kind of credential: none, wrong, expired, for another audience, of another
//! tenant, and with too few scopes. The table is made of the document that the host serves, so that a new route
//! cannot be left out of it.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aop_tests::{AgentsDirectory, Host, HostOptions, Mcp, http_client};
use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

const AUDIENCE: &str = "https://aop.example/mcp";
const SCOPES: [&str; 5] =
    ["tools:call", "tools:list", "agents:write", "tenant:admin", "cluster:admin"];

/// An issuer of tokens on this machine.
struct Issuer {
    url: String,
    key: Ed25519KeyPair,
}

impl Issuer {
    async fn start() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("there is chance");
        let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("it is a key");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let x = URL_SAFE_NO_PAD.encode(key.public_key());
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "use": "sig", "alg": "EdDSA", "x": x });
        let keys = json!({ "keys": [jwk] }).to_string();
        let metadata = json!({ "issuer": url, "jwks_uri": format!("{url}/jwks") }).to_string();
        let answer = |text: String| get(move || std::future::ready(text.clone()));
        let app = Router::new()
            .route("/jwks", answer(keys))
            .route("/.well-known/openid-configuration", answer(metadata));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, key }
    }

    /// A token of `acme` with these scopes that is good in every way, changed.
    fn token(&self, scopes: &[&str], change: impl FnOnce(&mut Value)) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        let mut claims = json!({
            "iss": self.url, "aud": AUDIENCE, "sub": "ada", "exp": now + 3600, "iat": now,
            "org": "acme", "scope": scopes.join(" "),
        });
        change(&mut claims);
        let header = json!({ "alg": "EdDSA", "kid": "k", "typ": "at+jwt" });
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// An endpoint: its method, its path, and the scope that it needs.
pub(crate) struct Endpoint {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) scope: String,
}

/// What the document of the host describes, and the routes that are not of the admin API.
pub(crate) async fn endpoints(host: &Host) -> (Vec<Endpoint>, Vec<String>) {
    let document = http_client().get(host.url("/api/v1/openapi.json")).send().await;
    let document: Value = document.expect("the host answers").json().await.expect("it is JSON");
    let others = [
        (Method::POST, "/mcp", "tools:list"),
        (Method::GET, "/metrics", "tenant:admin"),
        (Method::GET, "/no/such/route", "cluster:admin"),
    ];
    let others = others.map(|(method, path, scope)| Endpoint {
        method,
        path: path.to_owned(),
        scope: scope.to_owned(),
    });
    let mut closed = Vec::from(others);
    let mut open = ["/", "/healthz", "/readyz", "/.well-known/oauth-protected-resource"]
        .map(str::to_owned)
        .to_vec();
    for (path, operations) in document["paths"].as_object().expect("it has paths") {
        let path = path.replace("{name}", "nobody");
        for (method, operation) in operations.as_object().expect("they have methods") {
            let Some(security) = operation["security"].as_array() else { continue };
            let Some(need) = security.first() else {
                open.push(path.clone());
                continue;
            };
            let scope = need["bearer"][0].as_str().expect("it names a scope").to_owned();
            let method = method.to_uppercase().parse().expect("it is a method");
            closed.push(Endpoint { method, path: path.clone(), scope });
        }
    }
    assert!(closed.len() > 24 && open.len() > 4, "{} and {open:?}", closed.len());
    (closed, open)
}

async fn ask(host: &Host, endpoint: &Endpoint, path: &str, token: Option<&str>) -> (u16, String) {
    let mut request = http_client().request(endpoint.method.clone(), host.url(path));
    if path.ends_with("/mcp") {
        let mcp = Mcp::new(host.url(path));
        request = mcp.post(&mcp.message("tools/list", json!({})));
    } else if endpoint.method == Method::POST {
        request = request.header("content-type", "application/json").body("{}");
    }
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.expect("the host answers");
    let challenge = answer.headers().get("www-authenticate");
    let challenge = challenge.map(|value| value.to_str().expect("it is text").to_owned());
    (answer.status().as_u16(), challenge.unwrap_or_default())
}

/// A host that believes an issuer, with the tenants `acme` and `default`.
async fn believing(issuer: &Issuer) -> Host {
    let agents = AgentsDirectory::new();
    let mapped: Vec<_> = SCOPES.iter().map(|scope| format!("\"{scope}={scope}\"")).collect();
    let config = format!(
        "[access.issuers.test]\nissuer = \"{}\"\naudience = [\"{AUDIENCE}\"]\ntenant_claim = \"org\"\nscopes = [{}]\n[tenants.acme]\nagents = [\"{}\"]\n",
        issuer.url,
        mapped.join(", "),
        agents.path().display(),
    );
    let options = HostOptions { config: Some(config), ..HostOptions::default() };
    Host::start(options).await
}

#[tokio::test]
async fn every_endpoint_answers_every_kind_of_token_as_it_should() {
    let issuer = Issuer::start().await;
    let host = believing(&issuer).await;
    let (closed, open) = endpoints(&host).await;
    let bad = [
        ("expired", issuer.token(&SCOPES, |claims| claims["exp"] = 1_700_000_000.into())),
        ("wrong audience", issuer.token(&SCOPES, |claims| claims["aud"] = "https://else".into())),
        ("no audience", issuer.token(&SCOPES, |claims| claims["aud"] = Value::Null)),
        ("wrong issuer", issuer.token(&SCOPES, |claims| claims["iss"] = "https://else".into())),
        ("unknown tenant", issuer.token(&SCOPES, |claims| claims["org"] = "nobody".into())),
        ("no tenant", issuer.token(&SCOPES, |claims| claims["org"] = Value::Null)),
        ("nonsense", "nonsense".to_owned()),
    ];
    let others =
        |scope: &str| SCOPES.into_iter().filter(|other| *other != scope).collect::<Vec<_>>();
    let tokens: BTreeMap<_, _> = SCOPES
        .into_iter()
        .map(|scope| {
            (scope, (issuer.token(&[scope], |_| ()), issuer.token(&others(scope), |_| ())))
        })
        .collect();
    // Tokens that were seen to be good are not held up by the failures that follow.
    for (enough, too_little) in tokens.values() {
        for token in [enough, too_little] {
            let (status, _) = ask(&host, &closed[0], "/mcp", Some(token)).await;
            assert!(matches!(status, 200 | 403), "{status}");
        }
    }
    for endpoint in &closed {
        let Endpoint { method, path, scope } = endpoint;
        let asked = format!("{method} {path}");
        let (enough, too_little) = &tokens[scope.as_str()];
        let (status, challenge) = ask(&host, endpoint, path, None).await;
        assert_eq!(status, 401, "{asked} without a token");
        assert!(challenge.starts_with("Bearer scope="), "{asked}: {challenge}");
        for (kind, token) in &bad {
            let (status, challenge) = ask(&host, endpoint, path, Some(token)).await;
            // Of so many, some are told to wait.
            assert!(matches!(status, 401 | 429), "{asked} with one that is {kind}: {status}");
            let is_named = challenge.contains("error=\"invalid_token\"");
            assert_eq!(is_named, status == 401, "{asked} with one that is {kind}: {challenge}");
        }
        let (status, challenge) = ask(&host, endpoint, path, Some(too_little)).await;
        assert_eq!(status, 403, "{asked} with all scopes but {scope}");
        let expected = format!("error=\"insufficient_scope\", scope=\"{scope}\"");
        assert!(challenge.contains(&expected), "{asked}: {challenge}");
        let (allowed, _) = ask(&host, endpoint, path, Some(enough)).await;
        assert!(!matches!(allowed, 401 | 403 | 429), "{asked} with {scope}: {allowed}");
        if scope == "cluster:admin" {
            continue;
        }
        // Another tenant, that exists or not, is the same to whoever is not of it.
        for tenant in ["default", "nobody"] {
            let foreign = format!("/t/{tenant}{path}");
            let (status, _) = ask(&host, endpoint, &foreign, Some(enough)).await;
            assert_eq!(status, 404, "{asked} of the tenant {tenant}");
        }
        let (own, _) = ask(&host, endpoint, &format!("/t/acme{path}"), Some(enough)).await;
        assert_eq!(own, allowed, "{asked} of the own tenant by name");
    }
    for path in open {
        let answer = http_client().get(host.url(&path)).send().await.expect("the host answers");
        assert_eq!(answer.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn who_lacks_a_scope_is_written_down() {
    let issuer = Issuer::start().await;
    let host = believing(&issuer).await;
    let token = issuer.token(&["tools:call"], |_| ());
    for (method, path) in [(Method::GET, "/api/v1/keys"), (Method::POST, "/mcp")] {
        let endpoint = Endpoint { method, path: path.to_owned(), scope: String::new() };
        assert_eq!(ask(&host, &endpoint, path, Some(&token)).await.0, 403, "{path}");
    }
    let audit = host.data().join("audit");
    aop_tests::eventually("both refusals are in the audit log", || async {
        let mut log = String::new();
        for file in std::fs::read_dir(&audit).expect("there is a log").flatten() {
            log += &std::fs::read_to_string(file.path()).unwrap_or_default();
        }
        let noted = |scope: &str, path: &str| {
            let lines = log.lines().filter(|line| line.contains("access.refuse"));
            let mut lines = lines.filter(|line| line.contains("ada") && line.contains("acme"));
            lines.any(|line| line.contains(scope) && line.contains(path))
        };
        let all = noted("tenant:admin", "/api/v1/keys") && noted("tools:list", "/mcp");
        (all && !log.contains(&token)).then_some(())
    })
    .await;
}
