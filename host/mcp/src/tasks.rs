//! Tasks: calls whose request is answered at once, and whose result is fetched later (MCP's tasks extension).
//!
//! A task is written to the store before its client learns of it, and its end when it comes; questions that
//! it has open are in memory only, like the call itself, and end with the host. An id is 256 random bits and
//! opens nothing for another caller: such a task does not exist for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aop_core::{
    Caller, ErrorCode, Failure, StoreError, TaskError, TaskRecord, TaskState, Tasks, TenantName,
};
use chrono::{DateTime, SecondsFormat};
use rmcp::ErrorData;
use rmcp::model::{
    CreateTaskResult, DetailedTask, InputResponses, JsonObject, Task, TaskPayload, TaskStatus,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::McpConfig;
use crate::converse::{Asked, End, Event, Finished, Ongoing};
use crate::features;

/// The reason why a result was not kept is cut to this: with it, what is kept instead stays below the kilobyte that
/// the store always has room for.
const REASON_MAX_BYTES: usize = 512;

/// Runs tasks, and answers for those that ran.
pub(crate) struct TaskRunner {
    store: Arc<dyn Tasks>,
    ttl: Duration,
    poll_interval: Duration,
    per_tenant_max: u32,
    live: Mutex<HashMap<String, Arc<Live>>>,
}

/// A task that runs.
struct Live {
    caller: Caller,
    stop: CancellationToken,
    /// Cancelled once its end is kept.
    over: CancellationToken,
    /// Questions that wait for answers.
    open: Mutex<BTreeMap<String, Asked>>,
    /// When it last began to wait for its client, or went on, in milliseconds since the Unix epoch.
    changed_unix_ms: AtomicU64,
}

impl Live {
    fn open(&self) -> MutexGuard<'_, BTreeMap<String, Asked>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that its status changed.
    fn changed(&self) {
        self.changed_unix_ms.store(unix_ms(SystemTime::now()), Ordering::Relaxed);
    }

    /// What the task does now.
    fn payload(&self) -> TaskPayload {
        let mut open = self.open();
        let was_asking = !open.is_empty();
        open.retain(|_, asked| !asked.is_withdrawn());
        if open.is_empty() {
            if was_asking {
                self.changed();
            }
            return TaskPayload::Working;
        }
        let requests = open.iter().map(|(key, asked)| (key.clone(), asked.request.clone()));
        TaskPayload::InputRequired { input_requests: requests.collect() }
    }
}

impl TaskRunner {
    pub(crate) fn new(store: Arc<dyn Tasks>, config: &McpConfig) -> Arc<Self> {
        Arc::new(Self {
            store,
            ttl: config.task_ttl,
            poll_interval: config.task_poll_interval,
            per_tenant_max: config.tasks_per_tenant_max,
            live: Mutex::default(),
        })
    }

    fn live(&self) -> MutexGuard<'_, HashMap<String, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self, caller: &Caller, id: &str) -> Option<Arc<Live>> {
        self.live().get(id).filter(|live| live.caller.is(caller)).cloned()
    }

    /// Stops the tasks of a tenant, and waits until none of them writes any more.
    pub(crate) async fn end(&self, tenant: &TenantName) {
        loop {
            let of_tenant: Vec<_> = {
                let live = self.live();
                live.values().filter(|live| live.caller.tenant == *tenant).cloned().collect()
            };
            let Some(last) = of_tenant.last().cloned() else { return };
            for live in &of_tenant {
                live.stop.cancel();
            }
            drop(of_tenant);
            last.over.cancelled().await;
        }
    }

    /// Tasks that run now.
    pub(crate) fn count(&self) -> usize {
        self.live().len()
    }

    /// Keeps a new task. None when the caller or its tenant has as many as may be.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn reserve(&self, caller: &Caller) -> Result<Option<TaskRecord>, ErrorData> {
        let id = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let now = unix_ms(SystemTime::now());
        let record = TaskRecord {
            id,
            tenant: caller.tenant.clone(),
            subject: caller.subject.to_string(),
            state: TaskState::Working,
            created_unix_ms: now,
            updated_unix_ms: now,
            expires_unix_ms: now.saturating_add(millis(self.ttl)),
            outcome: None,
        };
        match self.store.begin(record.clone(), self.per_tenant_max).await {
            Ok(()) => Ok(Some(record)),
            Err(TaskError::Full) => Ok(None),
            Err(TaskError::Store(error)) => Err(failed(&error)),
        }
    }

    /// Makes a call the task that was kept for it.
    pub(crate) fn begin(
        self: &Arc<Self>,
        caller: &Caller,
        record: TaskRecord,
        call: Ongoing,
    ) -> CreateTaskResult {
        let live = Arc::new(Live {
            caller: caller.clone(),
            stop: CancellationToken::new(),
            over: CancellationToken::new(),
            open: Mutex::default(),
            changed_unix_ms: AtomicU64::new(record.updated_unix_ms),
        });
        self.live().insert(record.id.clone(), live.clone());
        tokio::spawn(self.clone().attend(record.clone(), live, call));
        CreateTaskResult::new(self.shown(&record))
    }

    /// Lets a task run to its end, and keeps that.
    async fn attend(self: Arc<Self>, record: TaskRecord, live: Arc<Live>, mut ongoing: Ongoing) {
        let end = loop {
            let event = tokio::select! {
                biased;
                () = live.stop.cancelled() => break None,
                event = ongoing.next() => event,
            };
            match event {
                Event::Notice(_) => {}
                Event::Asked => {
                    let mut open = live.open();
                    if open.is_empty() {
                        live.changed();
                    }
                    open.append(&mut ongoing.open);
                }
                Event::Ended(end) => break Some(*end),
            }
        };
        drop(ongoing);
        self.keep(&record, outcome(end)).await;
        self.live().remove(&record.id);
        live.over.cancel();
    }

    /// Keeps how a task ended, or at least that it did: a task that seems to have been lost is run again.
    async fn keep(&self, record: &TaskRecord, (state, outcome): (TaskState, Option<String>)) {
        let had_outcome = outcome.is_some();
        let end = |state, outcome| {
            let now = unix_ms(SystemTime::now());
            self.store.end(&record.tenant, &record.id, state, outcome, now)
        };
        let Err(error) = end(state, outcome).await else { return };
        tracing::warn!(%error, "the result of a task could not be kept");
        let again = if had_outcome {
            // Where this fits, it was the size of the result that did not.
            let unkept = unkept(ErrorCode::ResourceExhausted, &error.to_string());
            end(TaskState::Failed, serde_json::to_string(&unkept).ok()).await
        } else {
            end(state, None).await
        };
        if let Err(error) = again {
            tracing::error!(%error, "the end of a task could not be kept");
        }
    }

    async fn find(&self, caller: &Caller, id: &str) -> Result<TaskRecord, ErrorData> {
        let found = self.store.find(&caller.tenant, id).await.map_err(|error| failed(&error))?;
        let (now, subject) = (unix_ms(SystemTime::now()), caller.subject.to_string());
        let is_theirs = |record: &TaskRecord| record.subject == subject;
        found.filter(|record| is_theirs(record) && record.expires_unix_ms > now).ok_or_else(|| {
            ErrorData::invalid_params("no such task: it never existed, or has expired", None)
        })
    }

    /// How a task is doing.
    ///
    /// # Errors
    /// Invalid params when there is no such task for this caller.
    pub(crate) async fn get(&self, caller: &Caller, id: &str) -> Result<DetailedTask, ErrorData> {
        // Asked first: a task that ends in between is then found ended.
        let live = self.running(caller, id);
        let mut record = self.find(caller, id).await?;
        let payload = match (record.state, live) {
            (TaskState::Cancelled, _) => TaskPayload::Cancelled,
            (TaskState::Working, Some(live)) => {
                let payload = live.payload();
                record.updated_unix_ms = live.changed_unix_ms.load(Ordering::Relaxed);
                payload
            }
            // A host that starts ends what ran before, so this one ended here.
            (TaskState::Working, None) => failure(&unkept(ErrorCode::Internal, "the store failed")),
            (TaskState::Failed, _) if record.outcome.is_none() => failure(&lost()),
            (state, _) => match (state, read(&record)) {
                (TaskState::Completed, Some(result)) => TaskPayload::Completed { result },
                (_, Some(error)) => TaskPayload::Failed { error },
                (_, None) => failure(&unkept(ErrorCode::Internal, "it cannot be read")),
            },
        };
        Ok(DetailedTask::new(self.shown(&record), payload))
    }

    /// Takes answers to what a task asks. Answers to anything else are ignored.
    ///
    /// # Errors
    /// Invalid params when there is no such task for this caller.
    pub(crate) async fn update(
        &self,
        caller: &Caller,
        id: &str,
        responses: InputResponses,
    ) -> Result<(), ErrorData> {
        self.find(caller, id).await?;
        let Some(live) = self.running(caller, id) else { return Ok(()) };
        let mut open = live.open();
        let was_asking = !open.is_empty();
        for (key, answer) in responses {
            if let Some(asked) = open.remove(&key)
                && let Some(asked) = asked.take(answer)
            {
                open.insert(key, asked);
            }
        }
        if was_asking && open.is_empty() {
            live.changed();
        }
        Ok(())
    }

    /// Stops a task. One that has ended stays as it is.
    ///
    /// # Errors
    /// Invalid params when there is no such task for this caller.
    pub(crate) async fn cancel(&self, caller: &Caller, id: &str) -> Result<(), ErrorData> {
        self.find(caller, id).await?;
        if let Some(live) = self.running(caller, id) {
            live.stop.cancel();
        }
        Ok(())
    }

    fn shown(&self, record: &TaskRecord) -> Task {
        let status = match record.state {
            TaskState::Working => TaskStatus::Working,
            TaskState::Completed => TaskStatus::Completed,
            TaskState::Failed => TaskStatus::Failed,
            TaskState::Cancelled => TaskStatus::Cancelled,
        };
        let ttl_ms = record.expires_unix_ms.saturating_sub(record.created_unix_ms);
        let [created, updated] = [record.created_unix_ms, record.updated_unix_ms].map(time);
        Task::new(record.id.clone(), status, created, updated)
            .with_ttl_ms(ttl_ms)
            .with_poll_interval_ms(millis(self.poll_interval))
    }
}

