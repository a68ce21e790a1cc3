//! Where a host's MCP endpoint and admin API are.

use anyhow::Context as _;
use reqwest::Url;

/// The parts of a host that a client talks to.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// The host as people name it.
    pub(crate) base: Url,
    /// MCP.
    pub(crate) mcp: Url,
    /// The admin API, with a trailing slash.
    pub(crate) api: Url,
}

impl Endpoint {
    /// Reads a host's URL: its base, or its MCP endpoint (`/mcp`, `/t/{tenant}/mcp`).
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let with_scheme =
            if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut url = Url::parse(&with_scheme).with_context(|| {
            format!("`{text}` is not a URL: write it like http://127.0.0.1:8000")
        })?;
        anyhow::ensure!(
            matches!(url.scheme(), "http" | "https") && url.has_host(),
            "`{text}` is not a URL of a host: write it like http://127.0.0.1:8000"
        );
        url.set_query(None);
        url.set_fragment(None);
        let path = url.path().trim_end_matches('/').to_owned();
        let front = path.strip_suffix("/mcp").unwrap_or(&path).to_owned();
        let parts: Vec<_> = front.rsplitn(3, '/').collect();
        let (base_path, tenant) = match parts.as_slice() {
            [tenant, "t", base] => ((*base).to_owned(), Some(*tenant)),
            _ => (front.clone(), None),
        };
        Self::new(&url, &base_path, tenant)
    }

    /// The same host, for a tenant.
    pub(crate) fn for_tenant(&self, tenant: &str) -> anyhow::Result<Self> {
        Self::new(&self.base, self.base.path().trim_end_matches('/'), Some(tenant))
    }

    fn new(url: &Url, base_path: &str, tenant: Option<&str>) -> anyhow::Result<Self> {
        // Where a path names no tenant, the credential does.
        let front = match tenant {
            Some(tenant) => format!("{base_path}/t/{tenant}"),
            None => base_path.to_owned(),
        };
        let at = |path: &str| {
            let mut at = url.clone();
            at.set_path(path);
            at
        };
        Ok(Self {
            base: at(base_path),
            mcp: at(&format!("{front}/mcp")),
            api: at(&format!("{front}/api/v1/")),
        })
    }

    /// Whether it is this machine, so that no proxy belongs in between.
    pub(crate) fn is_loopback(&self) -> bool {
        self.base.host_str().is_some_and(|host| {
            let address =
                host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_by_its_base_or_its_mcp_endpoint() {
        for (given, base, mcp, api) in [
            ("http://h:1", "http://h:1/", "http://h:1/mcp", "http://h:1/api/v1/"),
            (
                "127.0.0.1:8000",
                "http://127.0.0.1:8000/",
                "http://127.0.0.1:8000/mcp",
                "http://127.0.0.1:8000/api/v1/",
            ),
            ("http://h:1/mcp/", "http://h:1/", "http://h:1/mcp", "http://h:1/api/v1/"),
            ("https://h/aop/", "https://h/aop", "https://h/aop/mcp", "https://h/aop/api/v1/"),
            ("http://h/t/acme/mcp", "http://h/", "http://h/t/acme/mcp", "http://h/t/acme/api/v1/"),
            ("http://h/t/acme", "http://h/", "http://h/t/acme/mcp", "http://h/t/acme/api/v1/"),
            (
                "http://h/aop/t/acme/mcp?x#y",
                "http://h/aop",
                "http://h/aop/t/acme/mcp",
                "http://h/aop/t/acme/api/v1/",
            ),
        ] {
            let endpoint = Endpoint::parse(given).unwrap();
            let urls = [&endpoint.base, &endpoint.mcp, &endpoint.api].map(Url::as_str);
            assert_eq!(urls, [base, mcp, api], "{given}");
        }
    }

    #[test]
    fn other_text_is_refused_with_an_example() {
        for given in ["", "ftp://h", "http://", "file:///x", "a b"] {
            let message = format!("{:#}", Endpoint::parse(given).unwrap_err());
            assert!(message.contains("http://127.0.0.1:8000"), "{given}: {message}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (given, expected) in [
            ("localhost:1", true),
            ("127.8.0.1", true),
            ("http://[::1]:9", true),
            ("10.0.0.1", false),
            ("h", false),
        ] {
            assert_eq!(Endpoint::parse(given).unwrap().is_loopback(), expected, "{given}");
        }
    }
}
