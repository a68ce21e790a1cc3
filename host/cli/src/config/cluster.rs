//! The keys of the zone that a host is in: `[cluster]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZero;
use std::time::Duration;

use aop_cluster::ZoneName;
use aop_cluster::membership::{DEFAULT_ENDPOINT, MembershipConfig};
use aop_core::settings::keys::{Bounds, Entries, Form, Key, Row};

use super::Config;
use super::keys::wide;
use super::servers::{SERVERS, Server};

/// Names in `join`; one DNS name can stand for many nodes.
const JOIN_MAX: usize = 64;
/// Longest `HOST:PORT`: a DNS name and a port.
const ADDRESS_CHARS_MAX: usize = 260;
/// Labels of a node. They are gossiped, together at most 1 kB.
const LABELS_MAX: usize = 16;
/// Longest label and value.
const LABEL_CHARS_MAX: usize = 63;

/// What a host is told of its zone.
#[derive(Debug, Clone)]
pub(crate) struct ClusterConfig {
    zone: Option<ZoneName>,
    listen: Option<SocketAddr>,
    advertise: Option<SocketAddr>,
    join: Vec<String>,
    pub(super) token: Option<String>,
    labels: BTreeMap<String, String>,
    /// 0 for the cores of this machine.
    capacity: u32,
    gossip_interval: Duration,
    /// MCP servers that are mounted, in a zone or not.
    pub(crate) servers: Vec<Server>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            zone: None,
            listen: None,
            advertise: None,
            join: Vec::new(),
            token: None,
            labels: BTreeMap::new(),
            capacity: 0,
            // Deaths are noticed within 5 s even among a hundred nodes.
            gossip_interval: Duration::from_millis(500),
            servers: Vec::new(),
        }
    }
}

impl ClusterConfig {
    /// The zone that the operator names.
    pub(super) fn zone(&self) -> Option<&ZoneName> {
        self.zone.as_ref()
    }

    /// The same without a zone: only what is mounted.
    pub(crate) fn alone(self) -> Self {
        Self { servers: self.servers, ..Self::default() }
    }

    /// Whether the operator wants a zone; a host whose data directory has one is in it anyway.
    pub(crate) fn is_wanted(&self) -> bool {
        self.zone.is_some()
            || self.listen.is_some()
            || !self.join.is_empty()
            || self.token.is_some()
    }

    pub(super) fn set_join(&mut self, names: Vec<String>) -> Result<(), String> {
        if let Some(wrong) = names.iter().find(|name| !is_host_and_port(name)) {
            return Err(format!("`{wrong}` is not like `zone.example:8100`"));
        }
        self.join = names;
        Ok(())
    }

    pub(crate) fn membership(&self) -> MembershipConfig {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        MembershipConfig {
            zone: self.zone.clone(),
            listen: self.listen,
            advertise: self.advertise,
            join: self.join.clone(),
            token: self.token.clone(),
            labels: self.labels.clone(),
            capacity: match self.capacity {
                0 => u32::try_from(cores).unwrap_or(1),
                capacity => capacity,
            },
            gossip_interval: self.gossip_interval,
        }
    }
}

