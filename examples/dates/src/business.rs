//! Business days: every day that is neither a weekend nor a holiday.

use std::collections::BTreeSet;

use jiff::civil::Date;

use crate::{flag, wit};

const DAYS_PER_WEEK: i32 = 7;

/// The days on which people work.
#[derive(Debug)]
pub(crate) struct Working {
    weekend: wit::Weekdays,
    /// Holidays that do not fall on a weekend.
    holidays: BTreeSet<Date>,
}

impl Working {
    /// Saturday and Sunday are the weekend unless told otherwise.
    pub(crate) fn new(weekend: Option<wit::Weekdays>, holidays: &[Date]) -> Result<Self, String> {
        let weekend = weekend.unwrap_or(wit::Weekdays::SATURDAY | wit::Weekdays::SUNDAY);
        if weekend == wit::Weekdays::all() {
            return Err("a week needs at least one business day".to_owned());
        }
        let holidays =
            holidays.iter().filter(|day| !weekend.contains(flag(day.weekday()))).copied();
        Ok(Self { weekend, holidays: holidays.collect() })
    }

    fn includes(&self, day: Date) -> bool {
        !self.weekend.contains(flag(day.weekday())) && !self.holidays.contains(&day)
    }

    /// The business days from the earlier to the later date, both included.
    pub(crate) fn count(&self, start: Date, end: Date) -> u32 {
        let (first, last) = if start <= end { (start, end) } else { (end, start) };
        let days = first.until(last).map_or(0, |span| span.get_days()) + 1;
        let weeks = days / DAYS_PER_WEEK;
        let per_week = DAYS_PER_WEEK.unsigned_abs() - self.weekend.iter().count() as u32;
        let mut count = weeks.unsigned_abs() * per_week;
        let mut day = Some(last);
        for _ in 0..days % DAYS_PER_WEEK {
            let Some(today) = day else { break };
            count += u32::from(!self.weekend.contains(flag(today.weekday())));
            day = today.yesterday().ok();
        }
        count - self.holidays.range(first..=last).count() as u32
    }

    /// The business day that many business days later, or earlier when negative. With 0, the date itself
    /// or the next business day.
    pub(crate) fn add(&self, start: Date, days: i32) -> Result<Date, String> {
        let mut day = start;
        let mut open = days.unsigned_abs();
        if days == 0 {
            while !self.includes(day) {
                day = day.tomorrow().map_err(|error| error.to_string())?;
            }
        }
        while open > 0 {
            let next = if days > 0 { day.tomorrow() } else { day.yesterday() };
            day = next.map_err(|error| error.to_string())?;
            open -= u32::from(self.includes(day));
        }
        Ok(day)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn counts_both_ends() {
        let working = Working::new(None, &[date(2026, 12, 25), date(2026, 12, 26)]).unwrap();
        assert_eq!(working.count(date(2026, 12, 21), date(2026, 12, 31)), 8);
        assert_eq!(working.count(date(2026, 12, 31), date(2026, 12, 21)), 8);
        assert_eq!(working.count(date(2026, 12, 26), date(2026, 12, 27)), 0);
        assert_eq!(working.count(date(2026, 1, 1), date(2026, 12, 31)), 260);
    }

    #[test]
    fn counting_agrees_with_looking_at_every_day() {
        let weekend = wit::Weekdays::FRIDAY | wit::Weekdays::SATURDAY;
        let working = Working::new(Some(weekend), &[date(2026, 3, 3), date(2026, 3, 6)]).unwrap();
        let start = date(2026, 2, 25);
        for length in 0..40 {
            let end = start.saturating_add(jiff::Span::new().days(length));
            let every_day = start.series(jiff::Span::new().days(1)).take_while(|&day| day <= end);
            let expected = every_day.filter(|&day| working.includes(day)).count();
            assert_eq!(working.count(start, end) as usize, expected, "{end}");
        }
    }

    #[test]
    fn adds_in_both_directions() {
        let working = Working::new(None, &[date(2026, 12, 25)]).unwrap();
        assert_eq!(working.add(date(2026, 12, 24), 1).unwrap(), date(2026, 12, 28));
        assert_eq!(working.add(date(2026, 12, 28), -1).unwrap(), date(2026, 12, 24));
        assert_eq!(working.add(date(2026, 12, 26), 0).unwrap(), date(2026, 12, 28));
        assert!(working.add(date(9999, 12, 31), 1).is_err());
    }

    #[test]
    fn a_week_of_weekends_is_refused() {
        assert!(Working::new(Some(wit::Weekdays::all()), &[]).is_err());
    }
}
