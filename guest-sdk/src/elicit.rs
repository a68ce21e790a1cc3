//! Asks the person behind the client.
//!
//! The call waits for the answer under its own deadline, so an agent that asks needs a `timeout` that fits a
//! person. Never ask for passwords or keys in a form: send the person to a page.
//!
//! ```
//! # #[cfg(not(target_family = "wasm"))] {
//! use aop_agent::elicit::{Answer, AskError, ChoiceField, Field, Form, NumberField};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Booking {
//!     people: u32,
//!     table: Option<String>,
//! }
//!
//! fn book() -> Result<String, AskError> {
//!     let people = NumberField { minimum: Some(1.0), ..NumberField::integer() };
//!     let form = Form::new("A table for how many?")
//!         .field(Field::new("people", people).title("People").required())
//!         .field(Field::new("table", ChoiceField::of(["inside", "outside"]).initial(["inside"])));
//!     Ok(match form.ask::<Booking>()? {
//!         Answer::Accepted(booking) => {
//!             format!("{} people, {}", booking.people, booking.table.unwrap_or_default())
//!         }
//!         Answer::Declined | Answer::Dismissed => "no table".to_owned(),
//!     })
//! }
//!
//! # use serde_json::json;
//! # let host = aop_agent::testing::Script::new()
//! #     .answers(Answer::Accepted(json!({ "people": 4, "table": "outside" })))
//! #     .answers(Answer::Declined);
//! # host.run(|| {
//! #     assert_eq!(book().unwrap(), "4 people, outside");
//! #     assert_eq!(book().unwrap(), "no table");
//! # });
//! # }
//! ```

use std::fmt;

use serde::de::DeserializeOwned;

use crate::bindings::aop::agent as wit;
pub use crate::bindings::aop::agent::elicit::{
    Choice, ChoiceField, Field, FieldKind, NumberField, TextField, TextFormat,
};
use crate::host::{RawAnswer, with};

/// What the person did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// Filled in the form, or agreed to go to the page.
    Accepted(T),
    /// Said no.
    Declined,
    /// Closed the question.
    Dismissed,
}

/// Why the person could not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskError {
    /// The client cannot ask, or does not offer this kind of question.
    Unsupported(String),
    /// The question breaks a rule of MCP.
    Invalid(String),
    /// The client went wrong, or its answer is not what was expected.
    Failed(String),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(why) | Self::Invalid(why) | Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for AskError {}

/// A question with fields to fill in.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    message: String,
    fields: Vec<Field>,
}

impl Form {
    /// A question without fields.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), fields: Vec::new() }
    }

    /// One more field.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    /// Asks, and waits for the answer. The host has checked it against the form.
    ///
    /// # Errors
    /// [`AskError`]; also when what was filled in is not a `T`.
    pub fn ask<T: DeserializeOwned>(&self) -> Result<Answer<T>, AskError> {
        read(with(|host| host.form(&self.message, &self.fields))?)
    }

    /// The form as one of several questions.
    pub(crate) fn raw(&self) -> wit::client::Form {
        let Self { message, fields } = self.clone();
        wit::client::Form { key: None, message, fields }
    }
}

/// Reads what was filled in.
pub(crate) fn read<T: DeserializeOwned>(answer: RawAnswer) -> Result<Answer<T>, AskError> {
    Ok(match answer {
        RawAnswer::Accepted(text) => {
            let filled_in =
                serde_json::from_str(&text).map_err(|error| AskError::Failed(error.to_string()))?;
            Answer::Accepted(filled_in)
        }
        RawAnswer::Declined => Answer::Declined,
        RawAnswer::Dismissed => Answer::Dismissed,
    })
}

/// Sends the person to a page. Acceptance says that they agreed to go there, not that they are done.
///
/// # Errors
/// [`AskError`].
pub fn visit(message: &str, url: &str) -> Result<Answer<()>, AskError> {
    Ok(match with(|host| host.visit(message, url))? {
        RawAnswer::Accepted(_) => Answer::Accepted(()),
        RawAnswer::Declined => Answer::Declined,
        RawAnswer::Dismissed => Answer::Dismissed,
    })
}

impl Field {
    /// A field that may be left empty.
    pub fn new(name: impl Into<String>, kind: impl Into<FieldKind>) -> Self {
        let (name, kind) = (name.into(), kind.into());
        Self { name, title: None, description: None, required: false, kind }
    }

    /// A field for any text.
    pub fn text(name: impl Into<String>) -> Self {
        Self::new(name, TextField::any())
    }

    /// A field for yes or no.
    pub fn yes_no(name: impl Into<String>, initial: impl Into<Option<bool>>) -> Self {
        Self::new(name, FieldKind::YesNo(initial.into()))
    }

    /// Its name for the person.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// What to fill in.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// It must be filled in.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

impl TextField {
    /// Any text.
    #[must_use]
    pub fn any() -> Self {
        Self { format: None, min_length: None, max_length: None, initial: None }
    }

    /// Text of a form of its own.
    #[must_use]
    pub fn formatted(format: TextFormat) -> Self {
        Self { format: Some(format), ..Self::any() }
    }

    /// What is filled in already.
    #[must_use]
    pub fn initial(mut self, text: impl Into<String>) -> Self {
        self.initial = Some(text.into());
        self
    }
}

impl NumberField {
    /// Any number.
    #[must_use]
    pub fn any() -> Self {
        Self { integer: false, minimum: None, maximum: None, initial: None }
    }

    /// A whole number.
    #[must_use]
    pub fn integer() -> Self {
        Self { integer: true, ..Self::any() }
    }

    /// What is filled in already.
    #[must_use]
    pub fn initial(mut self, number: f64) -> Self {
        self.initial = Some(number);
        self
    }
}

impl ChoiceField {
    /// One of some values.
    pub fn of<V: Into<String>>(values: impl IntoIterator<Item = V>) -> Self {
        let choice = |value: V| Choice { value: value.into(), title: None };
        Self {
            choices: values.into_iter().map(choice).collect(),
            multiple: false,
            initial: Vec::new(),
        }
    }

    /// One of some values, of which the person sees the titles.
    pub fn titled<V: Into<String>, T: Into<String>>(
        choices: impl IntoIterator<Item = (V, T)>,
    ) -> Self {
        let choice =
            |(value, title): (V, T)| Choice { value: value.into(), title: Some(title.into()) };
        let choices = choices.into_iter().map(choice).collect();
        Self { choices, multiple: false, initial: Vec::new() }
    }

    /// Several of them.
    #[must_use]
    pub fn multiple(mut self) -> Self {
        self.multiple = true;
        self
    }

    /// What is chosen already.
    #[must_use]
    pub fn initial<V: Into<String>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.initial = values.into_iter().map(Into::into).collect();
        self
    }
}

impl From<TextField> for FieldKind {
    fn from(field: TextField) -> Self {
        Self::Text(field)
    }
}

impl From<NumberField> for FieldKind {
    fn from(field: NumberField) -> Self {
        Self::Number(field)
    }
}

impl From<ChoiceField> for FieldKind {
    fn from(field: ChoiceField) -> Self {
        Self::Choice(field)
    }
}
