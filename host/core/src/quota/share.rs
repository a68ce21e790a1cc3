//! The part of a tenant's quota that one node of a zone may use.
//!
//! What a tenant may use per time and at one time (calls, places, CPU time, egress, tokens) holds for its whole zone. Every
//! node is told from time to time which part is its own ([`Accounts::set_shares`](super::Accounts::set_shares)); who
//! divides sees to it that all parts together are never more than the whole. What a node must hold by itself (memory,
//! code, queues) is each node's own.
//!
//! A part that grows brings time, not what could have been used before it grew: otherwise, moving it from node to node
//! would let a burst begin again on each.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Account, Resource};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A part of a quota, in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u32);

impl Share {
    /// All of it: a host in no zone.
    pub const WHOLE: Self = Self(1_000_000_000);
    /// Nothing beyond what every node has: one call at one time.
    pub const NOTHING: Self = Self(0);

    /// `part` of `all`, rounded down; at most the whole.
    #[must_use]
    pub fn of(part: u64, all: u64) -> Self {
        let billionths = u128::from(part) * u128::from(Self::WHOLE.0) / u128::from(all.max(1));
        Self(u32::try_from(billionths).unwrap_or(u32::MAX)).min(Self::WHOLE)
    }

    /// This part of that part, rounded down.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        Self::of(
            u64::from(self.0) * u64::from(other.0),
            u64::from(Self::WHOLE.0) * u64::from(Self::WHOLE.0),
        )
    }

    /// What is left of the whole, or of what was left.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// In billionths.
    #[must_use]
    pub const fn billionths(self) -> u32 {
        self.0
    }

    /// From billionths; at most the whole.
    #[must_use]
    pub fn from_billionths(billionths: u32) -> Self {
        Self(billionths).min(Self::WHOLE)
    }

    /// That part of an amount, rounded down.
    #[must_use]
    pub fn part_of(self, amount: u64) -> u64 {
        let part = u128::from(amount) * u128::from(self.0) / u128::from(Self::WHOLE.0);
        u64::try_from(part).unwrap_or(u64::MAX)
    }
}

/// What was used of a quota that holds for the zone, counted since the account began; what may have been refused of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    calls: u64,
    cpu: u64,
    egress: u64,
    tokens: u64,
    refused: u64,
}

/// Tokens of one day (UTC), on this node and elsewhere.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    day: u64,
    used: u64,
    taken: u64,
    zone: ZoneTokens,
}

/// What a zone knows of a tenant's tokens of one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ZoneTokens {
    /// Which, in days since the Unix epoch.
    pub day: u64,
    /// What this node had used when the others were told last; they know it for certain.
    pub here: u64,
    /// What the others have used, as far as this node knows.
    pub elsewhere: u64,
}

/// What of a tenant's quota holds for the zone.
const OF_THE_ZONE: [Resource; 5] =
    [Resource::Calls, Resource::Concurrency, Resource::Cpu, Resource::Egress, Resource::Tokens];

impl Account {
    /// The part of its quota that may be used here.
    #[must_use]
    pub fn share(&self) -> Share {
        self.calls.share()
    }

    /// Whether it has a quota of which nodes have parts.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        OF_THE_ZONE.into_iter().any(|resource| self.limit(resource).is_some())
    }

    /// What this node may use of a limit now; the limit itself where it is each node's own.
    #[must_use]
    pub fn limit_here(&self, resource: Resource) -> Option<u64> {
        let limit = self.limit(resource)?;
        if !OF_THE_ZONE.contains(&resource) || self.share() == Share::WHOLE {
            return Some(limit);
        }
        Some(match resource {
            Resource::Concurrency => u64::from(self.places.capacity()),
            Resource::Tokens => self.tokens().budget(limit, self.share(), None),
            _ => self.share().part_of(limit).max(1),
        })
    }

    pub(super) fn set_share(&self, share: Share, now: Option<Instant>) {
        for rate in [&self.calls, &self.cpu, &self.egress] {
            rate.set_share(share, now);
        }
        self.apply_places();
    }

    /// Tells what was used of the tokens of a day.
    pub fn note_tokens(&self, day: u64, used: u64) {
        let mut tokens = self.tokens();
        if tokens.day != day {
            (tokens.day, tokens.used) = (day, 0);
        }
        tokens.taken = tokens.taken.saturating_add(used.saturating_sub(tokens.used));
        tokens.used = used;
    }

    /// The day of which tokens were used last, and how many.
    #[must_use]
    pub fn tokens_used(&self) -> (u64, u64) {
        let tokens = self.tokens();
        (tokens.day, tokens.used)
    }

    /// The day of which it knows what the zone used.
    #[must_use]
    pub fn zone_day(&self) -> u64 {
        self.tokens().zone.day
    }

    /// Takes note of what the zone has used of a day.
    pub fn set_zone_tokens(&self, zone: ZoneTokens) {
        self.tokens().zone = zone;
    }

    /// How many of the `limit` tokens of a day this node may use in all.
    #[must_use]
    pub fn tokens_here(&self, day: u64, limit: u64) -> u64 {
        self.tokens().budget(limit, self.share(), Some(day))
    }

    /// What was used so far, to compare with later.
    #[must_use]
    pub fn taken(&self) -> Taken {
        let refused = OF_THE_ZONE.into_iter().chain([Resource::Queue, Resource::QueueWait]);
        Taken {
            calls: self.calls.taken(),
            cpu: self.cpu.taken(),
            egress: self.egress.taken(),
            tokens: self.tokens().taken,
            refused: refused.map(|resource| self.refusals(resource)).sum(),
        }
    }

    /// Which part of the whole quota was used here since `before`, which was taken `elapsed` ago: of whatever is used
    /// most. The whole, when something was refused or waits for a place of the tenant's.
    #[must_use]
    pub fn demand(&self, before: &Taken, elapsed: Duration) -> Share {
        let now = self.taken();
        let is_short = self.share() != Share::WHOLE
            && self.places.waiting() > 0
            && self.places.held() >= self.places.capacity();
        if now.refused > before.refused || is_short {
            return Share::WHOLE;
        }
        let over = |used: u64, limit: Option<u64>, window: Duration| {
            let Some(limit) = limit else { return Share::NOTHING };
            let per_window = u128::from(used) * window.as_nanos() / elapsed.as_nanos().max(1);
            Share::of(u64::try_from(per_window).unwrap_or(u64::MAX), limit)
        };
        let held = u64::from(self.places.held());
        // What a tenant of the same name used, who was deleted since then, may be more.
        let since = u64::saturating_sub;
        [
            over(since(now.calls, before.calls), self.calls.limit(), self.calls.window()),
            over(since(now.cpu, before.cpu), self.cpu.limit(), self.cpu.window()),
            over(since(now.egress, before.egress), self.egress.limit(), self.egress.window()),
            over(since(now.tokens, before.tokens), self.limit(Resource::Tokens), DAY),
            self.limit(Resource::Concurrency)
                .map_or(Share::NOTHING, |limit| Share::of(held, limit)),
        ]
        .into_iter()
        .fold(Share::NOTHING, Share::max)
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tokens {
    /// A part of what nobody had used when everybody last knew; and what this node had used then.
    fn budget(&self, limit: u64, share: Share, day: Option<u64>) -> u64 {
        let zone = match day {
            Some(day) if day != self.zone.day => ZoneTokens::default(),
            _ => self.zone,
        };
        let left = limit.saturating_sub(zone.here).saturating_sub(zone.elsewhere);
        zone.here.saturating_add(share.part_of(left))
    }
}

#[cfg(test)]
mod tests;
