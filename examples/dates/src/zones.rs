//! Moments in time zones. The zone database is in the component, since a sandbox has no
//! `/usr/share/zoneinfo`.

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};

use crate::{weekday, wit};

/// Converts a moment. A time without an offset is local to `source`; where a clock is put back it means the
/// earlier moment, where it is put forward the later one.
pub(crate) fn convert(time: &str, source: &str, target: &str) -> Result<wit::Moment, String> {
    let target = zone(target)?;
    let source = zone(source)?;
    let time = time.trim();
    let moment = match time.parse::<Timestamp>() {
        Ok(timestamp) => timestamp.to_zoned(target.clone()),
        Err(_) => local(time, source)?.with_time_zone(target.clone()),
    };
    let offset = target.to_offset_info(moment.timestamp());
    Ok(wit::Moment {
        time: moment.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        zone: target.iana_name().unwrap_or("UTC").to_owned(),
        abbreviation: offset.abbreviation().to_owned(),
        daylight_saving: offset.dst().is_dst(),
        weekday: weekday(moment.weekday()),
        unix_seconds: moment.timestamp().as_second(),
    })
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZoneDatabase::bundled()
        .get(name.trim())
        .map_err(|_| format!("{name:?} is no time zone such as Europe/Berlin"))
}

fn local(time: &str, zone: TimeZone) -> Result<Zoned, String> {
    let time: DateTime = time.parse().map_err(|_| {
        format!("{time:?} is no time such as 2026-11-20T15:30 or 2026-11-20T15:30+01:00")
    })?;
    zone.to_zoned(time).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_times_convert() {
        let moment = convert("2026-07-01T12:00", "America/New_York", "Europe/Berlin").unwrap();
        assert_eq!(moment.time, "2026-07-01T18:00:00+02:00");
        assert_eq!((moment.abbreviation.as_str(), moment.daylight_saving), ("CEST", true));
        assert_eq!(moment.weekday, wit::Weekday::Wednesday);
    }

    #[test]
    fn an_offset_wins_over_the_source_zone() {
        let moment = convert("2026-01-01T00:00:00Z", "Asia/Tokyo", "Asia/Kolkata").unwrap();
        assert_eq!(moment.time, "2026-01-01T05:30:00+05:30");
        assert_eq!(moment.unix_seconds, 1_767_225_600);
    }

    #[test]
    fn gaps_and_folds_have_an_answer() {
        let berlin = |time| convert(time, "Europe/Berlin", "UTC").unwrap().time;
        assert_eq!(berlin("2026-03-29T02:30"), "2026-03-29T01:30:00+00:00");
        assert_eq!(berlin("2026-10-25T02:30"), "2026-10-25T00:30:00+00:00");
    }

    #[test]
    fn what_is_unknown_is_refused() {
        assert!(
            convert("2026-01-01T00:00", "Mars/Olympus", "UTC")
                .unwrap_err()
                .contains("no time zone")
        );
        assert!(convert("noon", "UTC", "UTC").unwrap_err().contains("no time"));
    }
}
