//! How a call reaches a replica: [`Forward`] stands in the registry for an agent that runs on other nodes only,
//! [`Balanced`] for one that runs here and elsewhere.
//!
//! The dispatcher's attempt is one attempt here, with one addition: a node that did not begin the call (it cannot
//! be reached, drains, is full) is passed over for the next one at once, since that repeats nothing. What may have
//! run goes back to the dispatcher, which repeats it only where that is safe; the nodes of earlier attempts are
//! not chosen again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aop_core::handle::Handle;
use aop_core::{
    Arguments, BoxFuture, CallContext, Digest, ErrorCode, Executable, Failure, Interface, NodeId,
    Output, Settings, Violation,
};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Router;
use super::attempt::{Ended, Errand, Function};
use super::replicas::{Attempt, ReplicaSet};

/// An agent on other nodes.
pub(super) struct Forward {
    pub(super) router: Arc<Router>,
    /// Its functions are in the order of [`Tool::function`](aop_core::Tool::function).
    pub(super) set: Arc<ReplicaSet>,
    pub(super) output_max_bytes: u64,
}

/// Arguments on their way, and where they have been.
struct Outgoing {
    function: usize,
    arguments: Box<RawValue>,
    /// What stands in a handle among them for the node that it leads to.
    pinned: Option<Uuid>,
    tried: Mutex<Vec<NodeId>>,
}

impl Outgoing {
    fn tried(&self) -> Vec<NodeId> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, node: &NodeId) {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).push(node.clone());
    }

    fn new(function: usize, arguments: &str) -> Result<Self, Vec<Violation>> {
        let violation = |message: String| vec![Violation { pointer: String::new(), message }];
        // The owner validates; here it only has to be one JSON object, since it becomes part of a message.
        let raw = serde_json::from_str::<&RawValue>(arguments)
            .map_err(|error| violation(format!("the arguments are not valid JSON: {error}")))?;
        if !raw.get().starts_with('{') {
            return Err(violation("expected an object".to_owned()));
        }
        let pinned = pinned(raw.get());
        Ok(Self { function, arguments: raw.to_owned(), pinned, tried: Mutex::default() })
    }
}

/// The node of the first handle in JSON text. Which strings are handles, only the owner's types say; another one that
/// reads like one changes nothing but who is asked first. A handle has no character that JSON would escape.
fn pinned(arguments: &str) -> Option<Uuid> {
    arguments.split('"').find_map(|text| text.parse::<Handle>().ok()).map(|handle| handle.node)
}

impl Executable for Forward {
    fn validate(&self, function: usize, arguments: &str) -> Result<Arguments, Vec<Violation>> {
        Ok(Arguments(Box::new(Outgoing::new(function, arguments)?)))
    }

    fn execute<'a>(
        &'a self,
        function: usize,
        arguments: &'a Arguments,
        context: &'a Arc<CallContext>,
    ) -> BoxFuture<'a, Result<Output, Failure>> {
        Box::pin(async move {
            let outgoing = arguments.0.downcast_ref::<Outgoing>();
            let outgoing = outgoing.filter(|outgoing| outgoing.function == function);
            let (Some(outgoing), Some(function)) = (outgoing, self.set.functions.get(function))
            else {
                return Err(other_function());
            };
            if context.here {
                return Err(moved(context));
            }
            refuse_cycle(context)?;
            let errand = |has_others| Errand {
                function,
                arguments: &outgoing.arguments,
                context,
                output_max_bytes: self.output_max_bytes,
                has_others,
            };
            // What a handle leads to is on one node only.
            if let Some(attempt) = self.set.at(outgoing.pinned, &function.name, Instant::now()) {
                let note = |node: &NodeId| outgoing.note(node);
                return self.router.run(errand(false), attempt, note).await.end();
            }
            let mut last = None;
            loop {
                let mut tried = outgoing.tried();
                // A replica that was here until a moment ago.
                tried.extend(self.router.node().cloned());
                let session = context.session.get();
                let now = Instant::now();
                let Some(attempt) = self.set.choose(&function.name, &tried, session, now) else {
                    return Err(last.unwrap_or_else(|| nowhere(context)));
                };
                let has_others = self.set.has_others(&tried, &attempt.replica.node);
                let note = |node: &NodeId| outgoing.note(node);
                match self.router.run(errand(has_others), attempt, note).await {
                    Next::End(result) => return result,
                    Next::Other(failure) => last = Some(failure),
                }
            }
        })
    }
}

/// What follows an attempt.
pub(super) enum Next {
    /// This is how the call ends, or the dispatcher decides whether to repeat it.
    End(Result<Output, Failure>),
    /// Nothing ran: another replica may take it.
    Other(Failure),
}

impl Next {
    /// The end of a call that no other replica can take.
    fn end(self) -> Result<Output, Failure> {
        match self {
            Self::End(result) => result,
            Self::Other(failure) => Err(failure),
        }
    }
}

impl Router {
    /// One attempt on another node, with what it says of that node noted.
    async fn run(&self, errand: Errand<'_>, attempt: Attempt, note: impl Fn(&NodeId)) -> Next {
        let node = attempt.replica.node.clone();
        let Some(peers) = self.peers() else {
            return Next::End(Err(nowhere(errand.context)));
        };
        let ended = errand.run(peers, &node).await;
        self.counters.note(&ended);
        match ended {
            Ended::Answered(result) => {
                attempt.answered(Instant::now());
                Next::End(result)
            }
            Ended::Busy(failure) => {
                attempt.answered(Instant::now());
                note(&node);
                Next::Other(failure)
            }
            Ended::Broken(failure) => {
                attempt.failed(Instant::now());
                note(&node);
                tracing::debug!(%node, %failure, "a call on another node failed");
                if failure.executed { Next::End(Err(failure)) } else { Next::Other(failure) }
            }
        }
    }
}

