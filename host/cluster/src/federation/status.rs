//! What an operator sees of a zone: `aop zone status`.

use serde_json::{Value, json};

use super::Zone;
use super::cache::Level;

/// As JSON. Tokens are never in it, only whether there are any.
pub(super) fn of(zone: &Zone) -> Value {
    let authority = zone.authority();
    let apex = authority.apex_body();
    let book = authority.book();
    let table = authority.exported();
    let peers = book.peers.iter().map(|(name, peer)| {
        // Of a child that cannot be reached otherwise.
        let connections = peer.endpoints.is_empty().then(|| zone.ways().attached.count(name));
        json!({
            "zone": name,
            "relation": peer.relation,
            "endpoints": authority.endpoints_of(name, peer),
            "connections": connections,
            "keys": peer.keys,
            "exports": peer.exports,
            "shows_token": peer.token.is_some(),
            "accepts_token": peer.accepts.is_some(),
        })
    });
    let exports = table.agents().map(|exported| {
        json!({
            "name": exported.name,
            "tenant": exported.tenant,
            "agent": exported.agent,
            "version": exported.version,
            "to": exported.to(),
            "tools": exported.tools.iter().map(|tool| &tool.name).collect::<Vec<_>>(),
            "descriptor": exported.digest,
        })
    });
    let refused = table.refused.iter().map(
        |(tenant, agent, reason)| json!({ "tenant": tenant, "agent": agent, "reason": reason }),
    );
    let cache = Level::ALL.map(|level| {
        let [hits, misses, stale] = zone.cache_figures(level);
        json!({ "level": level, "hits": hits, "misses": misses, "stale": stale })
    });
    json!({
        "zone": apex.zone,
        "serial": apex.serial,
        "ttl_s": apex.ttl,
        "keys": apex.keys.iter().map(|key| key.thumbprint()).collect::<Vec<_>>(),
        "endpoints": apex.endpoints,
        "uplink": zone.uplink_status(),
        "peers": peers.collect::<Vec<_>>(),
        "exports": exports.collect::<Vec<_>>(),
        "refused_exports": refused.collect::<Vec<_>>(),
        "cache": cache,
    })
}
