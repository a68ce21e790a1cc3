//! W3C Trace Context: the part of `traceparent` that a call carries along.

use std::fmt;
use std::str::FromStr;

/// A position in a distributed trace (W3C Trace Context, level 1, version 00).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Identifies the whole trace; never zero.
    pub trace_id: u128,
    /// The caller's span; never zero.
    pub parent_id: u64,
    /// The caller's sampling flags, passed on unchanged.
    pub flags: u8,
}

/// A `traceparent` was malformed. The specification says to ignore it and start anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct ParseTraceError;

impl TraceContext {
    /// The same trace seen from a span of this host.
    #[must_use]
    pub const fn child(self, span_id: u64) -> Self {
        Self { parent_id: if span_id == 0 { 1 } else { span_id }, ..self }
    }
}

impl FromStr for TraceContext {
    type Err = ParseTraceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('-');
        let mut hex = |length: usize| {
            parts
                .next()
                .filter(|part| part.len() == length)
                .filter(|part| part.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')))
                .and_then(|part| u128::from_str_radix(part, 16).ok())
                .ok_or(ParseTraceError)
        };
        let version = hex(2)?;
        let trace_id = hex(32)?;
        let parent_id = u64::try_from(hex(16)?).map_err(|_| ParseTraceError)?;
        let flags = u8::try_from(hex(2)?).map_err(|_| ParseTraceError)?;
        let trailing = parts.next().is_some();
        if version == 0xff || (version == 0 && trailing) || trace_id == 0 || parent_id == 0 {
            return Err(ParseTraceError);
        }
        Ok(Self { trace_id, parent_id, flags })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_round_trips_and_a_bad_one_is_refused() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(text.parse::<TraceContext>().map(|t| t.to_string()), Ok(text.to_owned()));
        for bad in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(ParseTraceError), "{bad}");
        }
    }
}
