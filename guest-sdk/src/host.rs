//! Where the wrappers meet the host: the imports of a component, or what a test put in their place.

use crate::bindings::aop::agent as wit;
use crate::client::{Question, Reply, Root};
use crate::elicit::{AskError, Field};
use crate::log::Level;
use crate::model::{Binding, Completion, Event, ModelError, Request};
use crate::state::StateError;
use crate::tools::{Definition, Failure, Invocation, Summary};

/// What the person did, with the answer still as JSON text.
pub type RawAnswer = wit::elicit::Answer;

/// A completion that is read while it is written.
pub type Events = Box<dyn Iterator<Item = Result<Event, ModelError>>>;

/// Everything an agent can ask its host for. A component has one host; a test sets up its own with
/// [`testing`](crate::testing), most easily a [`testing::Script`](crate::testing::Script).
///
/// Whatever an implementation leaves out is refused, as a host refuses what its operator did not grant.
pub trait Host {
    /// See [`tools::discover`](crate::tools::discover).
    ///
    /// # Errors
    /// [`Failure`].
    fn discover(&self, query: &str, limit: Option<u32>) -> Result<Vec<Summary>, Failure> {
        let _ = (query, limit);
        Ok(Vec::new())
    }

    /// See [`tools::describe`](crate::tools::describe).
    ///
    /// # Errors
    /// [`Failure`].
    fn describe(&self, tool: &str) -> Result<Definition, Failure> {
        Err(Failure::new("not_found", format!("no tool `{tool}`")))
    }

    /// Calls one tool; the answer is JSON text.
    ///
    /// # Errors
    /// [`Failure`].
    fn call(&self, invocation: &Invocation) -> Result<String, Failure> {
        Err(Failure::new("not_found", format!("no tool `{}`", invocation.tool)))
    }

    /// Calls many tools, each with an answer of its own in the order of the calls.
    fn call_many(&self, invocations: &[Invocation]) -> Vec<Result<String, Failure>> {
        invocations.iter().map(|invocation| self.call(invocation)).collect()
    }

    /// See [`model::bound`](crate::model::bound).
    fn bound(&self) -> Option<Binding> {
        None
    }

    /// See [`Request::complete`].
    ///
    /// # Errors
    /// [`ModelError`].
    fn complete(&self, request: &Request) -> Result<Completion, ModelError> {
        let _ = request;
        Err(ModelError::Denied("no model is bound to the agent".to_owned()))
    }

    /// See [`Request::stream`]. Without an implementation, the whole completion comes at once.
    ///
    /// # Errors
    /// [`ModelError`].
    fn stream(&self, request: &Request) -> Result<Events, ModelError> {
        let completion = self.complete(request)?;
        let text = completion.text();
        let text = (!text.is_empty()).then_some(Ok(Event::Text(text)));
        Ok(Box::new(text.into_iter().chain([Ok(Event::Done(completion))])))
    }

    /// See [`progress::report`](crate::progress::report).
    ///
    /// # Errors
    /// The rule that the report breaks.
    fn report(
        &self,
        progress: f64,
        total: Option<f64>,
        message: Option<&str>,
    ) -> Result<(), String> {
        let _ = (progress, total, message);
        Ok(())
    }

    /// See [`elicit::Form`](crate::elicit::Form).
    ///
    /// # Errors
    /// [`AskError`].
    fn form(&self, message: &str, fields: &[Field]) -> Result<RawAnswer, AskError> {
        let _ = (message, fields);
        Err(AskError::Unsupported("nobody can be asked".to_owned()))
    }

    /// See [`elicit::visit`](crate::elicit::visit).
    ///
    /// # Errors
    /// [`AskError`].
    fn visit(&self, message: &str, url: &str) -> Result<RawAnswer, AskError> {
        let _ = (message, url);
        Err(AskError::Unsupported("nobody can be asked".to_owned()))
    }

    /// See [`client::ask_many`](crate::client::ask_many). Without an implementation, one is asked after the other.
    fn ask_many(&self, questions: &[Question]) -> Vec<Result<Reply, AskError>> {
        let ask = |question: &Question| match question {
            Question::Form(form) => self.form(&form.message, &form.fields).map(Reply::Answer),
            Question::Page(page) => self.visit(&page.message, &page.url).map(Reply::Answer),
            Question::Completion(request) => self
                .complete(request)
                .map(Reply::Completion)
                .map_err(|error| AskError::Failed(error.to_string())),
            Question::Roots => self.roots().map(Reply::Roots),
        };
        questions.iter().map(ask).collect()
    }

