//! What this server says that it can do.

use rmcp::ErrorData;
use rmcp::model::{
    JsonObject, PromptsCapability, ResourcesCapability, SKILLS_EXTENSION_ID, ServerCapabilities,
    TASKS_EXTENSION_ID, ToolsCapability,
};
use rmcp::service::{RequestContext, RoleServer};

use super::arrival;
use crate::edge::Edge;
use crate::features::skills;

/// What this server can do. Lists may be empty: agents come and go, capabilities cannot.
pub(super) fn all(has_tasks: bool) -> ServerCapabilities {
    let mut capabilities =
        ServerCapabilities::builder().enable_skills_with_directory_read().build();
    let mut tools = ToolsCapability::default();
    tools.list_changed = Some(true);
    let mut prompts = PromptsCapability::default();
    prompts.list_changed = Some(true);
    let mut resources = ResourcesCapability::default();
    resources.list_changed = Some(true);
    resources.subscribe = Some(true);
    capabilities.tools = Some(tools);
    capabilities.prompts = Some(prompts);
    capabilities.resources = Some(resources);
    capabilities.completions = Some(JsonObject::new());
    capabilities.logging = Some(JsonObject::new());
    if has_tasks {
        let extensions = capabilities.extensions.get_or_insert_default();
        extensions.insert(TASKS_EXTENSION_ID.to_owned(), JsonObject::new());
    }
    capabilities
}

/// Takes the extension for skills out of what a caller is told where nobody offers any. Its methods are there in
/// any case: agents come and go, and a session is told once.
pub(super) fn narrow(
    capabilities: &mut ServerCapabilities,
    edge: &Edge,
    context: &RequestContext<RoleServer>,
) -> Result<(), ErrorData> {
    if skills::are_offered(edge, &arrival(&context.extensions)?.caller) {
        return Ok(());
    }
    if let Some(extensions) = &mut capabilities.extensions {
        extensions.remove(SKILLS_EXTENSION_ID);
    }
    capabilities.extensions.take_if(|extensions| extensions.is_empty());
    Ok(())
}

/// Takes the extension for tasks out: it is not defined in the revisions that have sessions (SEP-2663, backward
/// compatibility).
pub(super) fn without_tasks(capabilities: &mut ServerCapabilities) {
    if let Some(extensions) = &mut capabilities.extensions {
        extensions.remove(TASKS_EXTENSION_ID);
    }
    capabilities.extensions.take_if(|extensions| extensions.is_empty());
}
