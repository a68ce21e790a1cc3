//! Keeps, sorts and projects the rows of a table.

use std::cmp::Ordering;

use crate::data::Data;
use crate::values::{self, Cell};
use crate::wit::{Condition, Direction, Failure, Order, Test};

/// Drops the rows that fail any of the conditions.
pub(crate) fn keep(data: &mut Data, conditions: &[Condition]) -> Result<(), Failure> {
    for condition in conditions {
        let position = data.position(&condition.column)?;
        data.rows.retain(|row| passes(row[position].as_deref(), &condition.test));
    }
    Ok(())
}

fn passes(value: Option<&str>, test: &Test) -> bool {
    let Some(value) = value else {
        return matches!(test, Test::IsMissing | Test::DiffersFrom(_));
    };
    let is = |other: &str| values::compare(value, other);
    match test {
        Test::Equals(other) => is(other).is_eq(),
        Test::DiffersFrom(other) => is(other).is_ne(),
        Test::LessThan(other) => is(other).is_lt(),
        Test::AtMost(other) => is(other).is_le(),
        Test::GreaterThan(other) => is(other).is_gt(),
        Test::AtLeast(other) => is(other).is_ge(),
        Test::Between((low, high)) => is(low).is_ge() && is(high).is_le(),
        Test::Contains(part) => value.to_lowercase().contains(&part.to_lowercase()),
        Test::OneOf(others) => others.iter().any(|other| is(other).is_eq()),
        Test::IsMissing => false,
        Test::IsPresent => true,
    }
}

/// Sorts the rows; rows that compare equal keep their order.
pub(crate) fn sort(data: &mut Data, orders: &[Order]) -> Result<(), Failure> {
    let mut keys = Vec::with_capacity(orders.len());
    for order in orders {
        keys.push((data.position(&order.column)?, order.direction.unwrap_or(Direction::Ascending)));
    }
    data.rows.sort_by(|one, other| {
        let mut comparisons = keys.iter().map(|&(position, direction)| {
            compare(one[position].as_deref(), other[position].as_deref(), direction)
        });
        comparisons.find(|comparison| comparison.is_ne()).unwrap_or(Ordering::Equal)
    });
    Ok(())
}

fn compare(one: Option<&str>, other: Option<&str>, direction: Direction) -> Ordering {
    match (one, other) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(one), Some(other)) => match direction {
            Direction::Ascending => values::rank(one, other),
            Direction::Descending => values::rank(other, one),
        },
    }
}

/// The named columns, in the order in which they are named.
pub(crate) fn project(data: &Data, columns: &[String]) -> Result<Data, Failure> {
    let positions: Vec<usize> =
        columns.iter().map(|name| data.position(name)).collect::<Result<_, _>>()?;
    let row = |row: &Vec<Cell>| positions.iter().map(|&position| row[position].clone()).collect();
    Ok(Data { columns: columns.to_vec(), rows: data.rows.iter().map(row).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::read;

    const FRUIT: &str = "name,price\napple,2\npear,10\nplum,\nAPPLE pie,9.5\n";

    fn names(data: &Data) -> Vec<&str> {
        data.rows.iter().filter_map(|row| row[0].as_deref()).collect()
    }

    fn kept(column: &str, test: Test) -> Vec<String> {
        let mut data = read(FRUIT, None).unwrap();
        keep(&mut data, &[Condition { column: column.into(), test }]).unwrap();
        names(&data).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn every_test_keeps_what_it_should() {
        let text = |text: &str| text.to_owned();
        assert_eq!(kept("price", Test::Equals(text("2.0"))), ["apple"]);
        assert_eq!(kept("price", Test::DiffersFrom(text("2"))), ["pear", "plum", "APPLE pie"]);
        assert_eq!(kept("price", Test::LessThan(text("10"))), ["apple", "APPLE pie"]);
        assert_eq!(kept("price", Test::AtMost(text("2"))), ["apple"]);
        assert_eq!(kept("price", Test::GreaterThan(text("9"))), ["pear", "APPLE pie"]);
        assert_eq!(kept("price", Test::AtLeast(text("10"))), ["pear"]);
        assert_eq!(kept("price", Test::Between((text("2"), text("9.5")))), ["apple", "APPLE pie"]);
        assert_eq!(kept("name", Test::Contains(text("Apple"))), ["apple", "APPLE pie"]);
        assert_eq!(kept("name", Test::OneOf(vec![text("plum"), text("kiwi")])), ["plum"]);
        assert_eq!(kept("price", Test::IsMissing), ["plum"]);
        assert_eq!(kept("price", Test::IsPresent), ["apple", "pear", "APPLE pie"]);
    }

    #[test]
    fn missing_values_sort_last_either_way() {
        for (direction, expected) in [
            (None, ["apple", "APPLE pie", "pear", "plum"]),
            (Some(Direction::Descending), ["pear", "APPLE pie", "apple", "plum"]),
        ] {
            let mut data = read(FRUIT, None).unwrap();
            sort(&mut data, &[Order { column: "price".into(), direction }]).unwrap();
            assert_eq!(names(&data), expected);
        }
    }

    #[test]
    fn an_unknown_column_names_the_known_ones() {
        let failure = project(&read(FRUIT, None).unwrap(), &["cost".into()]).unwrap_err();
        let Failure::UnknownColumn(unknown) = failure else { panic!("{failure:?}") };
        assert_eq!((unknown.name.as_str(), unknown.known.len()), ("cost", 2));
    }
}
