//! The keys of `[zone]`: how this host presents itself to other zones.

use std::time::Duration;

use aop_cluster::federation::record::Endpoint;
use aop_cluster::federation::{FullName, ZoneName};
use aop_core::settings::keys::{Bounds, Form, Key};
use ipnet::IpNet;

use super::Config;
use super::keys::{DAY, SECOND};

/// URLs of one zone: a zone has at most that many endpoints.
const ENDPOINTS_MAX: usize = 16;
/// Networks that are not public.
const NETWORKS_MAX: usize = 256;
/// Agents of other zones that are imported: what a person still reviews.
const IMPORTS_MAX: usize = 256;
/// Longest zone name.
const NAME_CHARS_MAX: usize = 253;

/// How other zones reach this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// At its endpoints.
    Direct,
    /// Through its parent, to which it keeps a connection.
    Parent,
}

/// How this host presents itself to other zones.
#[derive(Debug, Clone)]
pub(crate) struct ZoneConfig {
    /// None: it belongs to no zone.
    pub(crate) name: Option<ZoneName>,
    /// Where others reach it; empty is where it listens.
    pub(crate) endpoints: Vec<String>,
    pub(crate) reach: Reach,
    pub(crate) ttl: Duration,
    pub(crate) negative_ttl: Duration,
    pub(crate) private_networks: Vec<IpNet>,
    pub(crate) imports: Vec<FullName>,
}

impl Default for ZoneConfig {
    fn default() -> Self {
        Self {
            name: None,
            endpoints: Vec::new(),
            reach: Reach::Direct,
            // As long as the second cache level keeps anything.
            ttl: Duration::from_secs(300),
            negative_ttl: Duration::from_secs(30),
            private_networks: Vec::new(),
            imports: Vec::new(),
        }
    }
}

impl ZoneConfig {
    /// Endpoints that contradict how the zone is reached.
    pub(super) fn elsewhere(&self) -> Option<String> {
        let through = format!("/zone/v1/below/{}", self.name.as_ref()?);
        let ends = |url: &String| url.trim_end_matches('/').ends_with(&through);
        let wrong = self.endpoints.iter().find(|url| !ends(url))?;
        (self.reach == Reach::Parent).then(|| {
            format!(
                "`reach` of [zone] is \"parent\" and its `endpoints` have {wrong}, which does not lead through the parent: leave `endpoints` out, or write them like `https://PARENT{through}` if others reach the parent elsewhere than this host does"
            )
        })
    }
}

/// Reads every entry, or answers all mistakes at once.
fn parse<T: std::str::FromStr>(
    texts: &[String],
    wrong: fn(&str) -> String,
) -> Result<Vec<T>, String> {
    let (read, mistakes): (Vec<_>, Vec<_>) =
        texts.iter().map(|text| text.parse().map_err(|_| wrong(text))).partition(Result::is_ok);
    let mistakes: Vec<_> = mistakes.into_iter().filter_map(Result::err).collect();
    if mistakes.is_empty() {
        Ok(read.into_iter().filter_map(Result::ok).collect())
    } else {
        Err(mistakes.join("; "))
    }
}

pub(super) static ZONE_KEYS: &[Key<Config>] = &[
    Key {
        name: "name",
        meaning: "The DNS name of the zone that this host serves, such as `eu.acme.example`. Needs a key: `aop zone keygen`. Without it, other zones do not exist.",
        form: Form::Text {
            chars_max: NAME_CHARS_MAX,
            get: |config| config.zone.name.as_ref().map(ToString::to_string),
            set: |config, text| {
                config.zone.name = Some(text.parse().map_err(|error| format!("{error}"))?);
                Ok(())
            },
        },
    },
    Key {
        name: "endpoints",
        meaning: "URLs at which other zones reach this one. Their hosts are allowed hosts, too. Without them, where it listens.",
        form: Form::Texts {
            count_max: ENDPOINTS_MAX,
            get: |config| config.zone.endpoints.clone(),
            set: |config, texts| {
                if let Some(bad) = texts.iter().find(|text| Endpoint::new(text).is_err()) {
                    return Err(format!(
                        "`{bad}` is not the URL of a zone: write it like `https://eu.acme.example`, without user or query"
                    ));
                }
                config.zone.endpoints = texts;
                Ok(())
            },
        },
    },
    Key {
        name: "reach",
        meaning: "How other zones reach this one. `parent`: they cannot (it is behind NAT or a firewall), so it keeps a connection to its parent, which passes on what they ask; there, `aop zone delegate … --attached`. `direct`: at its `endpoints`.",
        form: Form::Choice {
            choices: &["direct", "parent"],
            get: |config| {
                Some(match config.zone.reach {
                    Reach::Direct => "direct",
                    Reach::Parent => "parent",
                })
            },
            set: |config, word| {
                config.zone.reach = if word == "parent" { Reach::Parent } else { Reach::Direct };
            },
        },
    },
    Key::time(
        "ttl",
        "How long what this zone says of itself, its children and its exports may be kept by others.",
        Bounds::new(
            SECOND,
            DAY,
            "below a second everything is asked for again, and no outage of interest is longer",
        ),
        |config| config.zone.ttl,
        |config, time| config.zone.ttl = time,
    ),
    Key::time(
        "negative_ttl",
        "How long others may keep that a name is absent.",
        Bounds::new(
            SECOND,
            Duration::from_secs(30),
            "a new export must be found within half a minute",
        ),
        |config| config.zone.negative_ttl,
        |config, time| config.zone.negative_ttl = time,
    ),
    Key {
        name: "private_networks",
        meaning: "Networks besides the public internet where other zones may be, like `10.0.0.0/8`, or `127.0.0.0/8` to try it on one machine.",
        form: Form::Texts {
            count_max: NETWORKS_MAX,
            get: |config| config.zone.private_networks.iter().map(ToString::to_string).collect(),
            set: |config, texts| {
                let wrong = |text: &str| {
                    format!("`{text}` is not a network: write it like `10.1.0.0/16` or `fd00::/8`")
                };
                config.zone.private_networks = parse(&texts, wrong)?;
                Ok(())
            },
        },
    },
    Key {
        name: "imports",
        meaning: "Agents or tools of other zones, by full name, that are listed here like own ones, as `<tool>__<labels of the zone>`.",
        form: Form::Texts {
            count_max: IMPORTS_MAX,
            get: |config| config.zone.imports.iter().map(ToString::to_string).collect(),
            set: |config, texts| {
                let wrong = |text: &str| {
                    format!("`{text}` is not a full name: write it like `textkit.eu.acme.example`")
                };
                config.zone.imports = parse(&texts, wrong)?;
                Ok(())
            },
        },
    },
];
