//! The client of one call, as the agent sees it.
//!
//! What the agent says goes through two queues: notices (progress, log lines), which are dropped when the client
//! is slow, and questions, which wait. Whoever attends the call takes them out and carries them to the client in
//! the way of its revision. A call may ask [`QUESTIONS_MAX`] times and have [`OPEN_MAX`] questions open.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aop_core::client::{Answer, AskError, Client, Question, Root};
use aop_core::model::{Completion, CompletionRequest, ModelError};
use aop_core::{BoxFuture, GuestLevel, Progress};
use rmcp::model::{ClientCapabilities, InputRequest, InputResponses, ProgressToken};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::offers::Ability;
use super::question::{self, Kind};
use super::sampling;
use crate::following::Following;
use crate::level::{self, Level};

/// Notices that wait for the client. Small: a queue of progress is a queue of old news.
pub(crate) const NOTICES_MAX: usize = 64;
/// Questions of one call: a model that may take dozens of rounds stays below, a guest that asks for ever does not.
pub(crate) const QUESTIONS_MAX: usize = 100;
/// Questions of one call that are open at a time: a person is asked one thing, a model perhaps several.
pub(crate) const OPEN_MAX: usize = 16;
/// A question as JSON: as large as the largest message that clients send here by default.
pub(crate) const QUESTION_MAX_BYTES: usize = 4 << 20;
/// The text of a notice; longer ones are cut. A full queue of them takes a quarter of a megabyte, which a
/// thousand parked calls may have each.
pub(crate) const NOTICE_MAX_BYTES: usize = 4 << 10;

/// Something that an agent says and that wants no answer.
#[derive(Debug)]
pub(crate) enum Notice {
    Progress { progress: f64, total: Option<f64>, message: Option<String> },
    Log { level: Level, logger: String, text: String },
}

/// A question that is on its way to the client.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Identifies it within its call.
    pub(crate) key: String,
    pub(crate) kind: Kind,
    pub(crate) request: InputRequest,
    /// The size of the request as JSON.
    pub(crate) bytes: usize,
    /// Where the answer goes; an error says why there is none.
    pub(crate) answer: oneshot::Sender<Result<Value, String>>,
}

impl Asked {
    /// Hands over an answer; gives the question back when it is none of its kind.
    pub(crate) fn take(self, answer: Value) -> Option<Self> {
        if !self.kind.fits(&answer) {
            return Some(self);
        }
        // The agent may have withdrawn the question.
        let _ = self.answer.send(Ok(answer));
        None
    }

    /// Whether the agent does not need an answer any more.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.answer.is_closed()
    }
}

/// The request that a call answers now: a call that was parked comes back under another one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    /// Under which progress is reported; none when it is not wanted.
    pub(crate) progress: Option<ProgressToken>,
    /// The least log line that this request wants.
    pub(crate) level: Option<Level>,
}

/// See the module's documentation.
pub(crate) struct CallClient {
    declared: ClientCapabilities,
    following: Option<Arc<Following>>,
    notices: mpsc::Sender<Notice>,
    questions: mpsc::Sender<Asked>,
    open: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    line: Line,
    reported: Option<f64>,
    asked: usize,
    /// How often each name was given to a question.
    names: HashMap<String, usize>,
    /// Answers to questions that were not asked yet: a client may know them.
    advance: BTreeMap<String, Value>,
    /// What the client would have had to declare.
    missing: Option<ClientCapabilities>,
}

/// What became of a question when it was named.
enum Registered {
    /// Its answer was known already.
    Answered(Value),
    /// It is asked under this name.
    Open(String),
}

/// Where what the agent says comes out.
pub(crate) struct Outlet {
    pub(crate) notices: mpsc::Receiver<Notice>,
    pub(crate) questions: mpsc::Receiver<Asked>,
}

impl CallClient {
    /// A client that declared these capabilities and follows this.
    pub(crate) fn new(
        declared: ClientCapabilities,
        following: Option<Arc<Following>>,
        line: Line,
        advance: InputResponses,
    ) -> (Arc<Self>, Outlet) {
        let (notices, heard) = mpsc::channel(NOTICES_MAX);
        let (questions, asked) = mpsc::channel(OPEN_MAX);
        let state = Mutex::new(State { line, advance, ..State::default() });
        let open = Semaphore::new(OPEN_MAX);
        let client = Self { declared, following, notices, questions, open, state };
        (Arc::new(client), Outlet { notices: heard, questions: asked })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on under another request.
    pub(crate) fn join(&self, line: Line) {
        self.state().line = line;
    }

    /// The request that it goes on under.
    pub(crate) fn line(&self) -> Line {
        self.state().line.clone()
    }

    /// Forgets answers to questions that were not asked so far.
    pub(crate) fn forget_advance(&self) {
        self.state().advance.clear();
    }

    /// What the client would have had to declare for what was asked; none when it declared enough.
    pub(crate) fn missing(&self) -> Option<ClientCapabilities> {
        self.state().missing.clone()
    }

    /// Whether the client has an ability. One that it lacks is remembered.
    fn check(&self, ability: Ability) -> Result<(), &'static str> {
        if ability.is_in(&self.declared) {
            return Ok(());
        }
        self.state().missing = Some(ability.required());
        Err(ability.missing())
    }

