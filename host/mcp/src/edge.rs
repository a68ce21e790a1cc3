//! What both paths and both transports share: the tools of a tenant, and one call.

use std::sync::Arc;
use std::time::Instant;

use aop_core::{Call, Caller, ErrorCode, Failure, Progress, Reply, TraceContext};

use crate::builtin::{self, Builtin, Library};
use crate::config::McpConfig;
use crate::list::{BadCursor, Page, Pages};
use crate::measure::Counters;
use crate::server::McpParts;

/// The edge without a transport.
pub(crate) struct Edge {
    pub(crate) config: McpConfig,
    pub(crate) parts: McpParts,
    pub(crate) counters: Arc<Counters>,
    pages: Pages,
}

/// A `tools/call`, from whichever path.
pub(crate) struct ToolCall<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) name: &'a str,
    /// A JSON object as text.
    pub(crate) arguments: &'a str,
    pub(crate) received: Instant,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) progress: Option<Arc<dyn Progress>>,
}

/// The tool that was named does not exist for the caller: the request itself is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Unknown tool: {0}")]
pub(crate) struct UnknownTool(String);

impl Edge {
    pub(crate) fn new(config: McpConfig, parts: McpParts) -> Self {
        let pages = Pages::new(config.page_size, config.expose);
        Self { config, parts, counters: Arc::default(), pages }
    }

    /// A page of the caller's tools.
    ///
    /// # Errors
    /// [`BadCursor`].
    pub(crate) fn page(
        &self,
        caller: &Caller,
        cursor: Option<&str>,
    ) -> Result<Arc<Page>, BadCursor> {
        let list = self.parts.catalog.tools(&caller.tenant);
        self.pages.page(&caller.tenant, &list, cursor)
    }

    /// Runs a call to its end. Dropping the future cancels it.
    ///
    /// # Errors
    /// [`UnknownTool`].
    pub(crate) async fn call(&self, call: ToolCall<'_>) -> Result<Reply, UnknownTool> {
        let library = Library {
            resolve: &self.parts.resolve,
            search: &self.parts.search,
            caller: call.caller,
        };
        match Builtin::named(call.name) {
            None => {
                let name = call.name;
                let reply = self.invoke(call).await;
                // The dispatcher resolves names; asking twice would cost every good call.
                if is_unknown(&reply) { Err(UnknownTool(shown(name))) } else { Ok(reply) }
            }
            Some(Builtin::Discover) => {
                Ok(builtin::reply(library.discover(call.arguments), call.trace))
            }
            Some(Builtin::Describe) => {
                Ok(builtin::reply(library.describe(call.arguments), call.trace))
            }
            Some(Builtin::Call) => match builtin::forwarded(call.arguments) {
                Err(failure) => Ok(builtin::reply(Err(failure), call.trace)),
                Ok(forwarded) => {
                    let inner = ToolCall {
                        name: &forwarded.tool,
                        arguments: forwarded.arguments(),
                        ..call
                    };
                    let mut reply = self.invoke(inner).await;
                    if is_unknown(&reply) {
                        reply.result = Err(builtin::unknown(&forwarded.tool));
                    }
                    Ok(reply)
                }
            },
        }
    }

    async fn invoke(&self, call: ToolCall<'_>) -> Reply {
        self.parts
            .invoke
            .invoke(Call {
                caller: call.caller.clone(),
                tool: call.name,
                arguments: call.arguments,
                received: call.received,
                timeout: None,
                trace: call.trace,
                progress: call.progress,
            })
            .await
    }
}

fn is_unknown(reply: &Reply) -> bool {
    matches!(&reply.result, Err(Failure { code: ErrorCode::NotFound, executed: false, .. }))
}

/// A name from outside, as much of it as is worth repeating.
fn shown(name: &str) -> String {
    name.chars().take(2 * aop_core::ToolName::LENGTH_MAX).collect()
}
