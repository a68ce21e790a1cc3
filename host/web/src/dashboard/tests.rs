use axum::body::Body;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::testing::{FakeCatalog, open_router, state};

async fn get_as_browser(path: &str) -> (http::response::Parts, String) {
    let app = open_router(state(std::sync::Arc::new(FakeCatalog::with([]))));
    let request = Request::get(path).header(header::ACCEPT, "text/html,*/*;q=0.8");
    let (parts, body) =
        app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().into_parts();
    (parts, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

/// The values of an attribute.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let opening = format!(" {attribute}=\"");
    let parts = page.split(opening.as_str()).skip(1);
    parts.map(|rest| rest.split('"').next().unwrap()).collect()
}

#[tokio::test]
async fn the_page_and_what_it_loads_are_served_under_a_strict_policy() {
    let (parts, page) = get_as_browser("/").await;
    assert_eq!((parts.status, page.as_str()), (StatusCode::OK, PAGE));
    let loaded: Vec<_> = [values(&page, "src"), values(&page, "href")].concat();
    assert!(loaded.len() >= 4 && loaded.iter().all(|path| path.starts_with('/')), "{loaded:?}");
    for path in ["/"].into_iter().chain(loaded).filter(|path| *path != "/api/v1/agents") {
        let (parts, text) = get_as_browser(path).await;
        assert_eq!(parts.status, StatusCode::OK, "{path}");
        assert!(!text.is_empty());
        if path.starts_with("/dashboard") || path == "/" {
            let policy = parts.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(
                policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
                "{path}"
            );
            assert_eq!(parts.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
            assert!(!parts.headers.contains_key(header::SET_COOKIE));
        }
    }
}

#[test]
fn nothing_in_the_page_is_against_its_policy() {
    // No inline script, style or handler, and nothing that writes markup.
    assert!(!PAGE.contains("<style") && !PAGE.contains(" style="));
    assert!(!PAGE.split_whitespace().any(|word| word.starts_with("on") && word.contains('=')));
    assert_eq!(PAGE.matches("<script").count(), 1);
    for way in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "localStorage",
        "sessionStorage",
        "cookie",
    ] {
        assert!(!SCRIPT.contains(way), "{way}");
    }
    let found = values(PAGE, "id");
    for wanted in SCRIPT.split("$(\"#").skip(1).map(|rest| rest.split(['"', ' ']).next().unwrap()) {
        assert!(found.contains(&wanted), "the script wants #{wanted}");
    }
}
