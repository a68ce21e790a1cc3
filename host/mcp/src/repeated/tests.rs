use http::{HeaderValue, Request};
use rmcp::model::ErrorCode;
use serde_json::json;

use super::*;

/// Whether a request with these headers and arguments passes.
fn passes(headers: &[&str], arguments: &Value) -> Result<(), ErrorData> {
    let mut request = Request::builder();
    for value in headers {
        request = request.header("mcp-param-region", HeaderValue::from_str(value).unwrap());
    }
    let mut extensions = Extensions::new();
    extensions.insert(request.body(()).unwrap().into_parts().0);
    let repeated =
        [RepeatedParameter { parameter: "region".to_owned(), header: "Region".to_owned() }];
    check(&repeated, &extensions, arguments.as_object())
}

#[test]
fn a_header_says_what_its_parameter_says() {
    for (headers, arguments) in [
        (&["eu"] as &[_], json!({ "region": "eu" })),
        (&["=?base64?w6k=?="], json!({ "region": "é" })),
        (&["=?base64?ZXU="], json!({ "region": "=?base64?ZXU=" })),
        (&["7"], json!({ "region": 7 })),
        (&["true"], json!({ "region": true })),
        (&[], json!({})),
        (&[], json!({ "region": null })),
    ] {
        assert!(passes(headers, &arguments).is_ok(), "{headers:?} {arguments}");
    }
}

#[test]
fn a_header_that_says_anything_else_is_refused() {
    for (headers, arguments) in [
        (&["us"] as &[_], json!({ "region": "eu" })),
        (&[], json!({ "region": "eu" })),
        (&["eu"], json!({})),
        (&["eu"], json!({ "region": null })),
        (&["eu"], json!({ "region": ["eu"] })),
        (&["eu", "eu"], json!({ "region": "eu" })),
        (&["=?base64?ZXU?="], json!({ "region": "eu" })),
        (&["=?base64?Z!U=?="], json!({ "region": "eu" })),
        (&["=?base64?/w==?="], json!({ "region": "eu" })),
    ] {
        let error = passes(headers, &arguments).unwrap_err();
        assert_eq!(error.code, ErrorCode::HEADER_MISMATCH, "{headers:?} {arguments}");
    }
}

#[test]
fn a_request_without_http_has_no_headers() {
    let repeated =
        [RepeatedParameter { parameter: "region".to_owned(), header: "Region".to_owned() }];
    let arguments = json!({ "region": "eu" });
    assert!(check(&repeated, &Extensions::new(), arguments.as_object()).is_ok());
}
