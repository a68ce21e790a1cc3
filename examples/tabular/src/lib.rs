//! An agent that answers questions about tables. The modules speak the types of the interface, so this
//! file only strings them together.

mod data;
mod description;
mod grouping;
mod selection;
mod values;

wit_bindgen::generate!({ path: "wit/tabular.wit", additional_derives: [PartialEq] });
aop_agent::embed_wit!("wit/tabular.wit");

use exports::examples::tabular::tables as wit;

/// Rows that `query` gives back when it is not told. More than a reader wants, less than floods a model.
const ROWS_DEFAULT: u32 = 100;

struct Tabular;

impl wit::Guest for Tabular {
    fn describe(
        text: String,
        format: Option<wit::Format>,
    ) -> Result<wit::Description, wit::Failure> {
        Ok(description::describe(&data::read(&text, format)?))
    }

    fn query(
        text: String,
        selection: wit::Selection,
        format: Option<wit::Format>,
    ) -> Result<wit::Table, wit::Failure> {
        let mut data = data::read(&text, format)?;
        selection::keep(&mut data, &selection.conditions.unwrap_or_default())?;
        selection::sort(&mut data, &selection.order_by.unwrap_or_default())?;
        let total_rows = count(data.rows.len());
        data.rows.truncate(selection.limit.unwrap_or(ROWS_DEFAULT) as usize);
        if let Some(columns) = selection.columns {
            data = selection::project(&data, &columns)?;
        }
        Ok(wit::Table { columns: data.columns, rows: data.rows, total_rows })
    }

    fn aggregate_rows(
        text: String,
        group_by: Vec<String>,
        aggregates: Vec<wit::Aggregate>,
        conditions: Option<Vec<wit::Condition>>,
        format: Option<wit::Format>,
    ) -> Result<wit::Table, wit::Failure> {
        let mut data = data::read(&text, format)?;
        selection::keep(&mut data, &conditions.unwrap_or_default())?;
        let groups = grouping::aggregate(&data, &group_by, &aggregates)?;
        Ok(wit::Table {
            total_rows: count(groups.rows.len()),
            columns: groups.columns,
            rows: groups.rows,
        })
    }

    fn convert(
        text: String,
        target_format: wit::Format,
        source_format: Option<wit::Format>,
    ) -> Result<String, wit::Failure> {
        data::write(&data::read(&text, source_format)?, target_format)
    }
}

/// A wasm32 guest cannot hold more than 2^32 of anything.
fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

export!(Tabular);
