//! A host for tests: outside a component, the wrappers talk to whatever a test sets up here.
//!
//! [`Script`] plays a host with a few tools, a model that says prepared lines, and a person with prepared
//! answers. Anything else can be had by implementing [`Host`].

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use serde_json::Value;

use crate::client::Root;
use crate::elicit::{Answer, AskError, Field};
use crate::log::Level;
use crate::model::{Binding, Completion, ModelError, Part, Request, StopReason, ToolCall, Usage};
use crate::state::StateError;
use crate::tools::{Definition, Failure, Invocation, Summary};

pub use crate::host::{Events, Host, RawAnswer, Store};

thread_local! {
    static HOST: RefCell<Option<Rc<dyn Host>>> = const { RefCell::new(None) };
}

/// The host of code outside of [`run`]: it refuses everything.
struct Nobody;

impl Host for Nobody {}

/// Runs code that talks to a host, on this thread.
pub fn run<T>(host: Rc<dyn Host>, code: impl FnOnce() -> T) -> T {
    /// Puts back what was there before, also when the code panics.
    struct Restore(Option<Rc<dyn Host>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            HOST.set(self.0.take());
        }
    }
    let _restore = Restore(HOST.replace(Some(host)));
    code()
}

pub(crate) fn with<T>(use_host: impl FnOnce(&dyn Host) -> T) -> T {
    let host = HOST.with_borrow(Option::clone);
    match host {
        Some(host) => use_host(host.as_ref()),
        None => use_host(&Nobody),
    }
}

type Function = Box<dyn Fn(Value) -> Result<Value, Failure>>;

struct Tool {
    definition: Definition,
    function: Function,
}

/// A host with prepared answers.
#[derive(Default)]
pub struct Script {
    tools: BTreeMap<String, Tool>,
    completions: RefCell<VecDeque<Result<Completion, ModelError>>>,
    max_loops: Option<u32>,
    answers: RefCell<VecDeque<Answer<Value>>>,
    roots: Option<Vec<Root>>,
    config: BTreeMap<String, String>,
    buckets: RefCell<BTreeMap<String, Rc<Memory>>>,
    seen: RefCell<Seen>,
}

/// What the agent asked a [`Script`] for.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Seen {
    /// Calls of tools, in order.
    pub calls: Vec<Invocation>,
    /// Conversations that the model was to complete.
    pub requests: Vec<Request>,
    /// Reports of progress: how far, of how much, and the message.
    pub progress: Vec<(f64, Option<f64>, String)>,
    /// Lines of the log.
    pub log: Vec<String>,
    /// Questions to the person.
    pub questions: Vec<String>,
    /// Resources of which clients were told that they changed.
    pub updated: Vec<String>,
}

impl Script {
    /// A host that offers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers a tool that takes any JSON object.
    #[must_use]
    pub fn tool(
        mut self,
        name: &str,
        description: &str,
        function: impl Fn(Value) -> Result<Value, Failure> + 'static,
    ) -> Self {
        let definition = Definition {
            name: name.to_owned(),
            agent: name.split('_').next().unwrap_or(name).to_owned(),
            title: None,
            description: description.to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: None,
        };
        self.tools.insert(name.to_owned(), Tool { definition, function: Box::new(function) });
        self
    }

    /// Binds a model (if none is bound yet) whose next completion is a text.
    #[must_use]
    pub fn says(self, text: &str) -> Self {
        self.completes(Ok(completion(StopReason::End, vec![Part::Text(text.to_owned())])))
    }

    /// Binds a model (if none is bound yet) whose next completion asks for a tool.
    #[must_use]
    pub fn asks_for(self, tool: &str, arguments: &Value) -> Self {
        let id = format!("call-{}", self.completions.borrow().len());
        let call = ToolCall { id, name: tool.to_owned(), arguments: arguments.to_string() };
        self.completes(Ok(completion(StopReason::ToolCalls, vec![Part::ToolCall(call)])))
    }

    /// Binds a model (if none is bound yet) with its next completion.
    #[must_use]
    pub fn completes(mut self, completion: Result<Completion, ModelError>) -> Self {
        self.completions.get_mut().push_back(completion);
        self.max_loops = self.max_loops.or(Some(8));
        self
    }

    /// Binds a model that may take so many rounds of a task.
    #[must_use]
    pub fn max_loops(mut self, max_loops: u32) -> Self {
        self.max_loops = Some(max_loops);
        self
    }

    /// The person's next answer.
    #[must_use]
    pub fn answers(mut self, answer: Answer<Value>) -> Self {
        self.answers.get_mut().push_back(answer);
        self
    }

    /// The client's roots.
    #[must_use]
    pub fn roots(mut self, roots: impl IntoIterator<Item = Root>) -> Self {
        self.roots = Some(roots.into_iter().collect());
        self
    }

    /// A key of `[config]`.
    #[must_use]
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Runs code with this host, and says what the code asked for.
    pub fn run<T>(self, code: impl FnOnce() -> T) -> (T, Seen) {
        let script = Rc::new(self);
        let value = run(Rc::clone(&script) as Rc<dyn Host>, code);
        let seen = script.seen.borrow().clone();
        (value, seen)
    }

    fn answer(&self, question: &str) -> Result<RawAnswer, AskError> {
        self.seen.borrow_mut().questions.push(question.to_owned());
        let answer = self.answers.borrow_mut().pop_front();
        let nobody = || AskError::Unsupported("nobody answers any more".to_owned());
        Ok(match answer.ok_or_else(nobody)? {
            Answer::Accepted(value) => RawAnswer::Accepted(value.to_string()),
            Answer::Declined => RawAnswer::Declined,
            Answer::Dismissed => RawAnswer::Dismissed,
        })
    }
}

