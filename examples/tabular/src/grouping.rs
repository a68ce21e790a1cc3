//! Groups rows and computes one value per group and aggregate.

use std::collections::HashMap;

use crate::data::Data;
use crate::values::{self, Cell};
use crate::wit::{Aggregate, Calculation, Failure};

/// One row per group, in the order in which the groups first occur. Without `group_by` there is exactly
/// one group, even of an empty table.
pub(crate) fn aggregate(
    data: &Data,
    group_by: &[String],
    aggregates: &[Aggregate],
) -> Result<Data, Failure> {
    if aggregates.is_empty() && group_by.is_empty() {
        return Err(Failure::Invalid(
            "name a column to group by or something to compute".to_owned(),
        ));
    }
    let keys: Vec<usize> =
        group_by.iter().map(|name| data.position(name)).collect::<Result<_, _>>()?;
    let positions: Vec<Option<usize>> =
        aggregates.iter().map(|aggregate| position(data, aggregate)).collect::<Result<_, _>>()?;
    let mut columns = group_by.to_vec();
    columns.extend(aggregates.iter().map(name));

    let mut rows = Vec::new();
    for (key, members) in groups(data, &keys) {
        let mut row: Vec<Cell> = key.into_iter().cloned().collect();
        for (aggregate, &position) in aggregates.iter().zip(&positions) {
            row.push(compute(data, &members, aggregate.calculation, position)?);
        }
        rows.push(row);
    }
    Ok(Data { columns, rows })
}

fn groups<'a>(data: &'a Data, keys: &[usize]) -> Vec<(Vec<&'a Cell>, Vec<usize>)> {
    let mut groups: Vec<(Vec<&Cell>, Vec<usize>)> = Vec::new();
    if keys.is_empty() {
        return vec![(Vec::new(), (0..data.rows.len()).collect())];
    }
    let mut positions: HashMap<Vec<&Cell>, usize> = HashMap::new();
    for (index, row) in data.rows.iter().enumerate() {
        let key: Vec<&Cell> = keys.iter().map(|&position| &row[position]).collect();
        let position = *positions.entry(key.clone()).or_insert_with(|| {
            groups.push((key, Vec::new()));
            groups.len() - 1
        });
        groups[position].1.push(index);
    }
    groups
}

fn position(data: &Data, aggregate: &Aggregate) -> Result<Option<usize>, Failure> {
    match &aggregate.column {
        Some(column) => data.position(column).map(Some),
        None if aggregate.calculation == Calculation::Count => Ok(None),
        None => Err(Failure::Invalid(format!("{} needs a column", word(aggregate.calculation)))),
    }
}

fn word(calculation: Calculation) -> &'static str {
    match calculation {
        Calculation::Count => "count",
        Calculation::CountDistinct => "count-distinct",
        Calculation::Sum => "sum",
        Calculation::Mean => "mean",
        Calculation::Median => "median",
        Calculation::Minimum => "minimum",
        Calculation::Maximum => "maximum",
    }
}

fn name(aggregate: &Aggregate) -> String {
    let word = word(aggregate.calculation);
    match (&aggregate.name, &aggregate.column) {
        (Some(name), _) => name.clone(),
        (None, Some(column)) => format!("{word} of {column}"),
        (None, None) => word.to_owned(),
    }
}

fn compute(
    data: &Data,
    members: &[usize],
    calculation: Calculation,
    position: Option<usize>,
) -> Result<Cell, Failure> {
    let Some(position) = position else {
        return Ok(Some(members.len().to_string()));
    };
    let mut values: Vec<&str> =
        members.iter().filter_map(|&index| data.rows[index][position].as_deref()).collect();
    let numbers = || {
        let numbers: Option<Vec<f64>> = values.iter().map(|value| values::number(value)).collect();
        numbers.ok_or_else(|| Failure::NotANumber(data.columns[position].clone()))
    };
    let text = |number: f64| number.to_string();
    Ok(match calculation {
        Calculation::Count => Some(values.len().to_string()),
        Calculation::CountDistinct => {
            values.sort_unstable();
            values.dedup();
            Some(values.len().to_string())
        }
        Calculation::Sum => Some(text(numbers()?.iter().fold(0.0, |sum, number| sum + number))),
        Calculation::Mean => values::mean(&numbers()?).map(text),
        Calculation::Median => values::median(&numbers()?).map(text),
        Calculation::Minimum => {
            values.into_iter().min_by(|one, other| values::rank(one, other)).map(str::to_owned)
        }
        Calculation::Maximum => {
            values.into_iter().max_by(|one, other| values::rank(one, other)).map(str::to_owned)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{read, write};
    use crate::wit::Format;

    const SALES: &str =
        "region,amount,buyer\nnorth,10,ann\nsouth,5,bob\nnorth,2.5,ann\nsouth,,cy\n";

    fn of(calculation: Calculation, column: Option<&str>) -> Aggregate {
        Aggregate { calculation, column: column.map(str::to_owned), name: None }
    }

    fn aggregated(group_by: &[&str], aggregates: &[Aggregate]) -> Result<String, Failure> {
        let group_by: Vec<String> = group_by.iter().map(|&name| name.to_owned()).collect();
        write(&aggregate(&read(SALES, None)?, &group_by, aggregates)?, Format::Csv)
    }

    #[test]
    fn every_calculation() {
        let aggregates = [
            of(Calculation::Count, None),
            of(Calculation::Count, Some("amount")),
            of(Calculation::CountDistinct, Some("buyer")),
            of(Calculation::Sum, Some("amount")),
            of(Calculation::Mean, Some("amount")),
            of(Calculation::Median, Some("amount")),
            of(Calculation::Minimum, Some("amount")),
            Aggregate { name: Some("best".into()), ..of(Calculation::Maximum, Some("amount")) },
        ];
        assert_eq!(
            aggregated(&["region"], &aggregates).unwrap(),
            "region,count,count of amount,count-distinct of buyer,sum of amount,mean of amount,\
             median of amount,minimum of amount,best\n\
             north,2,2,1,12.5,6.25,6.25,2.5,10\nsouth,2,1,2,5,5,5,5,5\n"
        );
    }

    #[test]
    fn the_whole_table_is_a_group_and_so_is_an_empty_one() {
        let aggregates = [of(Calculation::Sum, Some("amount"))];
        assert_eq!(aggregated(&[], &aggregates).unwrap(), "sum of amount\n17.5\n");
        let empty = aggregate(&read("amount\n", None).unwrap(), &[], &aggregates).unwrap();
        assert_eq!(empty.rows, [[Some("0".to_owned())]]);
    }

    #[test]
    fn questions_that_make_no_sense_are_refused() {
        assert_eq!(
            aggregated(&[], &[of(Calculation::Sum, Some("buyer"))]),
            Err(Failure::NotANumber("buyer".into()))
        );
        assert!(matches!(aggregated(&[], &[of(Calculation::Sum, None)]), Err(Failure::Invalid(_))));
        assert!(matches!(aggregated(&[], &[]), Err(Failure::Invalid(_))));
    }
}
