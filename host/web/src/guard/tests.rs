use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use tower::{Layer as _, ServiceExt as _};

use super::{Guard, GuardConfig, Guarded};
use crate::WebError;

fn config(bound: &str, hosts: &[&str], origins: &[&str]) -> GuardConfig {
    let owned = |entries: &[&str]| entries.iter().map(|entry| (*entry).to_owned()).collect();
    GuardConfig {
        bound: bound.parse().unwrap(),
        allowed_hosts: owned(hosts),
        allowed_origins: owned(origins),
    }
}

fn app(config: &GuardConfig) -> Guarded<Router> {
    let app = Router::new().route("/", get(|| async { "passed" }).post(|| async { "passed" }));
    Guard::new(config).unwrap().layer(app)
}

async fn ask(config: &GuardConfig, request: Request<Body>) -> Response<Body> {
    app(config).oneshot(request).await.unwrap()
}

async fn status(config: &GuardConfig, headers: &[(&str, &str)]) -> StatusCode {
    let request = headers
        .iter()
        .fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
    ask(config, request.body(Body::empty()).unwrap()).await.status()
}

async fn message(response: Response<Body>) -> (String, String) {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    (body["code"].as_str().unwrap().to_owned(), body["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn loopback_names_the_bound_address_and_configured_hosts_pass_with_any_port() {
    let config = config("192.168.1.5:8000", &["aop.example.com", "other.example.com:8443"], &[]);
    for host in [
        "localhost",
        "LocalHost:8000",
        "localhost.:8000",
        "127.0.0.1:9000",
        "[::1]:8000",
        "192.168.1.5:8000",
        "aop.example.com",
        "AOP.example.com:443",
        "other.example.com:8443",
    ] {
        assert_eq!(status(&config, &[("host", host)]).await, StatusCode::OK, "{host}");
    }
}

#[tokio::test]
async fn other_hosts_are_refused() {
    let config = config("127.0.0.1:8000", &["other.example.com:8443"], &[]);
    for host in [
        "evil.com",
        "localhost.evil.com",
        "evil.com:8000",
        "127.0.0.1.nip.io",
        "10.0.0.1",
        "other.example.com",
        "other.example.com:80",
        "[::2]",
    ] {
        assert_eq!(status(&config, &[("host", host)]).await, StatusCode::FORBIDDEN, "{host}");
    }
}

#[tokio::test]
async fn a_missing_repeated_or_malformed_host_is_a_bad_request() {
    let config = config("127.0.0.1:8000", &[], &[]);
    assert_eq!(status(&config, &[]).await, StatusCode::BAD_REQUEST);
    assert_eq!(
        status(&config, &[("host", "localhost"), ("host", "evil.com")]).await,
        StatusCode::BAD_REQUEST
    );
    for host in [
        "",
        ":80",
        "localhost:x",
        "localhost:99999",
        "localhost:+1",
        "user@localhost",
        "[::1",
        "[::1]x",
        "[x]",
    ] {
        assert_eq!(status(&config, &[("host", host)]).await, StatusCode::BAD_REQUEST, "{host:?}");
    }
}

#[tokio::test]
async fn a_host_that_listens_everywhere_answers_to_any_address_but_not_to_any_name() {
    for bound in ["0.0.0.0:8000", "[::]:8000"] {
        let config = config(bound, &[], &[]);
        for host in ["10.1.2.3:8000", "[fe80::1]:8000", "localhost"] {
            assert_eq!(status(&config, &[("host", host)]).await, StatusCode::OK, "{host}");
        }
        assert_eq!(status(&config, &[("host", "evil.com")]).await, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn the_authority_of_an_absolute_request_line_is_checked_too() {
    let config = config("127.0.0.1:8000", &[], &[]);
    let request =
        |uri: &str| Request::get(uri).header("host", "localhost").body(Body::empty()).unwrap();
    assert_eq!(ask(&config, request("http://localhost:8000/")).await.status(), StatusCode::OK);
    assert_eq!(ask(&config, request("http://evil.com/")).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_origin_must_be_this_host_or_trusted() {
    let config =
        config("127.0.0.1:8000", &[], &["http://localhost:6274/", "https://app.example.com"]);
    let host = ("host", "localhost:8000");
    for origin in [
        "http://localhost:8000",
        "https://localhost:8000",
        "http://localhost:6274",
        "https://APP.example.com",
    ] {
        assert_eq!(status(&config, &[host, ("origin", origin)]).await, StatusCode::OK, "{origin}");
    }
    for origin in [
        "null",
        "",
        "http://localhost",
        "http://localhost:3000",
        "http://evil.com",
        "http://app.example.com",
        "https://app.example.com.evil.com",
        "file://",
    ] {
        assert_eq!(
            status(&config, &[host, ("origin", origin)]).await,
            StatusCode::FORBIDDEN,
            "{origin:?}"
        );
    }
    let twice = [host, ("origin", "http://localhost:8000"), ("origin", "http://evil.com")];
    assert_eq!(status(&config, &twice).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn refusals_name_the_setting_and_quote_bounded_text() {
    let config = config("127.0.0.1:8000", &[], &[]);
    let long = "a".repeat(5000);
    let request = Request::get("/").header("host", &long).body(Body::empty()).unwrap();
    let (code, text) = message(ask(&config, request).await).await;
    assert_eq!(code, "permission_denied");
    assert!(text.contains("`allowed_hosts`") && text.len() < 300, "{text}");

    let request = Request::get("/").header("host", "localhost").header("origin", "http://evil.com");
    let (_, text) = message(ask(&config, request.body(Body::empty()).unwrap()).await).await;
    assert!(text.contains("`allowed_origins`") && text.contains("http://evil.com"), "{text}");
}

#[tokio::test]
async fn trusted_pages_get_the_cors_answers_and_others_do_not() {
    let config = config("127.0.0.1:8000", &[], &["http://localhost:6274"]);
    let preflight = Request::options("/")
        .header("host", "localhost:8000")
        .header("origin", "http://localhost:6274")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "mcp-method,content-type")
        .body(Body::empty())
        .unwrap();
    let response = ask(&config, preflight).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let headers = response.headers();
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "http://localhost:6274");
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_METHODS], "POST");
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "mcp-method,content-type");
    assert_eq!(headers[header::VARY], "origin");

    let request = |origin: &str| {
        Request::post("/")
            .header("host", "localhost:8000")
            .header("origin", origin)
            .body(Body::empty())
            .unwrap()
    };
    let response = ask(&config, request("http://localhost:6274")).await;
    assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "http://localhost:6274");
    assert_eq!(response.headers()[header::ACCESS_CONTROL_EXPOSE_HEADERS], "*");
    let response = ask(&config, request("http://localhost:8000")).await;
    assert!(
        !response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN),
        "same origin needs none"
    );
}

#[test]
fn entries_that_match_nothing_or_everything_are_refused() {
    for host in ["", "http://a", "a/b", "a b", "*", "a:b"] {
        let error = Guard::new(&config("127.0.0.1:0", &[host], &[])).unwrap_err();
        assert!(matches!(&error, WebError::AllowedHost(entry) if entry == host), "{error}");
    }
    for origin in ["", "*", "a.example.com", "ftp://a", "http://a/path", "http://"] {
        let error = Guard::new(&config("127.0.0.1:0", &[], &[origin])).unwrap_err();
        assert!(matches!(&error, WebError::AllowedOrigin(entry) if entry == origin), "{error}");
    }
}
