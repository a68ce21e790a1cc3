//! Calls that other zones make here. They see the tools that are exported to them and nothing else, run as the tenant
//! that exports, and are billed to it; what waits for them elsewhere comes along, so that no call waits for itself.

use std::time::{Duration, Instant};

use aop_core::{
    AgentId, AgentName, Call, Caller, Lineage, Scope, Scopes, Subject, Target, TenantName,
};
use http::HeaderMap;

use super::Zone;
use super::export::Asker;
use super::message::DEADLINE_MAX;
use super::wire::{self, Arrived, NoCall, REVISION};

/// What an agent that waits in another zone is called here; its own name is nobody's business.
const ELSEWHERE: &str = "agent-of-another-zone";
/// The longest that a caller of another zone may have: beyond, its own host has given up.
const TIMEOUT_MAX: Duration = Duration::from_secs(10 * 60);
const _: () = assert!(TIMEOUT_MAX.as_secs() >= DEADLINE_MAX.as_secs());

impl Zone {
    /// Runs a call and answers with a JSON-RPC message. Dropping the future stops the agent.
    pub(super) async fn receive(
        &self,
        body: &[u8],
        headers: &HeaderMap,
        asker: Asker<'_>,
    ) -> Vec<u8> {
        self.counters().calls_in.add();
        let arrived = match wire::read_call(body, headers) {
            Ok(arrived) => arrived,
            Err(no) => return wire::write_error(&no),
        };
        match self.run(&arrived, asker).await {
            Ok(answer) => answer,
            Err(message) => {
                wire::write_error(&NoCall { id: Some(arrived.id), code: -32602, message })
            }
        }
    }

    /// Whether somebody may call the tool that the headers of a call name, before its body is read; else what is
    /// answered. The body is held against the headers when it is.
    pub(super) fn may_call(&self, headers: &HeaderMap, asker: Asker<'_>) -> Result<(), Vec<u8>> {
        let named = headers.get("mcp-name").and_then(|value| value.to_str().ok());
        let table = self.authority().exported();
        let found = named
            .is_some_and(|tool| table.find(tool).is_some_and(|exported| exported.is_for(asker)));
        if found {
            return Ok(());
        }
        let (code, message) = match named {
            Some(named) => (-32602, unknown(named)),
            None => (
                -32601,
                format!(
                    "only server/discover, tools/list and tools/call of revision {REVISION} are served here, with the headers that it wants"
                ),
            ),
        };
        Err(wire::write_error(&NoCall { id: None, code, message }))
    }

    async fn run(&self, arrived: &Arrived<'_>, asker: Asker<'_>) -> Result<Vec<u8>, String> {
        let received = Instant::now();
        // What is not exported to this zone does not exist for it.
        let unknown = || unknown(&arrived.tool);
        let table = self.authority().exported();
        let exported = table.find(&arrived.tool).filter(|exported| exported.is_for(asker));
        let exported = exported.ok_or_else(unknown)?;
        let is_tool = exported.tools.iter().any(|tool| *tool.name == *arrived.tool);
        if !is_tool {
            return Err(unknown());
        }
        let passage = &arrived.passage;
        if passage.hops == 0 {
            return Err("the call went through too many agents".to_owned());
        }
        let name = AgentName::new(ELSEWHERE).map_err(|error| error.to_string())?;
        let waiting: Vec<_> = passage.via.iter().map(|id| (AgentId(*id), name.clone())).collect();
        let lineage = Lineage::resumed(waiting, passage.budget);
        let left_before = lineage.as_ref().map_or(0, |lineage| lineage.calls_left());
        let call = Call {
            timeout: Some(Duration::from_millis(passage.deadline_ms).min(TIMEOUT_MAX)),
            trace: passage.trace,
            lineage: lineage.clone(),
            ..Call::new(
                caller(&exported.tenant, asker),
                Target::Tool(&arrived.tool),
                arrived.arguments,
                received,
            )
        };
        tracing::debug!(tool = %arrived.tool, caller = %call.caller.subject, "a call of another zone");
        let reply = self.parts.invoke.invoke(call).await;
        let left = lineage.map_or(0, |lineage| lineage.calls_left());
        Ok(wire::write_answer(arrived.id, &reply, left_before.saturating_sub(left)))
    }
}

fn unknown(tool: &str) -> String {
    format!("Unknown tool: {}", tool.chars().take(64).collect::<String>())
}

/// Calls from other zones run as the tenant that exports, and may do nothing but call. Which zone it was is who the
/// caller is, in records, logs and conversations: two zones never look like one.
pub(super) fn caller(tenant: &TenantName, asker: Asker<'_>) -> Caller {
    let scopes = Scopes::NONE.with(Scope::ToolsCall);
    Caller { tenant: tenant.clone(), subject: subject(asker), scopes }
}

/// Whoever asks, as a subject.
pub(super) fn subject(asker: Asker<'_>) -> Subject {
    let name = match asker {
        Asker::Zone(zone, _) => Some(zone.as_str().into()),
        Asker::Stranger | Asker::Itself => None,
    };
    Subject::Zone { name }
}