/// How a task ended, as it is kept; none when it was stopped.
fn outcome(end: Option<End>) -> (TaskState, Option<String>) {
    let (state, json) = match end {
        None => return (TaskState::Cancelled, None),
        Some(Ok(Finished::Tool(result))) => (TaskState::Completed, serde_json::to_string(&result)),
        // Only tools become tasks.
        Some(Ok(Finished::Prompt(_) | Finished::Resource(_))) => {
            let unkept = unkept(ErrorCode::Internal, "it is none of a tool");
            (TaskState::Failed, serde_json::to_string(&unkept))
        }
        Some(Err(error)) => (TaskState::Failed, serde_json::to_string(&error)),
    };
    match json {
        Ok(json) => (state, Some(json)),
        Err(error) => {
            let unkept = unkept(ErrorCode::Internal, &error.to_string());
            (TaskState::Failed, serde_json::to_string(&unkept).ok())
        }
    }
}

fn read(record: &TaskRecord) -> Option<JsonObject> {
    serde_json::from_str(record.outcome.as_deref()?).ok()
}

/// A task that ran when the host stopped, or whose end the store did not take before that.
fn lost() -> ErrorData {
    let reason = "the host stopped before a result of this task was kept, so it has none: call the tool again";
    ErrorData::internal_error(reason, None)
}

/// A task that ran to its end, and has nothing to show for it.
fn unkept(code: ErrorCode, reason: &str) -> ErrorData {
    let reason = &reason[..reason.floor_char_boundary(REASON_MAX_BYTES)];
    let message = format!(
        "the tool ran, but its result could not be kept: {reason}. Calling it again runs it once more"
    );
    features::error(&Failure::executed(code, message))
}

fn failure(error: &ErrorData) -> TaskPayload {
    let error = match serde_json::to_value(error) {
        Ok(Value::Object(error)) => error,
        _ => JsonObject::new(),
    };
    TaskPayload::Failed { error }
}

fn failed(error: &StoreError) -> ErrorData {
    ErrorData::internal_error(format!("the tasks cannot be reached: {error}"), None)
}

fn unix_ms(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// As ISO 8601.
fn time(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(DateTime::from_timestamp_millis);
    time.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests;