    /// See [`client::roots`](crate::client::roots).
    ///
    /// # Errors
    /// [`AskError`].
    fn roots(&self) -> Result<Vec<Root>, AskError> {
        Err(AskError::Unsupported("the client has no roots".to_owned()))
    }

    /// See [`changes::resource_updated`](crate::changes::resource_updated).
    ///
    /// # Errors
    /// The URI is not the agent's own.
    fn resource_updated(&self, uri: &str) -> Result<(), String> {
        let _ = uri;
        Ok(())
    }

    /// See [`changes::resources_changed`](crate::changes::resources_changed).
    fn resources_changed(&self) {}

    /// See [`changes::prompts_changed`](crate::changes::prompts_changed).
    fn prompts_changed(&self) {}

    /// See [`log`](crate::log).
    fn log(&self, level: Level, context: &str, message: &str) {
        let _ = (level, context, message);
    }

    /// See [`config::get`](crate::config::get).
    ///
    /// # Errors
    /// The host could not read it.
    fn config(&self, key: &str) -> Result<Option<String>, String> {
        let _ = key;
        Ok(None)
    }

    /// See [`state`](crate::state).
    ///
    /// # Errors
    /// [`StateError`].
    fn open(&self, bucket: &str) -> Result<Box<dyn Store>, StateError> {
        let _ = bucket;
        Err(StateError::Denied)
    }
}

/// An opened bucket of what an agent remembers: [`state::Bucket`](crate::state::Bucket) without the types.
pub trait Store {
    /// The value of a key.
    ///
    /// # Errors
    /// [`StateError`].
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StateError>;

    /// Sets a key.
    ///
    /// # Errors
    /// [`StateError`].
    fn set(&self, key: &str, value: &[u8]) -> Result<(), StateError>;

    /// Removes a key.
    ///
    /// # Errors
    /// [`StateError`].
    fn delete(&self, key: &str) -> Result<(), StateError>;

    /// A page of keys and where the next one begins.
    ///
    /// # Errors
    /// [`StateError`].
    fn keys(&self, cursor: Option<u64>) -> Result<(Vec<String>, Option<u64>), StateError>;

    /// Adds to a number.
    ///
    /// # Errors
    /// [`StateError`].
    fn increment(&self, key: &str, delta: u64) -> Result<u64, StateError>;
}

/// Uses the host that there is.
#[cfg(target_family = "wasm")]
pub(crate) fn with<T>(use_host: impl FnOnce(&dyn Host) -> T) -> T {
    use_host(&component::Imports)
}

#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::testing::with;

#[cfg(target_family = "wasm")]
mod component {
    //! The host of a component.

    use std::time::Duration;

    use super::wit;
    use super::{AskError, Binding, Completion, Definition, Event, Events, Failure, Field, Host};
    use super::{Invocation, Level, ModelError, Question, RawAnswer, Reply, Request, Root};
    use super::{StateError, Store, Summary};
    use crate::bindings::wasi;

    pub(super) struct Imports;

    impl Host for Imports {
        fn discover(&self, query: &str, limit: Option<u32>) -> Result<Vec<Summary>, Failure> {
            wit::tools::discover(query, limit).map_err(failure)
        }

        fn describe(&self, tool: &str) -> Result<Definition, Failure> {
            wit::tools::describe(tool).map_err(failure)
        }

        fn call(&self, invocation: &Invocation) -> Result<String, Failure> {
            wit::tools::call(invocation).map_err(failure)
        }

        fn call_many(&self, invocations: &[Invocation]) -> Vec<Result<String, Failure>> {
            let results = wit::tools::call_many(invocations);
            results.into_iter().map(|result| result.map_err(failure)).collect()
        }

        fn bound(&self) -> Option<Binding> {
            wit::model::bound()
        }

        fn complete(&self, request: &Request) -> Result<Completion, ModelError> {
            wit::model::complete(request).map_err(model_error)
        }