    /// Names a question, or takes its answer if that is known already. Of a call that this one leads to, none is.
    fn register(
        &self,
        within: Option<&str>,
        name: &str,
        kind: Kind,
    ) -> Result<Registered, &'static str> {
        let name = within.map_or_else(|| name.to_owned(), |tool| format!("{tool}.{name}"));
        let mut state = self.state();
        state.asked += 1;
        if state.asked > QUESTIONS_MAX {
            return Err("the call has asked too often");
        }
        let count = state.names.entry(name.clone()).or_default();
        *count += 1;
        let key = if *count == 1 { name } else { format!("{name}_{count}") };
        let known = if within.is_none() { state.advance.remove(&key) } else { None };
        Ok(match known {
            Some(answer) if kind.fits(&answer) => Registered::Answered(answer),
            _ => Registered::Open(key),
        })
    }

    /// Asks, and waits for an answer of the right kind.
    async fn put(
        &self,
        within: Option<&str>,
        (name, kind): (&str, Kind),
        request: InputRequest,
    ) -> Result<Value, String> {
        let bytes = serde_json::to_vec(&request).map_or(usize::MAX, |json| json.len());
        if bytes > QUESTION_MAX_BYTES {
            return Err(format!("the question has more than {} MiB", QUESTION_MAX_BYTES >> 20));
        }
        let key = match self.register(within, name, kind)? {
            Registered::Answered(answer) => return Ok(answer),
            Registered::Open(key) => key,
        };
        let gone = || "the client went away".to_owned();
        let _place = self.open.acquire().await.map_err(|_| gone())?;
        let (answer, answered) = oneshot::channel();
        let asked = Asked { key, kind, request, bytes, answer };
        self.questions.send(asked).await.map_err(|_| gone())?;
        let answer = answered.await.map_err(|_| gone())??;
        if kind.fits(&answer) {
            Ok(answer)
        } else {
            Err("what the client sent does not answer the question".to_owned())
        }
    }
}

impl CallClient {
    async fn ask_as(&self, within: Option<&str>, question: Question) -> Result<Answer, AskError> {
        let (ability, name, request) = question::elicitation(question)?;
        self.check(ability).map_err(|reason| AskError::Unsupported(reason.to_owned()))?;
        let answer = self.put(within, (&name, Kind::Elicitation), request).await;
        question::read(&answer.map_err(AskError::Failed)?).ok_or_else(|| {
            AskError::Failed("what the client sent does not answer the question".to_owned())
        })
    }

    async fn sample_as(
        &self,
        within: Option<&str>,
        request: CompletionRequest,
    ) -> Result<Completion, ModelError> {
        let (ability, request) = sampling::request(request)?;
        self.check(ability).map_err(|reason| ModelError::Unavailable(reason.to_owned()))?;
        let answer = self.put(within, ("completion", Kind::Sampling), request).await;
        sampling::read(&answer.map_err(ModelError::Unavailable)?).ok_or_else(|| {
            ModelError::Unavailable("what the client sent does not answer the question".to_owned())
        })
    }

    async fn roots_as(&self, within: Option<&str>) -> Result<Vec<Root>, AskError> {
        self.check(Ability::Roots).map_err(|reason| AskError::Unsupported(reason.to_owned()))?;
        let (name, request) = question::list_roots();
        let answer = self.put(within, (name, Kind::Roots), request).await;
        question::roots(&answer.map_err(AskError::Failed)?).ok_or_else(|| {
            AskError::Failed("what the client sent does not answer the question".to_owned())
        })
    }
}

impl Client for CallClient {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Answer, AskError>> {
        Box::pin(self.ask_as(None, question))
    }

    fn sample(&self, request: CompletionRequest) -> BoxFuture<'_, Result<Completion, ModelError>> {
        Box::pin(self.sample_as(None, request))
    }

    fn roots(&self) -> BoxFuture<'_, Result<Vec<Root>, AskError>> {
        Box::pin(self.roots_as(None))
    }

    fn within(self: Arc<Self>, tool: &str) -> Arc<dyn Client> {
        Arc::new(CalledClient { client: self, tool: tool.to_owned() })
    }

    fn log(&self, level: GuestLevel, logger: &str, text: &str) {
        let mcp_level = level::of_guest(level);
        let wanted = self.state().line.level;
        let of_request =
            wanted.is_some_and(|least| level::severity(mcp_level) >= level::severity(least));
        let of_session = self.following.as_ref().is_some_and(|following| following.wants(level));
        if of_request || of_session {
            let notice = Notice::Log { level: mcp_level, logger: cut(logger), text: cut(text) };
            // A client that is slow misses lines rather than slowing the agent.
            let _ = self.notices.try_send(notice);
        }
    }
}

/// The client of a call that another one leads to: the same person, asked under names of the called tool.
struct CalledClient {
    client: Arc<CallClient>,
    tool: String,
}

impl Client for CalledClient {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Answer, AskError>> {
        Box::pin(self.client.ask_as(Some(&self.tool), question))
    }

    fn sample(&self, request: CompletionRequest) -> BoxFuture<'_, Result<Completion, ModelError>> {
        Box::pin(self.client.sample_as(Some(&self.tool), request))
    }

    fn roots(&self) -> BoxFuture<'_, Result<Vec<Root>, AskError>> {
        Box::pin(self.client.roots_as(Some(&self.tool)))
    }

    fn within(self: Arc<Self>, tool: &str) -> Arc<dyn Client> {
        Arc::clone(&self.client).within(tool)
    }

    fn log(&self, level: GuestLevel, logger: &str, text: &str) {
        self.client.log(level, logger, text);
    }
}

/// As much of a guest's text as a notice takes.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(NOTICE_MAX_BYTES)].to_owned()
}

impl Progress for CallClient {
    fn report(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        let mut state = self.state();
        // The protocol wants finite numbers that grow; a guest may send anything.
        let grows = state.reported.is_none_or(|last| progress > last);
        if state.line.progress.is_none() || !progress.is_finite() || !grows {
            return;
        }
        let total = total.filter(|total| total.is_finite());
        let notice = Notice::Progress { progress, total, message: message.map(cut) };
        if self.notices.try_send(notice).is_ok() {
            state.reported = Some(progress);
        }
    }
}
