//! URIs of resources. An agent owns the scheme that is its name, and the authority of that name among skills, so a URI
//! says whom to ask.

use aop_core::{AgentName, Offer};

/// The scheme of an absolute URI (RFC 3986, or a template of RFC 6570); none when `uri` is none, or is too long.
pub(crate) fn scheme(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let fits = uri.len() <= Offer::URI_MAX_BYTES
        && scheme.bytes().next()?.is_ascii_alphabetic()
        && scheme.bytes().all(letters)
        && !rest.is_empty()
        && rest.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then_some(scheme)
}

/// The agent that a URI belongs to, by its words alone.
pub(crate) fn owner(uri: &str) -> Option<AgentName> {
    scheme(uri)?;
    AgentName::new(Offer::owner(uri)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_uris_have_a_scheme() {
        for (uri, expected) in [
            ("notes://a/b?c#d", Some("notes")),
            ("notes:x", Some("notes")),
            ("my-kit://{day}", Some("my-kit")),
            ("HTTP://x", Some("HTTP")),
            ("notes:", None),
            ("//a", None),
            ("a b:c", None),
            ("notes://a b", None),
            ("notes://\u{e9}", None),
            ("notes://a\n", None),
            ("1x:y", None),
            (":x", None),
            ("", None),
        ] {
            assert_eq!(scheme(uri), expected, "{uri}");
        }
        let longest = format!("a:{}", "x".repeat(Offer::URI_MAX_BYTES - 2));
        assert!(scheme(&longest).is_some() && scheme(&(longest + "x")).is_none());
    }

    #[test]
    fn the_scheme_names_the_owner() {
        assert_eq!(owner("my-kit://a").unwrap().as_str(), "my-kit");
        assert!(owner("Notes://a").is_none() && owner("aop://a").is_none());
        assert_eq!(owner("skill://my-kit/a/SKILL.md").unwrap().as_str(), "my-kit");
        assert_eq!(owner("skill://my-kit").unwrap().as_str(), "my-kit");
        for nobodys in [
            "skill:a",
            "skill://",
            "skill:///a",
            "skill://aop/a",
            "SKILL://my-kit/a",
            "https://a",
            "file:///a",
            "git://a",
            "data:a",
        ] {
            assert!(owner(nobodys).is_none(), "{nobodys}");
        }
    }
}
