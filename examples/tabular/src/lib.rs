//! An agent that answers questions about tables. The modules speak the types of the interface, so this
//! file only strings them together.

mod data;
mod description;
mod grouping;
mod selection;
mod values;

wit_bindgen::generate!({ path: "wit/tabular.wit", additional_derives: [PartialEq] });
aop_agent::embed_wit!("wit/tabular.wit");

use std::cell::RefCell;

use exports::examples::tabular::tables as wit;

/// Rows that `query` gives back when it is not told. More than a reader wants, less than floods a model.
const ROWS_DEFAULT: u32 = 100;

struct Tabular;

/// A table that is kept. A call has it for itself.
struct Dataset(RefCell<data::Data>);

impl wit::GuestDataset for Dataset {
    fn open(text: String, format: Option<wit::Format>) -> Result<wit::Dataset, wit::Failure> {
        Ok(wit::Dataset::new(Self(RefCell::new(data::read(&text, format)?))))
    }

    fn append(&self, text: String, format: Option<wit::Format>) -> Result<u32, wit::Failure> {
        let mut kept = self.0.borrow_mut();
        kept.append(&data::read(&text, format)?)?;
        Ok(count(kept.rows.len()))
    }

    fn describe(&self) -> wit::Description {
        description::describe(&self.0.borrow())
    }

    fn query(&self, selection: wit::Selection) -> Result<wit::Table, wit::Failure> {
        select(self.0.borrow().clone(), selection)
    }

    fn aggregate_rows(
        &self,
        group_by: Vec<String>,
        aggregates: Vec<wit::Aggregate>,
        conditions: Option<Vec<wit::Condition>>,
    ) -> Result<wit::Table, wit::Failure> {
        group(self.0.borrow().clone(), &group_by, &aggregates, conditions)
    }
}

impl wit::Guest for Tabular {
    type Dataset = Dataset;

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
        select(data::read(&text, format)?, selection)
    }

    fn aggregate_rows(
        text: String,
        group_by: Vec<String>,
        aggregates: Vec<wit::Aggregate>,
        conditions: Option<Vec<wit::Condition>>,
        format: Option<wit::Format>,
    ) -> Result<wit::Table, wit::Failure> {
        group(data::read(&text, format)?, &group_by, &aggregates, conditions)
    }

    fn convert(
        text: String,
        target_format: wit::Format,
        source_format: Option<wit::Format>,
    ) -> Result<String, wit::Failure> {
        data::write(&data::read(&text, source_format)?, target_format)
    }
}

/// The rows and columns of a table that were asked for.
fn select(mut data: data::Data, selection: wit::Selection) -> Result<wit::Table, wit::Failure> {
    selection::keep(&mut data, &selection.conditions.unwrap_or_default())?;
    selection::sort(&mut data, &selection.order_by.unwrap_or_default())?;
    let total_rows = count(data.rows.len());
    data.rows.truncate(selection.limit.unwrap_or(ROWS_DEFAULT) as usize);
    if let Some(columns) = selection.columns {
        data = selection::project(&data, &columns)?;
    }
    Ok(wit::Table { columns: data.columns, rows: data.rows, total_rows })
}

/// What is computed of each group of rows.
fn group(
    mut data: data::Data,
    group_by: &[String],
    aggregates: &[wit::Aggregate],
    conditions: Option<Vec<wit::Condition>>,
) -> Result<wit::Table, wit::Failure> {
    selection::keep(&mut data, &conditions.unwrap_or_default())?;
    let groups = grouping::aggregate(&data, group_by, aggregates)?;
    let total_rows = count(groups.rows.len());
    Ok(wit::Table { columns: groups.columns, rows: groups.rows, total_rows })
}

/// A wasm32 guest cannot hold more than 2^32 of anything.
fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

export!(Tabular);
