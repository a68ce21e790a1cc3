use http::{Method, Uri};

use super::*;

fn permits(rule: &str, method: &Method, uri: &str) -> bool {
    rule.parse::<HttpRule>().unwrap().permits(method, &uri.parse::<Uri>().unwrap())
}

#[test]
fn nothing_is_permitted_by_default() {
    let policy = Policy::deny_all();
    let uri = "https://example.com/".parse().unwrap();
    assert!(policy.permits_request(&Method::GET, &uri).unwrap_err().contains("example.com"));
    assert!(policy.permits_tool("textkit_summarize").unwrap_err().contains("textkit_summarize"));
}

#[test]
fn a_rule_permits_what_it_says_and_nothing_else() {
    let get = Method::GET;
    let rule = "GET,HEAD https://api.example.com/v1/*";
    assert!(permits(rule, &get, "https://api.example.com/v1/things?q=1"));
    assert!(permits(rule, &get, "https://API.example.com./v1/things"));
    for refused in [
        "http://api.example.com/v1/things",
        "https://api.example.com:444/v1/things",
        "https://example.com/v1/things",
        "https://api.example.com.evil.org/v1/things",
        "https://evil.org/v1/?api.example.com",
        "https://api.example.com/v2",
        "https://api.example.com/v1/../v2",
        "https://api.example.com/v1/%2E%2e/v2",
        "https://api.example.com/v1/..%2fv2",
        "https://api.example.com/v1/..%5cv2",
        "https://api.example.com/v1/..;/v2",
        "https://api.example.com/v1/..;a=b/v2",
        "https://api.example.com/v1/%2e%2e%3B/v2",
        "https://api.example.com/v1/%252e%252E/v2",
        "https://api.example.com/v1/..%252fv2",
        "https://api.example.com/v1/..%255cv2",
        "https://api.example.com/v1/..%253bv2",
        "https://api.example.com/v1/%25252e%25252e/v2",
    ] {
        assert!(!permits(rule, &get, refused), "{refused}");
    }
    for odd in ["a;b/..c", "100%25", "100%25/a%2fb", "%2525", "...", "a%20b;c=.."] {
        assert!(permits(rule, &get, &format!("https://api.example.com/v1/{odd}")), "{odd}");
    }
    assert!(!permits(rule, &Method::POST, "https://api.example.com/v1/things"));
}

#[test]
fn a_star_stands_for_names_below() {
    let rule = "https://*.example.com";
    assert!(permits(rule, &Method::PUT, "https://a.b.example.com/any/path"));
    assert!(!permits(rule, &Method::PUT, "https://example.com/"));
    assert!(!permits(rule, &Method::PUT, "https://badexample.com/"));
}

#[test]
fn a_port_can_be_named() {
    assert!(permits("http://127.0.0.1:8080", &Method::GET, "http://127.0.0.1:8080/x"));
    assert!(!permits("http://127.0.0.1:8080", &Method::GET, "http://127.0.0.1/x"));
    assert!(permits("http://[::1]:8080", &Method::GET, "http://[::1]:8080/x"));
}

#[test]
fn a_rule_that_says_nothing_sensible_is_refused_with_an_example() {
    for wrong in [
        "",
        "example.com",
        "ftp://example.com",
        "https://*",
        "https://*/",
        "https://a*.example.com",
        "https://user@example.com",
        "https://example.com/a?b=c",
        "https://example.com/*/x",
        "FETCH https://example.com",
        "get https://example.com",
    ] {
        assert!(wrong.parse::<HttpRule>().is_err(), "{wrong}");
    }
}

#[test]
fn directories_and_tools_read_as_they_are_written() {
    let grant: DirectoryGrant = "write /srv/my data as /work".parse().unwrap();
    assert!(grant.writable);
    assert_eq!((grant.host.to_str(), grant.guest.as_str()), (Some("/srv/my data"), "/work"));
    assert_eq!(grant.to_string(), "write /srv/my data as /work");
    for wrong in
        ["/srv as /x", "read srv as /x", "read /srv", "execute /srv as /x", "read /srv as x"]
    {
        assert!(wrong.parse::<DirectoryGrant>().is_err(), "{wrong}");
    }
    let pattern: ToolPattern = "textkit_*".parse().unwrap();
    assert!(pattern.permits("textkit_summarize") && !pattern.permits("tabular_query"));
    assert!(!"textkit".parse::<ToolPattern>().unwrap().permits("textkit_summarize"));
    for wrong in ["", "a*b", "a b"] {
        assert!(wrong.parse::<ToolPattern>().is_err(), "{wrong}");
    }
}