        fn stream(&self, request: &Request) -> Result<Events, ModelError> {
            let stream = wit::model::complete_streaming(request).map_err(model_error)?;
            let mut is_over = false;
            Ok(Box::new(std::iter::from_fn(move || {
                if is_over {
                    return None;
                }
                let event = stream.next().map_err(model_error).transpose();
                is_over = !matches!(event, Some(Ok(Event::Text(_))));
                event
            })))
        }

        fn report(
            &self,
            progress: f64,
            total: Option<f64>,
            message: Option<&str>,
        ) -> Result<(), String> {
            wit::progress::report(progress, total, message)
        }

        fn form(&self, message: &str, fields: &[Field]) -> Result<RawAnswer, AskError> {
            wit::elicit::form(message, fields).map_err(ask_error)
        }

        fn visit(&self, message: &str, url: &str) -> Result<RawAnswer, AskError> {
            wit::elicit::url(message, url).map_err(ask_error)
        }

        fn ask_many(&self, questions: &[Question]) -> Vec<Result<Reply, AskError>> {
            let results = wit::client::ask_many(questions);
            results.into_iter().map(|result| result.map_err(ask_error)).collect()
        }

        fn roots(&self) -> Result<Vec<Root>, AskError> {
            wit::client::roots().map_err(ask_error)
        }

        fn resource_updated(&self, uri: &str) -> Result<(), String> {
            wit::changes::resource_updated(uri)
        }

        fn resources_changed(&self) {
            wit::changes::resources_changed();
        }

        fn prompts_changed(&self) {
            wit::changes::prompts_changed();
        }

        fn log(&self, level: Level, context: &str, message: &str) {
            wasi::logging::logging::log(level, context, message);
        }

        fn config(&self, key: &str) -> Result<Option<String>, String> {
            use wasi::config::store::Error;
            wasi::config::store::get(key).map_err(|error| match error {
                Error::Upstream(why) | Error::Io(why) => why,
            })
        }

        fn open(&self, bucket: &str) -> Result<Box<dyn Store>, StateError> {
            let bucket = wasi::keyvalue::store::open(bucket).map_err(state_error)?;
            Ok(Box::new(bucket))
        }
    }

    impl Store for wasi::keyvalue::store::Bucket {
        fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
            Self::get(self, key).map_err(state_error)
        }

        fn set(&self, key: &str, value: &[u8]) -> Result<(), StateError> {
            Self::set(self, key, value).map_err(state_error)
        }

        fn delete(&self, key: &str) -> Result<(), StateError> {
            Self::delete(self, key).map_err(state_error)
        }

        fn keys(&self, cursor: Option<u64>) -> Result<(Vec<String>, Option<u64>), StateError> {
            let page = self.list_keys(cursor).map_err(state_error)?;
            Ok((page.keys, page.cursor))
        }

        fn increment(&self, key: &str, delta: u64) -> Result<u64, StateError> {
            wasi::keyvalue::atomics::increment(self, key, delta).map_err(state_error)
        }
    }

    fn failure(failure: wit::tools::Failure) -> Failure {
        Failure {
            code: failure.code,
            message: failure.message,
            // Text that is no JSON would be the host's mistake; the agent loses the details only.
            details: failure.details.and_then(|text| serde_json::from_str(&text).ok()),
            retry_after: failure.retry_after_ms.map(Duration::from_millis),
        }
    }

    fn model_error(error: wit::model::ModelError) -> ModelError {
        use wit::model::ModelError as Raw;
        match error {
            Raw::Denied(why) => ModelError::Denied(why),
            Raw::Budget(why) => ModelError::Budget(why),
            Raw::Busy(milliseconds) => ModelError::Busy(milliseconds.map(Duration::from_millis)),
            Raw::Invalid(why) => ModelError::Invalid(why),
            Raw::Unavailable(why) => ModelError::Unavailable(why),
        }
    }

    fn ask_error(error: wit::elicit::AskError) -> AskError {
        use wit::elicit::AskError as Raw;
        match error {
            Raw::Unsupported(why) => AskError::Unsupported(why),
            Raw::Invalid(why) => AskError::Invalid(why),
            Raw::Failed(why) => AskError::Failed(why),
        }
    }

    fn state_error(error: wasi::keyvalue::store::Error) -> StateError {
        use wasi::keyvalue::store::Error as Raw;
        match error {
            Raw::NoSuchStore => StateError::NoSuchBucket,
            Raw::AccessDenied => StateError::Denied,
            Raw::Other(why) => StateError::Failed(why),
        }
    }
}
