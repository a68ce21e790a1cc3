//! Paths through a zone to one below it that cannot be reached: `/zone/v1/below/ZONE/` and then what the zone protocol has.
//! Records of such a zone have its parent's URL with that path as their endpoint, so whoever asks it or calls its agents need
//! not know that it is behind its parent; and a zone behind that one has a path through both.

use std::time::Duration;

use http::Method;

use super::call;
use super::export::DESCRIPTOR_MAX_BYTES;
use super::http::CALL_MAX_BYTES;
use super::message::{ANSWER_MAX_BYTES, DEADLINE_MAX, REQUEST_MAX_BYTES};
use super::name::ZoneName;
use super::record::Endpoint;
use super::well_known::DOCUMENT_MAX_BYTES;

/// What a path through a zone begins with.
const PREFIX: &str = "/zone/v1/below/";
/// What a question may take on its way beyond the longest that anybody waits.
const MARGIN: Duration = Duration::from_secs(1);

/// Where a zone is reached through the one above it, which has these endpoints.
pub(super) fn through(endpoints: &[Endpoint], zone: &ZoneName) -> Vec<Endpoint> {
    let through = |endpoint: &Endpoint| Endpoint {
        url: format!("{}{PREFIX}{zone}", endpoint.url.trim_end_matches('/')),
        weight: endpoint.weight,
    };
    endpoints.iter().map(through).collect()
}

/// The first zone of a path through this one, and what is asked of it.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    let through = path.strip_prefix(PREFIX)?;
    Some(through.split_at(through.find('/')?))
}

/// What is asked of a zone, of a URL's path that leads through the one above it.
pub(super) fn rest<'a>(path: &'a str, zone: &ZoneName) -> Option<&'a str> {
    let through = format!("{PREFIX}{zone}/");
    let at = path.find(&through)?;
    Some(&path[at + through.len() - 1..])
}

/// What bounds something that is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) request_max_bytes: usize,
    pub(super) answer_max_bytes: usize,
    /// Until the whole answer is there.
    pub(super) time: Duration,
    /// Whether it is a call, which may run.
    pub(super) is_call: bool,
}

/// The bounds of what may be passed on; none for everything else.
pub(super) fn bounds(method: &Method, rest: &str) -> Option<Bounds> {
    let mut asked = rest;
    while let Some((_, rest)) = split(asked) {
        asked = rest;
    }
    let question = |request_max_bytes, answer_max_bytes| Bounds {
        request_max_bytes,
        answer_max_bytes,
        time: DEADLINE_MAX + MARGIN,
        is_call: false,
    };
    match (method, asked) {
        (&Method::POST, "/zone/v1/resolve" | "/zone/v1/search") => {
            Some(question(REQUEST_MAX_BYTES, ANSWER_MAX_BYTES))
        }
        (&Method::POST, "/zone/v1/mcp") => Some(Bounds {
            request_max_bytes: CALL_MAX_BYTES,
            answer_max_bytes: call::ANSWER_MAX_BYTES,
            time: call::TIMEOUT_MAX + MARGIN,
            is_call: true,
        }),
        (&Method::GET, "/.well-known/aop-zone.json") => Some(question(0, DOCUMENT_MAX_BYTES)),
        (&Method::GET, asked) if asked.starts_with("/zone/v1/descriptors/") => {
            Some(question(0, DESCRIPTOR_MAX_BYTES))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_through_one_zone_after_the_other() {
        let [eu, lab]: [ZoneName; 2] =
            ["eu.acme.example", "lab.eu.acme.example"].map(|zone| zone.parse().unwrap());
        let top = [Endpoint { url: "https://acme.example/aop/".to_owned(), weight: 3 }];
        let of_lab = through(&through(&top, &eu), &lab);
        let url = "https://acme.example/aop/zone/v1/below/eu.acme.example/zone/v1/below/lab.eu.acme.example";
        assert_eq!(of_lab, [Endpoint { url: url.to_owned(), weight: 3 }]);
        let path = format!("{}/zone/v1/mcp", url.strip_prefix("https://acme.example").unwrap());
        let of_eu = rest(&path, &eu).unwrap();
        assert_eq!(split(of_eu), Some(("lab.eu.acme.example", "/zone/v1/mcp")));
        assert_eq!(rest(of_eu, &lab), Some("/zone/v1/mcp"));
        assert_eq!(rest("/zone/v1/below/eu.acme.example.evil/zone/v1/mcp", &eu), None);
        assert_eq!(split("/zone/v1/below/eu.acme.example"), None);
    }

    #[test]
    fn only_the_zone_protocol_is_passed_on() {
        let may = |method: Method, rest: &str| bounds(&method, rest).is_some();
        assert!(bounds(&Method::POST, "/zone/v1/mcp").unwrap().is_call);
        for deeper in ["", "/zone/v1/below/a.b", "/zone/v1/below/a.b/zone/v1/below/c.a.b"] {
            assert!(may(Method::POST, &format!("{deeper}/zone/v1/resolve")));
            assert!(may(Method::POST, &format!("{deeper}/zone/v1/search")));
            assert!(may(Method::GET, &format!("{deeper}/zone/v1/descriptors/00")));
            assert!(may(Method::GET, &format!("{deeper}/.well-known/aop-zone.json")));
            for other in [
                "",
                "/",
                "/mcp",
                "/metrics",
                "/api/v1/agents",
                "/zone/v1/mcp/",
                "/zone/v1/below/a.b",
            ] {
                assert!(!may(Method::POST, &format!("{deeper}{other}")), "{deeper}{other}");
                assert!(!may(Method::GET, &format!("{deeper}{other}")), "{deeper}{other}");
            }
        }
    }
}
