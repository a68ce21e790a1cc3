//! Rules for requests: two rules and a URL, a line each. A rule reads back as it was written, lies within itself, and
//! permits nothing that a rule around it does not.
#![no_main]

use aop_core::policy::HttpRule;
use http::{Method, Uri};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let (Some(rule), Some(limit), Some(url)) = (lines.next(), lines.next(), lines.next()) else {
        return;
    };
    let Ok(rule) = rule.parse::<HttpRule>() else { return };
    assert_eq!(rule.to_string().parse::<HttpRule>().as_ref(), Ok(&rule));
    let (Ok(limit), Ok(url)) = (HttpRule::parse_ceiling(limit), url.parse::<Uri>()) else { return };
    for method in [Method::GET, Method::POST] {
        if rule.is_within(&limit) && rule.permits(&method, &url) {
            assert!(limit.permits(&method, &url), "{rule} in {limit}: {method} {url}");
        }
    }
});