impl Host for Script {
    /// Finds tools that have any of the words: those with the most first, then by name.
    fn discover(&self, query: &str, limit: Option<u32>) -> Result<Vec<Summary>, Failure> {
        let asked = words(query);
        let found = self.tools.values().filter_map(|Tool { definition, .. }| {
            let known = words(&format!("{} {}", definition.name, definition.description));
            let shared = asked.iter().filter(|word| known.contains(word)).count();
            (shared > 0 || asked.is_empty()).then(|| Summary {
                name: definition.name.clone(),
                agent: definition.agent.clone(),
                description: definition.description.clone(),
                score: shared as f64,
            })
        });
        let mut found: Vec<Summary> = found.collect();
        found.sort_by(|one, other| other.score.total_cmp(&one.score));
        found.truncate(limit.map_or(10, |limit| limit as usize));
        Ok(found)
    }

    fn describe(&self, tool: &str) -> Result<Definition, Failure> {
        let found = self.tools.get(tool).map(|tool| tool.definition.clone());
        found.ok_or_else(|| Failure::new("not_found", format!("no tool `{tool}`")))
    }

    fn call(&self, invocation: &Invocation) -> Result<String, Failure> {
        self.seen.borrow_mut().calls.push(invocation.clone());
        let tool = self
            .tools
            .get(&invocation.tool)
            .ok_or_else(|| Failure::new("not_found", format!("no tool `{}`", invocation.tool)))?;
        let arguments = serde_json::from_str(&invocation.arguments)
            .map_err(|error| Failure::new("invalid_arguments", error.to_string()))?;
        (tool.function)(arguments).map(|value| value.to_string())
    }

    fn bound(&self) -> Option<Binding> {
        let model = "scripted".to_owned();
        self.max_loops.map(|max_loops| Binding { model, max_loops })
    }

    fn complete(&self, request: &Request) -> Result<Completion, ModelError> {
        self.seen.borrow_mut().requests.push(request.clone());
        let next = self.completions.borrow_mut().pop_front();
        next.unwrap_or_else(|| Err(ModelError::Denied("the script has no more lines".to_owned())))
    }

    fn report(
        &self,
        progress: f64,
        total: Option<f64>,
        message: Option<&str>,
    ) -> Result<(), String> {
        let mut seen = self.seen.borrow_mut();
        if !progress.is_finite() || progress < 0.0 {
            return Err("progress must not be negative".to_owned());
        }
        if seen.progress.last().is_some_and(|(before, ..)| progress <= *before) {
            return Err("progress must grow with every report".to_owned());
        }
        seen.progress.push((progress, total, message.unwrap_or_default().to_owned()));
        Ok(())
    }

    fn form(&self, message: &str, _fields: &[Field]) -> Result<RawAnswer, AskError> {
        self.answer(message)
    }

    fn visit(&self, message: &str, _url: &str) -> Result<RawAnswer, AskError> {
        self.answer(message)
    }

    fn roots(&self) -> Result<Vec<Root>, AskError> {
        let none = || AskError::Unsupported("the client has no roots".to_owned());
        self.roots.clone().ok_or_else(none)
    }

    fn resource_updated(&self, uri: &str) -> Result<(), String> {
        self.seen.borrow_mut().updated.push(uri.to_owned());
        Ok(())
    }

    fn log(&self, _level: Level, _context: &str, message: &str) {
        self.seen.borrow_mut().log.push(message.to_owned());
    }

    fn config(&self, key: &str) -> Result<Option<String>, String> {
        Ok(self.config.get(key).cloned())
    }

    fn open(&self, bucket: &str) -> Result<Box<dyn Store>, StateError> {
        let mut buckets = self.buckets.borrow_mut();
        Ok(Box::new(Rc::clone(buckets.entry(bucket.to_owned()).or_default())))
    }
}

/// A bucket that ends with the test.
#[derive(Default)]
struct Memory(RefCell<BTreeMap<String, Vec<u8>>>);

impl Store for Rc<Memory> {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.0.borrow().get(key).cloned())
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), StateError> {
        self.0.borrow_mut().insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), StateError> {
        self.0.borrow_mut().remove(key);
        Ok(())
    }

    fn keys(&self, _cursor: Option<u64>) -> Result<(Vec<String>, Option<u64>), StateError> {
        Ok((self.0.borrow().keys().cloned().collect(), None))
    }

    fn increment(&self, key: &str, delta: u64) -> Result<u64, StateError> {
        let not_a_number = || StateError::Failed(format!("`{key}` is not a number"));
        let mut entries = self.0.borrow_mut();
        let before: u64 = match entries.get(key) {
            Some(bytes) => {
                let text = std::str::from_utf8(bytes).map_err(|_| not_a_number())?;
                text.parse().map_err(|_| not_a_number())?
            }
            None => 0,
        };
        let sum = before.checked_add(delta).ok_or_else(not_a_number)?;
        entries.insert(key.to_owned(), sum.to_string().into_bytes());
        Ok(sum)
    }
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

fn completion(stop: StopReason, parts: Vec<Part>) -> Completion {
    let usage = Usage { input_tokens: 1, output_tokens: 1 };
    Completion { parts, stop, usage, model: "scripted".to_owned() }
}

#[cfg(test)]
mod tests;
