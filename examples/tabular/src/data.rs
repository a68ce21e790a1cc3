//! Reads and writes tables.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::values::{self, Cell};
use crate::wit::{Failure, Format, UnknownColumn};

/// A table in memory. Every row has a cell for every column.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Data {
    /// The position of a column.
    pub(crate) fn position(&self, name: &str) -> Result<usize, Failure> {
        self.columns.iter().position(|column| column == name).ok_or_else(|| {
            Failure::UnknownColumn(UnknownColumn {
                name: name.to_owned(),
                known: self.columns.clone(),
            })
        })
    }

    /// Adds the rows of another table, whose columns may be in another order.
    pub(crate) fn append(&mut self, more: &Data) -> Result<(), Failure> {
        if let Some(new) = more.columns.iter().find(|name| !self.columns.contains(name)) {
            let name = new.clone();
            return Err(Failure::UnknownColumn(UnknownColumn {
                name,
                known: self.columns.clone(),
            }));
        }
        let places = self.columns.iter().map(|name| more.position(name));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let arranged =
            more.rows.iter().map(|row| places.iter().map(|place| row[*place].clone()).collect());
        self.rows.extend(arranged);
        Ok(())
    }
}

/// Reads a table, recognising the format when it is not told.
pub(crate) fn read(text: &str, format: Option<Format>) -> Result<Data, Failure> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let data = match format.unwrap_or_else(|| recognise(text)) {
        Format::Csv => read_separated(text, separator(text)),
        Format::Tsv => read_separated(text, b'\t'),
        Format::Json => read_json(text),
    }?;
    let mut seen = HashSet::new();
    match data.columns.iter().find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(Failure::Malformed(format!("two columns are named {name:?}"))),
        None => Ok(data),
    }
}

fn recognise(text: &str) -> Format {
    let first_line = text.lines().next().unwrap_or_default();
    match text.trim_start().chars().next() {
        Some('[' | '{') => Format::Json,
        _ if first_line.contains('\t') && !first_line.contains([',', ';']) => Format::Tsv,
        _ => Format::Csv,
    }
}

/// Where a comma is the decimal sign, spreadsheets separate with semicolons.
fn separator(text: &str) -> u8 {
    let first_line = text.lines().next().unwrap_or_default();
    let occurrences = |separator| first_line.matches(separator).count();
    if occurrences(';') > occurrences(',') { b';' } else { b',' }
}

fn read_separated(text: &str, separator: u8) -> Result<Data, Failure> {
    let malformed = |error: csv::Error| Failure::Malformed(error.to_string());
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let columns: Vec<String> =
        reader.headers().map_err(malformed)?.iter().map(str::to_owned).collect();
    if columns.is_empty() {
        return Err(Failure::Malformed("there is no header line".to_owned()));
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(malformed)?;
        rows.push(record.iter().map(|cell| (!cell.is_empty()).then(|| cell.to_owned())).collect());
    }
    Ok(Data { columns, rows })
}

fn read_json(text: &str) -> Result<Data, Failure> {
    let malformed = |error: serde_json::Error| Failure::Malformed(error.to_string());
    let is_array = text.trim_start().starts_with('[');
    let objects: Vec<Map<String, Value>> = if is_array {
        serde_json::from_str(text).map_err(malformed)?
    } else {
        let lines = serde_json::Deserializer::from_str(text).into_iter();
        lines.collect::<Result<_, _>>().map_err(malformed)?
    };
    let mut columns = Map::new();
    for key in objects.iter().flat_map(Map::keys) {
        columns.entry(key).or_insert(Value::Null);
    }
    let columns: Vec<String> = columns.into_iter().map(|(name, _)| name).collect();
    let rows = objects
        .into_iter()
        .map(|mut object| columns.iter().map(|name| object.remove(name).and_then(cell)).collect())
        .collect();
    Ok(Data { columns, rows })
}