pub(super) static CLUSTER_KEYS: &[Key<Config>] = &[
    Key {
        name: "zone",
        meaning: "The name of the zone that this host founds, a DNS name. Without it, `zone.internal`. With it, a host that belongs to another zone does not start.",
        form: Form::Text {
            chars_max: 253,
            get: |config| config.cluster.zone.as_ref().map(ToString::to_string),
            set: |config, text| {
                config.cluster.zone = Some(text.parse().map_err(|error| format!("{error}"))?);
                Ok(())
            },
        },
    },
    Key {
        name: "listen",
        meaning: "Where to listen for other nodes, who must prove that they are. Without it, where it was last, else `127.0.0.1:8100`, else a free port.",
        form: Form::Text {
            chars_max: 64,
            get: |config| config.cluster.listen.map(|address| address.to_string()),
            set: |config, text| {
                config.cluster.listen = Some(address(text)?);
                Ok(())
            },
        },
    },
    Key {
        name: "advertise",
        meaning: "Where other nodes reach this one, when that is not where it listens. Port 0 stands for the one it listens on.",
        form: Form::Text {
            chars_max: 64,
            get: |config| config.cluster.advertise.map(|address| address.to_string()),
            set: |config, text| {
                let address = address(text)?;
                if address.ip().is_unspecified() {
                    return Err(format!(
                        "nobody can reach `{address}`: name an address of this machine"
                    ));
                }
                config.cluster.advertise = Some(address);
                Ok(())
            },
        },
    },
    Key {
        name: "join",
        meaning: "Where the zone is: `HOST:PORT` of some nodes, or of a DNS name that stands for them.",
        form: Form::Texts {
            count_max: JOIN_MAX,
            get: |config| config.cluster.join.clone(),
            set: |config, names| config.cluster.set_join(names),
        },
    },
    Key {
        name: "token",
        meaning: "What `aop cluster join-token` printed. Needed only to join the first time.",
        form: Form::Text {
            chars_max: 1024,
            get: |config| config.cluster.token.as_ref().map(|_| "…".to_owned()),
            set: |config, text| {
                config.cluster.token = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key::count(
        "capacity",
        "How much this node takes compared with others.",
        Bounds::new(0, 1_000_000, "0 is the number of its cores"),
        |config| u64::from(config.cluster.capacity),
        |config, count| config.cluster.capacity = u32::try_from(wide(count)).unwrap_or(u32::MAX),
    ),
    Key::time(
        "gossip_interval",
        "Between two rounds of gossip. The same on every node of a zone.",
        Bounds::new(
            Duration::from_millis(100),
            Duration::from_secs(10),
            "each round costs kilobytes with a hundred nodes, and a dead node is noticed after several",
        ),
        |config| config.cluster.gossip_interval,
        |config, time| config.cluster.gossip_interval = time,
    ),
    Key {
        name: "labels",
        meaning: "What this node is, for `placement` of agents.",
        form: Form::Open {
            placeholder: "<name>",
            entries_max: LABELS_MAX,
            read: read_labels,
            rows: || {
                vec![Row {
                    key: String::new(),
                    form: "text".to_owned(),
                    default: String::new(),
                    bounds: format!("at most {LABEL_CHARS_MAX} characters"),
                    meaning: "What this node is, such as `region = \"eu\"`; `placement` of agents asks for it."
                        .to_owned(),
                }]
            },
        },
    },
    SERVERS,
];

fn read_labels(config: &mut Config, entries: &mut Entries<'_, '_>) {
    entries.each(|name, entry| {
        let value = entry.as_text().ok_or("expected text in quotes")?;
        let fits = |text: &str| (1..=LABEL_CHARS_MAX).contains(&text.chars().count());
        if !fits(name) || !fits(value) {
            return Err(format!("a label and its value have 1 to {LABEL_CHARS_MAX} characters"));
        }
        config.cluster.labels.insert(name.to_owned(), value.to_owned());
        Ok(())
    });
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not an address: write it like `{DEFAULT_ENDPOINT}`"))
}

fn is_host_and_port(text: &str) -> bool {
    text.len() <= ADDRESS_CHARS_MAX
        && text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
}

#[cfg(test)]
mod tests {
    use aop_cluster::membership::DEFAULT_ZONE;

    use super::*;

    #[test]
    fn hosts_have_ports() {
        for good in ["zone.example:8100", "127.0.0.1:1", "[::1]:8100"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in ["zone.example", ":8100", "a:0", "a:65536", "a:b", ""] {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }

    #[test]
    fn the_default_zone_has_a_valid_name() {
        assert!(DEFAULT_ZONE.parse::<ZoneName>().is_ok());
        assert!(!ClusterConfig::default().is_wanted());
    }
}
