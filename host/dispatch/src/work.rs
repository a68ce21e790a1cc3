//! What a call's target means now.

use std::sync::Arc;

use aop_core::{Call, ErrorCode, Failure, Resolve, Revision, Route, Target, ToolName};

/// One function of a revision, to be run.
#[derive(Clone)]
pub(crate) struct Work {
    /// Holding it keeps it alive.
    pub(crate) revision: Arc<Revision>,
    /// Index into the component's functions.
    pub(crate) function: usize,
    /// The tool's name, or the feature's.
    pub(crate) name: ToolName,
    /// Whether running it twice does no harm.
    pub(crate) idempotent: bool,
}

impl Work {
    /// Looks the target up.
    ///
    /// # Errors
    /// `not_found`.
    pub(crate) fn find(resolve: &dyn Resolve, call: &Call<'_>) -> Result<Self, Failure> {
        let tenant = &call.caller.tenant;
        match call.target {
            Target::Tool(name) => {
                let route = resolve.resolve(tenant, name).ok_or_else(|| unknown_tool(name))?;
                Ok(Self::along(route))
            }
            Target::Found(route) => Ok(Self::along(route.clone())),
            Target::Feature { agent, feature } => {
                let unknown = || {
                    let shown = &agent[..agent.floor_char_boundary(NAME_ECHO_MAX_BYTES)];
                    not_found(format!("no agent `{shown}` offers {}", feature.as_str()))
                };
                let route = resolve.resolve_feature(tenant, agent, feature).ok_or_else(unknown)?;
                let name = ToolName::new(feature.as_str()).map_err(|error| {
                    Failure::before_execution(ErrorCode::Internal, error.to_string())
                })?;
                // Features only read.
                Ok(Self {
                    revision: route.revision,
                    function: route.function,
                    name,
                    idempotent: true,
                })
            }
        }
    }
}

impl Work {
    fn along(route: Route) -> Self {
        Self {
            function: route.tool.function,
            name: route.tool.name.clone(),
            idempotent: route.tool.hints.idempotent && !route.tool.takes_handles,
            revision: route.revision,
        }
    }
}

/// Longest part of an unknown name that is repeated to the caller.
const NAME_ECHO_MAX_BYTES: usize = 128;

fn unknown_tool(name: &str) -> Failure {
    let shown = &name[..name.floor_char_boundary(NAME_ECHO_MAX_BYTES)];
    not_found(format!("no tool `{shown}`: see tools/list, or search with aop_discover"))
}

fn not_found(message: String) -> Failure {
    Failure::before_execution(ErrorCode::NotFound, message)
}