/// Nested values stay JSON text.
fn cell(value: Value) -> Cell {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

/// Writes a table.
pub(crate) fn write(data: &Data, format: Format) -> Result<String, Failure> {
    match format {
        Format::Csv => write_separated(data, b','),
        Format::Tsv => write_separated(data, b'\t'),
        Format::Json => Ok(write_json(data)),
    }
}

fn write_separated(data: &Data, separator: u8) -> Result<String, Failure> {
    let mut writer = csv::WriterBuilder::new().delimiter(separator).from_writer(Vec::new());
    let failed = |error: String| Failure::Invalid(format!("the table cannot be written: {error}"));
    writer.write_record(&data.columns).map_err(|error| failed(error.to_string()))?;
    for row in &data.rows {
        let cells = row.iter().map(|cell| cell.as_deref().unwrap_or_default());
        writer.write_record(cells).map_err(|error| failed(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

fn write_json(data: &Data) -> String {
    let rows = data.rows.iter().map(|row| {
        let cells = data.columns.iter().cloned().zip(row.iter().map(json_cell));
        Value::Object(cells.collect())
    });
    Value::Array(rows.collect()).to_string()
}

/// A number only when JSON writes it as the table did: `007` and `1e400` are better off as text.
fn json_cell(cell: &Cell) -> Value {
    let Some(value) = cell else {
        return Value::Null;
    };
    if let Some(truth) = values::truth(value) {
        return Value::Bool(truth);
    }
    match serde_json::from_str(value) {
        Ok(Value::Number(number)) if values::number(value).is_some() => Value::Number(number),
        _ => Value::String(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(row: &[Option<&str>]) -> Vec<Cell> {
        row.iter().map(|cell| cell.map(str::to_owned)).collect()
    }

    #[test]
    fn every_format_reads_the_same_table() {
        for text in [
            "a,b\n1,x\n2,\n",
            "\u{feff}a;b\n1;x\n2;\n",
            "a\tb\n1\tx\n2\t\n",
            r#"[{"a":1,"b":"x"},{"a":2}]"#,
            "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":null}\n",
        ] {
            let data = read(text, None).unwrap();
            assert_eq!(data.columns, ["a", "b"], "{text}");
            assert_eq!(
                data.rows,
                [cells(&[Some("1"), Some("x")]), cells(&[Some("2"), None])],
                "{text}"
            );
        }
    }

    #[test]
    fn quotes_hold_separators_and_lines() {
        let data = read("a,b\n\"x, y\",\"line\nbreak\"\n", None).unwrap();
        assert_eq!(data.rows, [cells(&[Some("x, y"), Some("line\nbreak")])]);
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for text in ["", "a,a\n1,2\n", "a,b\n1\n", "[1, 2]", "[{\"a\": 1}", "{\"a\": 1} 2"] {
            assert!(matches!(read(text, None), Err(Failure::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn json_keeps_the_kinds() {
        let data = read("n,t,s,z,e\n1.5,true,x,007,\n", None).unwrap();
        assert_eq!(
            write(&data, Format::Json).unwrap(),
            r#"[{"n":1.5,"t":true,"s":"x","z":"007","e":null}]"#
        );
    }

    #[test]
    fn csv_round_trips() {
        let text = "a,b\n\"x, y\",\n";
        assert_eq!(write(&read(text, None).unwrap(), Format::Csv).unwrap(), text);
    }

    #[test]
    fn a_table_grows_by_one_with_the_same_columns() {
        let mut data = read("a,b\n1,2\n", None).unwrap();
        data.append(&read("b,a\n4,3\n", None).unwrap()).unwrap();
        let cell = |text: &str| Some(text.to_owned());
        assert_eq!(data.rows, [[cell("1"), cell("2")], [cell("3"), cell("4")]]);
        for other in ["a\n5\n", "a,b,c\n5,6,7\n"] {
            let refused = data.append(&read(other, None).unwrap());
            assert!(matches!(refused, Err(Failure::UnknownColumn(_))), "{other}");
        }
        assert_eq!(data.rows.len(), 2, "nothing was added");
    }
}
