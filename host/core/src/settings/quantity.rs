//! Durations and sizes as people write them. A number without a unit is never guessed at.

use std::time::Duration;

use super::mistake::shown;

const SIZE_UNITS: [(u64, &str); 4] =
    [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

/// Reads `30s`, `1m 30s`, `250ms`.
///
/// # Errors
/// What the text should look like.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    if is_bare_number(text) {
        return Err(format!("`{0}` has no unit: write `{0}s` or `{0}ms`", shown(text.trim())));
    }
    humantime::parse_duration(text).map_err(|_| {
        format!("`{}` is not a duration: write it like `30s`, `250ms` or `2m`", shown(text))
    })
}

/// Reads `64MiB`, `512KiB`, `1GB`.
///
/// # Errors
/// What the text should look like.
pub fn parse_size(text: &str) -> Result<u64, String> {
    if is_bare_number(text) {
        return Err(format!("`{0}` has no unit: write `{0}MiB` or `{0}KiB`", shown(text.trim())));
    }
    text.trim()
        .parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| format!("`{}` is not a size: write it like `64MiB` or `512KiB`", shown(text)))
}

/// The shortest form that [`parse_time`] reads back.
#[must_use]
pub fn show_time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// The shortest exact form that [`parse_size`] reads back.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    SIZE_UNITS
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

fn is_bare_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok()
}
