//! What a node says of quotas, as gossip carries it: `DAY;` and, separated by commas, for each tenant of which it wants
//! more than others or used tokens today, the eleven characters of its key, the exponent of the weight, and the tokens. The first of the values has `DAY:POOL;`: which
//! part, in billionths, the nodes have together that this one hears.

use std::collections::{BTreeMap, HashMap};

use aop_core::quota::{Share, TenantKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::membership::VALUE_MAX_BYTES;

/// What the keys of gossip begin with that carry this; a digit follows.
pub(crate) const PREFIX: &str = "quota:";
/// How many there are.
pub(crate) const KEYS_MAX: u8 = 8;
/// The largest weight is two to the power of this.
pub(super) const EXPONENT_MAX: u32 = 10;
const KEY_CHARS: usize = 11;
/// What a pool takes at the most.
const POOL_BYTES: usize = 11;

/// What is said of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// A power of two.
    pub(super) weight: u16,
    /// Used on the day.
    pub(super) tokens: u64,
}

/// What is said of all.
pub(super) type Entries = HashMap<TenantKey, Entry>;

/// Writes what fits: first what was used, then what is wanted. Answers it as it is carried, and what of it is said.
pub(super) fn write(day: u64, entries: &Entries) -> (BTreeMap<u8, String>, Entries) {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_unstable_by_key(|(key, entry)| {
        (std::cmp::Reverse((entry.tokens, entry.weight)), **key)
    });
    let (mut texts, mut said) = (BTreeMap::new(), Entries::new());
    for (key, entry) in sorted {
        let text: &mut String =
            texts.entry(key.0[0] % KEYS_MAX).or_insert_with(|| format!("{day};"));
        let exponent = char::from_digit(entry.weight.ilog2(), 16).unwrap_or('0');
        let piece = format!("{}{exponent}{},", URL_SAFE_NO_PAD.encode(key.0), entry.tokens);
        if text.len() + piece.len() + POOL_BYTES <= VALUE_MAX_BYTES {
            text.push_str(&piece);
            said.insert(*key, *entry);
        }
    }
    (texts, said)
}

/// Adds which part the nodes have together that this one hears; that it is there says that this node knows the zone.
pub(super) fn write_pool(texts: &mut BTreeMap<u8, String>, day: u64, pool: Share) {
    let first = texts.entry(0).or_insert_with(|| format!("{day};"));
    if let Some((day, list)) = first.split_once(';') {
        *first = format!("{day}:{};{list}", pool.billionths());
    }
}

/// Reads it.
pub(super) fn read_pool(text: &str) -> Option<Share> {
    let (_, pool) = text.split_once(';')?.0.split_once(':')?;
    Some(Share::from_billionths(pool.parse().ok()?))
}

/// Reads what another node says. What makes no sense is as if it were not there; tokens of another day do not count.
pub(super) fn read(text: &str, today: u64) -> impl Iterator<Item = (TenantKey, Entry)> {
    let (day, list) = text.split_once(';').unwrap_or_default();
    let day = day.split_once(':').map_or(day, |(day, _)| day);
    let is_today = day.parse() == Ok(today);
    list.split(',').filter_map(move |piece| {
        let (key, rest) = piece.split_at_checked(KEY_CHARS)?;
        let (exponent, tokens) = rest.split_at_checked(1)?;
        let key: [u8; 8] = URL_SAFE_NO_PAD.decode(key).ok()?.try_into().ok()?;
        let exponent = exponent.chars().next()?.to_digit(16).filter(|e| *e <= EXPONENT_MAX)?;
        let tokens = tokens.parse().ok().filter(|_| is_today).unwrap_or(0);
        Some((TenantKey(key), Entry { weight: 1 << exponent, tokens }))
    })
}
