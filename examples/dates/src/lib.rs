//! An agent for calendar arithmetic that uses no SDK: `wit-bindgen` and a calendar library are all it needs.
//! Dates are ISO 8601 in the proleptic Gregorian calendar.

mod business;
mod recurrence;
mod zones;

use jiff::civil::{Date, Weekday};
use jiff::{Span, Unit};

wit_bindgen::generate!({ path: "wit/dates.wit", additional_derives: [PartialEq] });

use exports::examples::dates::calendar as wit;

const MONTHS_PER_YEAR: i64 = 12;
const DAYS_PER_WEEK: i64 = 7;

struct Dates;

impl wit::Guest for Dates {
    fn look_up(date: String) -> Result<wit::Day, String> {
        parse(&date).map(day)
    }

    fn subtract(start: String, end: String) -> Result<wit::Difference, String> {
        difference(parse(&start)?, parse(&end)?)
    }

    fn add(date: String, amount: wit::Amount) -> Result<wit::Day, String> {
        add(parse(&date)?, &amount).map(day).map_err(|error| error.to_string())
    }

    fn count_business_days(
        start: String,
        end: String,
        holidays: Option<Vec<String>>,
        weekend: Option<wit::Weekdays>,
    ) -> Result<u32, String> {
        let working = business::Working::new(weekend, &parse_all(holidays)?)?;
        Ok(working.count(parse(&start)?, parse(&end)?))
    }

    fn add_business_days(
        date: String,
        days: i32,
        holidays: Option<Vec<String>>,
        weekend: Option<wit::Weekdays>,
    ) -> Result<wit::Day, String> {
        let working = business::Working::new(weekend, &parse_all(holidays)?)?;
        working.add(parse(&date)?, days).map(day)
    }

    fn recur(
        start: String,
        every: u32,
        unit: wit::Unit,
        count: u32,
        only: Option<wit::Weekdays>,
    ) -> Result<Vec<String>, String> {
        let dates = recurrence::dates(parse(&start)?, every, unit, count, only)?;
        Ok(dates.iter().map(Date::to_string).collect())
    }

    fn convert_zone(
        time: String,
        source_zone: String,
        target_zone: String,
    ) -> Result<wit::Moment, String> {
        zones::convert(&time, &source_zone, &target_zone)
    }
}

fn parse(date: &str) -> Result<Date, String> {
    date.trim().parse().map_err(|_| format!("{date:?} is no date such as 2026-11-20"))
}

fn parse_all(dates: Option<Vec<String>>) -> Result<Vec<Date>, String> {
    dates.unwrap_or_default().iter().map(|date| parse(date)).collect()
}

fn day(date: Date) -> wit::Day {
    let week = date.iso_week_date();
    wit::Day {
        date: date.to_string(),
        weekday: weekday(date.weekday()),
        iso_week: week.week().unsigned_abs(),
        iso_week_year: week.year(),
        day_of_year: date.day_of_year().unsigned_abs(),
        days_in_month: date.days_in_month().unsigned_abs(),
        leap_year: date.in_leap_year(),
    }
}

fn difference(start: Date, end: Date) -> Result<wit::Difference, String> {
    let by_calendar = start.until((Unit::Year, end)).map_err(|error| error.to_string())?;
    let by_day = start.until((Unit::Day, end)).map_err(|error| error.to_string())?;
    Ok(wit::Difference {
        years: by_calendar.get_years().into(),
        months: by_calendar.get_months(),
        days: by_calendar.get_days(),
        total_days: by_day.get_days(),
    })
}

/// Months first and days second, so that the two may have different signs.
fn add(date: Date, amount: &wit::Amount) -> Result<Date, jiff::Error> {
    let parts = |large: Option<i32>, factor: i64, small: Option<i32>| {
        i64::from(large.unwrap_or(0)) * factor + i64::from(small.unwrap_or(0))
    };
    let months = Span::new().try_months(parts(amount.years, MONTHS_PER_YEAR, amount.months))?;
    let days = Span::new().try_days(parts(amount.weeks, DAYS_PER_WEEK, amount.days))?;
    date.checked_add(months)?.checked_add(days)
}

fn weekday(weekday: Weekday) -> wit::Weekday {
    match weekday {
        Weekday::Monday => wit::Weekday::Monday,
        Weekday::Tuesday => wit::Weekday::Tuesday,
        Weekday::Wednesday => wit::Weekday::Wednesday,
        Weekday::Thursday => wit::Weekday::Thursday,
        Weekday::Friday => wit::Weekday::Friday,
        Weekday::Saturday => wit::Weekday::Saturday,
        Weekday::Sunday => wit::Weekday::Sunday,
    }
}

/// The flag of a weekday.
fn flag(weekday: Weekday) -> wit::Weekdays {
    match weekday {
        Weekday::Monday => wit::Weekdays::MONDAY,
        Weekday::Tuesday => wit::Weekdays::TUESDAY,
        Weekday::Wednesday => wit::Weekdays::WEDNESDAY,
        Weekday::Thursday => wit::Weekdays::THURSDAY,
        Weekday::Friday => wit::Weekdays::FRIDAY,
        Weekday::Saturday => wit::Weekdays::SATURDAY,
        Weekday::Sunday => wit::Weekdays::SUNDAY,
    }
}

export!(Dates);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_knows_its_place() {
        let day = day(parse("2027-01-01").unwrap());
        assert_eq!(
            (day.weekday, day.iso_week, day.iso_week_year),
            (wit::Weekday::Friday, 53, 2026)
        );
        assert_eq!((day.day_of_year, day.days_in_month, day.leap_year), (1, 31, false));
    }

    #[test]
    fn differences_have_a_sign() {
        let dates = (parse("2024-02-29").unwrap(), parse("2026-11-20").unwrap());
        let forth = difference(dates.0, dates.1).unwrap();
        assert_eq!((forth.years, forth.months, forth.days, forth.total_days), (2, 8, 22, 995));
        assert_eq!(difference(dates.1, dates.0).unwrap().total_days, -995);
    }

    #[test]
    fn months_clamp() {
        let none = wit::Amount { years: None, months: None, weeks: None, days: None };
        let added = |date: &str, amount| {
            <Dates as wit::Guest>::add(date.into(), amount).map(|day| day.date)
        };
        let amount = wit::Amount { months: Some(1), ..none };
        assert_eq!(added("2026-01-31", amount).unwrap(), "2026-02-28");
        let amount = wit::Amount { years: Some(1), days: Some(-1), ..none };
        assert_eq!(added("2024-02-29", amount).unwrap(), "2025-02-27");
        let amount = wit::Amount { years: Some(i32::MAX), ..none };
        assert!(added("2024-02-29", amount).is_err());
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in ["2026-02-29", "tomorrow", "", "20/11/2026"] {
            assert!(parse(text).unwrap_err().contains("no date"), "{text}");
        }
    }
}