/// An agent with replicas, one of which is on this node.
pub(super) struct Balanced {
    pub(super) router: Arc<Router>,
    pub(super) local: Arc<dyn Executable>,
    pub(super) interface: Arc<Interface>,
    pub(super) digest: Digest,
    pub(super) settings: Arc<Settings>,
    /// Of the settings.
    pub(super) settings_digest: Digest,
}

/// Arguments that the replica here has validated, and the same for others.
struct Both {
    local: Arguments,
    outgoing: Outgoing,
}

impl Balanced {
    /// The replicas among which a call is balanced; none for one that belongs here.
    fn set(
        &self,
        function: usize,
        pinned: Option<Uuid>,
        context: &CallContext,
    ) -> Option<(Arc<ReplicaSet>, usize)> {
        let is_here = match pinned {
            Some(pinned) => self.router.node().is_none_or(|node| node.in_handles() == pinned),
            None => self.settings.balance.is_none(),
        };
        if context.here || is_here {
            return None;
        }
        let set = self.router.set(&context.owner, &context.agent)?;
        if (set.version.digest, set.version.settings) != (self.digest, self.settings_digest) {
            return None;
        }
        let feature = self.interface.functions.get(function)?.feature();
        let is_called = |known: &Function| known.name == context.tool && known.feature == feature;
        let index = set.functions.iter().position(is_called)?;
        Some((set, index))
    }

    fn errand<'a>(
        &self,
        function: &'a Function,
        both: &'a Both,
        context: &'a CallContext,
        has_others: bool,
    ) -> Errand<'a> {
        Errand {
            function,
            arguments: &both.outgoing.arguments,
            context,
            output_max_bytes: self.settings.limits.output_max_bytes,
            has_others,
        }
    }

    async fn balance(
        &self,
        (set, index): (Arc<ReplicaSet>, usize),
        function: usize,
        both: &Both,
        context: &Arc<CallContext>,
    ) -> Result<Output, Failure> {
        let called = &set.functions[index];
        if let Some(attempt) = set.at(both.outgoing.pinned, &called.name, Instant::now()) {
            let errand = self.errand(called, both, context, false);
            let note = |node: &NodeId| both.outgoing.note(node);
            return self.router.run(errand, attempt, note).await.end();
        }
        if self.settings.balance.is_none() {
            // A handle of a node that is gone, which the replica here says.
            return self.local.execute(function, &both.local, context).await;
        }
        loop {
            let (tried, session) = (both.outgoing.tried(), context.session.get());
            let attempt = set.choose(&called.name, &tried, session, Instant::now());
            // When nobody else takes it, the replica here does.
            let Some(attempt) = attempt else {
                return self.local.execute(function, &both.local, context).await;
            };
            if self.router.is_here(&attempt.replica.node) {
                let result = self.local.execute(function, &both.local, context).await;
                attempt.answered(Instant::now());
                return result;
            }
            let errand = self.errand(called, both, context, true);
            let note = |node: &NodeId| both.outgoing.note(node);
            match self.router.run(errand, attempt, note).await {
                Next::End(result) => return result,
                Next::Other(_) => {}
            }
        }
    }
}

impl Executable for Balanced {
    fn validate(&self, function: usize, arguments: &str) -> Result<Arguments, Vec<Violation>> {
        let local = self.local.validate(function, arguments)?;
        let outgoing = Outgoing::new(function, arguments)?;
        Ok(Arguments(Box::new(Both { local, outgoing })))
    }

    fn execute<'a>(
        &'a self,
        function: usize,
        arguments: &'a Arguments,
        context: &'a Arc<CallContext>,
    ) -> BoxFuture<'a, Result<Output, Failure>> {
        let Some(both) = arguments.0.downcast_ref::<Both>() else {
            return Box::pin(std::future::ready(Err(other_function())));
        };
        match self.set(function, both.outgoing.pinned, context) {
            None => self.local.execute(function, &both.local, context),
            Some(set) => Box::pin(self.balance(set, function, both, context)),
        }
    }
}

/// Agents wait for each other across nodes by name: every replica of an agent is the same agent.
fn refuse_cycle(context: &CallContext) -> Result<(), Failure> {
    let mut waiting = context.lineage.iter().flat_map(|lineage| lineage.waiting());
    if waiting.any(|(_, name)| *name == context.agent) {
        return Err(Failure::before_execution(
            ErrorCode::LoopDetected,
            format!(
                "`{}` waits for this call already: agents cannot call each other in a cycle",
                context.agent
            ),
        ));
    }
    Ok(())
}

fn moved(context: &CallContext) -> Failure {
    Failure::before_execution(
        ErrorCode::Unavailable,
        format!("`{}` is not on this node any more", context.agent),
    )
}

fn nowhere(context: &CallContext) -> Failure {
    Failure::before_execution(
        ErrorCode::Unavailable,
        format!("no node that has `{}` takes calls now: try again shortly", context.agent),
    )
    .with_retry_after(std::time::Duration::from_secs(1))
}

fn other_function() -> Failure {
    Failure::before_execution(
        ErrorCode::Internal,
        "the arguments were validated for another function",
    )
}
