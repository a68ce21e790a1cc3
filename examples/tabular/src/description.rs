//! Describes the columns of a table.

use std::collections::HashMap;

use crate::count;
use crate::data::Data;
use crate::values;
use crate::wit::{Column, Description, Frequency, Kind};

/// Enough to see what a column is about.
const MOST_COMMON_MAX: usize = 5;

/// Describes a table.
pub(crate) fn describe(data: &Data) -> Description {
    let columns = data.columns.iter().enumerate();
    Description {
        rows: count(data.rows.len()),
        columns: columns.map(|(position, name)| column(data, position, name)).collect(),
    }
}

fn column(data: &Data, position: usize, name: &str) -> Column {
    let values: Vec<&str> = data.rows.iter().filter_map(|row| row[position].as_deref()).collect();
    let kind = kind(&values);
    let numbers: Vec<f64> = match kind {
        Kind::Number => values.iter().filter_map(|value| values::number(value)).collect(),
        _ => Vec::new(),
    };
    let owned = |value: &&str| (*value).to_owned();
    let frequencies = frequencies(&values);
    Column {
        name: name.to_owned(),
        kind,
        missing: count(data.rows.len() - values.len()),
        distinct: count(frequencies.len()),
        minimum: values.iter().min_by(|one, other| values::rank(one, other)).map(owned),
        maximum: values.iter().max_by(|one, other| values::rank(one, other)).map(owned),
        mean: values::mean(&numbers),
        median: values::median(&numbers),
        standard_deviation: values::standard_deviation(&numbers),
        most_common: frequencies
            .into_iter()
            .take(MOST_COMMON_MAX)
            .map(|(value, rows)| Frequency { value: value.to_owned(), rows: count(rows) })
            .collect(),
    }
}

fn kind(values: &[&str]) -> Kind {
    if values.is_empty() {
        Kind::Empty
    } else if values.iter().all(|value| values::truth(value).is_some()) {
        Kind::Truth
    } else if values.iter().all(|value| values::number(value).is_some()) {
        Kind::Number
    } else if values.iter().all(|value| values::is_date(value)) {
        Kind::Date
    } else {
        Kind::Text
    }
}

/// Each value with its number of rows, the most frequent first, then by rank.
fn frequencies<'a>(values: &[&'a str]) -> Vec<(&'a str, usize)> {
    let mut rows = HashMap::new();
    for value in values {
        *rows.entry(*value).or_insert(0) += 1;
    }
    let mut frequencies: Vec<_> = rows.into_iter().collect();
    frequencies.sort_by(|one, other| {
        other
            .1
            .cmp(&one.1)
            .then_with(|| values::rank(one.0, other.0))
            .then_with(|| one.0.cmp(other.0))
    });
    frequencies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::read;

    #[test]
    fn describes_every_kind() {
        let data =
            read("n,t,d,s,e\n10,true,2026-01-02,x,\n9,false,2026-01-01,x,\n,true,,y,\n", None)
                .unwrap();
        let description = describe(&data);
        assert_eq!(description.rows, 3);
        let kinds: Vec<Kind> = description.columns.iter().map(|column| column.kind).collect();
        assert_eq!(kinds, [Kind::Number, Kind::Truth, Kind::Date, Kind::Text, Kind::Empty]);
        let numbers = &description.columns[0];
        assert_eq!((numbers.missing, numbers.distinct, numbers.mean), (1, 2, Some(9.5)));
        assert_eq!(
            (numbers.minimum.as_deref(), numbers.maximum.as_deref()),
            (Some("9"), Some("10"))
        );
        let texts = &description.columns[3];
        assert_eq!(texts.most_common[0], Frequency { value: "x".into(), rows: 2 });
        assert_eq!(texts.mean, None);
    }

    #[test]
    fn a_table_without_rows_has_empty_columns() {
        let description = describe(&read("a,b\n", None).unwrap());
        assert_eq!(description.rows, 0);
        assert!(
            description
                .columns
                .iter()
                .all(|column| column.kind == Kind::Empty && column.minimum.is_none())
        );
    }
}
