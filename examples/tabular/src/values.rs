//! What a cell is and how two of them compare.

use std::cmp::Ordering;

/// A cell; none when the value is missing.
pub(crate) type Cell = Option<String>;

/// The number that a value is, if it is one. `inf` and `nan` are words, not numbers.
pub(crate) fn number(value: &str) -> Option<f64> {
    let value = value.trim();
    let starts_like_number =
        value.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    let number: f64 = value.parse().ok().filter(|_| starts_like_number)?;
    number.is_finite().then_some(number)
}

/// The truth value that a value is, if it is one.
pub(crate) fn truth(value: &str) -> Option<bool> {
    match value {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Whether a value starts as ISO 8601 dates do.
pub(crate) fn is_date(value: &str) -> bool {
    let Some(date) = value.get(..10) else {
        return false;
    };
    let form = date.bytes().enumerate().all(|(index, byte)| match index {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let within = |range: std::ops::Range<usize>, max: u8| {
        date.get(range)
            .and_then(|part| part.parse().ok())
            .is_some_and(|part: u8| (1..=max).contains(&part))
    };
    form && within(5..7, 12)
        && within(8..10, 31)
        && matches!(value.as_bytes().get(10), None | Some(b'T' | b' '))
}

/// By size when both are numbers, by the alphabet otherwise.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        _ => one.cmp(other),
    }
}

/// The total order for sorting: numbers by size, then texts by the alphabet.
pub(crate) fn rank(one: &str, other: &str) -> Ordering {
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => one.cmp(other),
    }
}

/// The mean; none of nothing.
pub(crate) fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// The middle value, or the mean of the two middle ones.
pub(crate) fn median(numbers: &[f64]) -> Option<f64> {
    let mut numbers = numbers.to_vec();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let upper = *numbers.get(middle)?;
    if numbers.len().is_multiple_of(2) {
        Some(f64::midpoint(numbers[middle - 1], upper))
    } else {
        Some(upper)
    }
}

/// The sample standard deviation; none of fewer than two.
pub(crate) fn standard_deviation(numbers: &[f64]) -> Option<f64> {
    let mean = mean(numbers).filter(|_| numbers.len() > 1)?;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    Some((squares / (numbers.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_kinds() {
        assert_eq!(number(" -1.5e3"), Some(-1500.0));
        for text in ["inf", "nan", "", "1,5", "infinity", "+inf", "12 apples"] {
            assert_eq!(number(text), None, "{text}");
        }
        assert!(is_date("2026-11-20") && is_date("2026-11-20T10:00"));
        for text in
            ["2026-13-20", "2026-11-32", "20261120", "2026-11-201", "é026-11-20", "2026-00-10"]
        {
            assert!(!is_date(text), "{text}");
        }
        assert_eq!(truth("TRUE"), Some(true));
        assert_eq!(truth("yes"), None);
    }

    #[test]
    fn numbers_compare_by_size_and_texts_by_the_alphabet() {
        assert_eq!(compare("9", "10"), Ordering::Less);
        assert_eq!(compare("9", "10a"), Ordering::Greater);
        assert_eq!(rank("10", "apple"), Ordering::Less);
    }

    #[test]
    fn statistics() {
        assert_eq!(mean(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(standard_deviation(&[1.0]), None);
        assert_eq!(standard_deviation(&[1.0, 3.0]), Some(2.0_f64.sqrt()));
    }
}
