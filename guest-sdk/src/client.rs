//! Asks the client that waits for the call for several things at one time, and for its roots.
//!
//! Clients of 2026-07-28 get everything that is open at one time in one round, and the person everything that
//! has to be filled in.
//!
//! ```
//! # #[cfg(not(target_family = "wasm"))] {
//! use aop_agent::client::{self, Question, Reply};
//! use aop_agent::elicit::{Answer, Field, Form};
//! use aop_agent::model::Request;
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Person {
//!     name: String,
//! }
//!
//! fn greet() -> Option<String> {
//!     let name = Form::new("What is your name?").field(Field::text("name").required());
//!     let greeting = Request::new().user("Say hello in one word.").max_tokens(10);
//!     let [name, greeting] =
//!         client::ask_many([Question::form("who", &name), Question::from(greeting)]);
//!     let Answer::Accepted(Person { name }) = name.ok()?.filled_in().ok()? else { return None };
//!     let Reply::Completion(greeting) = greeting.ok()? else { return None };
//!     Some(format!("{} {name}", greeting.text()))
//! }
//!
//! # use serde_json::json;
//! # let host = aop_agent::testing::Script::new()
//! #     .answers(Answer::Accepted(json!({ "name": "Ada" })))
//! #     .says("Salut");
//! # let (said, _) = host.run(greet);
//! # assert_eq!(said.unwrap(), "Salut Ada");
//! # }
//! ```

use serde::de::DeserializeOwned;

use crate::bindings::aop::agent::client::Form as RawForm;
pub use crate::bindings::aop::agent::client::{Page, Question, Reply, Root};
use crate::elicit::{Answer, AskError, Form, read};
use crate::host::with;
use crate::model::Request;

/// Asks several questions at one time and waits for all: at most 16. Each has a result of its own.
///
/// # Panics
/// When the host answers another number of questions, which none does.
pub fn ask_many<const N: usize>(questions: [Question; N]) -> [Result<Reply, AskError>; N] {
    let replies = ask_all(&questions);
    replies.try_into().unwrap_or_else(|_| panic!("the host answered another number of questions"))
}

/// The same for questions whose number is not known beforehand.
#[must_use]
pub fn ask_all(questions: &[Question]) -> Vec<Result<Reply, AskError>> {
    with(|host| host.ask_many(questions))
}

/// The places on the client's machine that it lets servers work on. They mean something there only, and MCP
/// deprecates them.
///
/// # Errors
/// [`AskError`].
pub fn roots() -> Result<Vec<Root>, AskError> {
    with(|host| host.roots())
}

impl Question {
    /// A form under a name of its own: letters, digits, `_` and `-`.
    pub fn form(key: impl Into<String>, form: &Form) -> Self {
        Self::Form(RawForm { key: Some(key.into()), ..form.raw() })
    }

    /// A page under a name of its own.
    pub fn page(
        key: impl Into<String>,
        message: impl Into<String>,
        url: impl Into<String>,
    ) -> Self {
        Self::Page(Page { key: Some(key.into()), message: message.into(), url: url.into() })
    }
}

impl From<&Form> for Question {
    fn from(form: &Form) -> Self {
        Self::Form(form.raw())
    }
}

impl From<Request> for Question {
    fn from(request: Request) -> Self {
        Self::Completion(request)
    }
}

impl Reply {
    /// What the person filled in.
    ///
    /// # Errors
    /// [`AskError::Failed`] when it is not a `T`, or the question was none for a person.
    pub fn filled_in<T: DeserializeOwned>(self) -> Result<Answer<T>, AskError> {
        match self {
            Self::Answer(answer) => read(answer),
            Self::Completion(_) | Self::Roots(_) => {
                Err(AskError::Failed("the question was not for a person".to_owned()))
            }
        }
    }
}
