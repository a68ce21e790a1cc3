//! Dates that come again and again.

use jiff::Span;
use jiff::civil::Date;

use crate::{flag, wit};

/// More dates than anybody reads, few enough to compute at once.
const DATES_MAX: u32 = 1000;

/// How many repetitions may pass without a date: monthly dates fall on each weekday within a year or two,
/// so more means that the weekday never comes.
const BARREN_MAX: u32 = 1000;

/// The first `count` dates from `start` on, `every` so many units, that fall on a weekday in `only`.
///
/// Each is computed from the start: monthly from 31 January gives 28 February and then 31 March.
pub(crate) fn dates(
    start: Date,
    every: u32,
    unit: wit::Unit,
    count: u32,
    only: Option<wit::Weekdays>,
) -> Result<Vec<Date>, String> {
    if every == 0 {
        return Err("every must be at least 1".to_owned());
    }
    if count > DATES_MAX {
        return Err(format!("count must be at most {DATES_MAX}"));
    }
    let mut dates = Vec::new();
    let mut barren = 0;
    for repetition in 0_i64.. {
        if dates.len() == count as usize {
            break;
        }
        let date = span(repetition * i64::from(every), unit)
            .and_then(|span| start.checked_add(span))
            .map_err(|_| format!("the calendar ends after {} dates", dates.len()))?;
        if only.is_none_or(|only| only.contains(flag(date.weekday()))) {
            dates.push(date);
            barren = 0;
        } else {
            barren += 1;
        }
        if barren == BARREN_MAX {
            return Err("no date falls on such a weekday".to_owned());
        }
    }
    Ok(dates)
}

fn span(amount: i64, unit: wit::Unit) -> Result<Span, jiff::Error> {
    match unit {
        wit::Unit::Day => Span::new().try_days(amount),
        wit::Unit::Week => Span::new().try_weeks(amount),
        wit::Unit::Month => Span::new().try_months(amount),
        wit::Unit::Year => Span::new().try_years(amount),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn texts(dates: &[Date]) -> Vec<String> {
        dates.iter().map(Date::to_string).collect()
    }

    #[test]
    fn month_ends_do_not_drift() {
        let found = dates(date(2026, 1, 31), 1, wit::Unit::Month, 3, None).unwrap();
        assert_eq!(texts(&found), ["2026-01-31", "2026-02-28", "2026-03-31"]);
    }

    #[test]
    fn only_some_weekdays() {
        let only = wit::Weekdays::MONDAY | wit::Weekdays::THURSDAY;
        let found = dates(date(2026, 11, 20), 1, wit::Unit::Day, 3, Some(only)).unwrap();
        assert_eq!(texts(&found), ["2026-11-23", "2026-11-26", "2026-11-30"]);
    }

    #[test]
    fn impossible_recurrences_end() {
        let start = date(2026, 11, 20);
        assert!(dates(start, 0, wit::Unit::Day, 1, None).is_err());
        assert!(dates(start, 1, wit::Unit::Day, DATES_MAX + 1, None).is_err());
        assert!(dates(start, u32::MAX, wit::Unit::Year, 2, None).is_err());
        assert!(dates(start, 1, wit::Unit::Week, 1, Some(wit::Weekdays::MONDAY)).is_err());
        assert!(dates(start, 1, wit::Unit::Day, 1, Some(wit::Weekdays::empty())).is_err());
        assert_eq!(dates(start, 1, wit::Unit::Day, 0, None).unwrap(), []);
    }
}
