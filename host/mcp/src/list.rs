//! `tools/list`, from pages that are rendered once per tool set.
//!
//! The order is the built-in tools, then the catalogue in name order. A cursor names the last
//! tool of a page instead of counting, so a client that pages while agents come and go neither
//! misses nor repeats a tool that stayed. Rendered pages are kept while the catalogue hands out the
//! same list; at most [`TENANTS_CACHED_MAX`] tenants' pages are kept.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aop_core::{Failure, Hints, TenantName, Tool, ToolList};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use rmcp::ErrorData;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::config::Expose;
use crate::{builtin, features};

/// Tenants whose pages are kept. Fixed: rendering is cheap, so this only has to stop growth.
pub(crate) const TENANTS_CACHED_MAX: usize = 256;

/// The cursor was not made by this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one that this server gave out: start again without one")]
pub(crate) struct BadCursor;

/// Why no page is given.
#[derive(Debug)]
pub(crate) enum NoPage {
    Cursor(BadCursor),
    /// A quota of the caller's refuses it.
    Over(Failure),
}

impl NoPage {
    /// As an error of the protocol.
    pub(crate) fn error(&self) -> ErrorData {
        match self {
            Self::Cursor(bad) => ErrorData::invalid_params(bad.to_string(), None),
            Self::Over(failure) => features::error(failure),
        }
    }
}

/// One page, ready to be sent.
#[derive(Debug)]
pub(crate) struct Page {
    /// A JSON array of tool definitions.
    pub(crate) tools: Bytes,
    /// The cursor of the next page, if there is one.
    pub(crate) next: Option<String>,
}

/// The pages of every tenant.
#[derive(Debug)]
pub(crate) struct Pages {
    tenants: Mutex<HashMap<TenantName, Arc<Rendered>>>,
    page_size: NonZeroUsize,
    expose: Expose,
}

#[derive(Debug)]
struct Rendered {
    list: Arc<ToolList>,
    pages: Vec<OnceLock<Arc<Page>>>,
}

impl Pages {
    pub(crate) fn new(page_size: NonZeroUsize, expose: Expose) -> Self {
        Self { tenants: Mutex::default(), page_size, expose }
    }

    /// Drops the pages of a tenant that is gone.
    pub(crate) fn forget(&self, tenant: &TenantName) {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).remove(tenant);
    }

    /// The page after `cursor` of a list that the catalogue gave.
    ///
    /// # Errors
    /// [`BadCursor`].
    pub(crate) fn page(
        &self,
        tenant: &TenantName,
        list: &Arc<ToolList>,
        cursor: Option<&str>,
    ) -> Result<Arc<Page>, BadCursor> {
        let start = match cursor {
            None => 0,
            Some(cursor) => {
                let last = decode_cursor(cursor)?;
                self.tools(list).partition_point(|tool| tool.name.as_str() <= last.as_str())
            }
        };
        let size = self.page_size.get();
        if start % size != 0 {
            // The set changed under the client: this page starts where no cached one does.
            return Ok(Arc::new(self.render(list, start)));
        }
        let rendered = self.rendered(tenant, list);
        match rendered.pages.get(start / size) {
            Some(page) => Ok(page.get_or_init(|| Arc::new(self.render(list, start))).clone()),
            None => Ok(Arc::new(self.render(list, start))),
        }
    }

    fn tools<'a>(&self, list: &'a ToolList) -> &'a [Arc<Tool>] {
        match self.expose {
            Expose::All => &list.tools,
            Expose::BuiltinsOnly => &[],
        }
    }

    fn rendered(&self, tenant: &TenantName, list: &Arc<ToolList>) -> Arc<Rendered> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rendered) = tenants.get(tenant)
            && Arc::ptr_eq(&rendered.list, list)
        {
            return rendered.clone();
        }
        if tenants.len() >= TENANTS_CACHED_MAX {
            tenants.clear();
        }
        let count = self.tools(list).len().div_ceil(self.page_size.get()).max(1);
        let pages = std::iter::repeat_with(OnceLock::new).take(count).collect();
        let rendered = Arc::new(Rendered { list: list.clone(), pages });
        tenants.insert(tenant.clone(), rendered.clone());
        rendered
    }

    fn render(&self, list: &ToolList, start: usize) -> Page {
        let tools = self.tools(list);
        let end = start.saturating_add(self.page_size.get()).min(tools.len());
        let shown = tools.get(start..end).unwrap_or_default();
        let mut json = String::from("[");
        if start == 0 {
            json.push_str(&builtin::definitions().join(","));
        }
        for tool in shown {
            if json.len() > 1 {
                json.push(',');
            }
            // Serializing strings, flags and raw JSON cannot fail.
            json.push_str(&serde_json::to_string(&Definition::new(tool)).unwrap_or_default());
        }
        json.push(']');
        let next = shown.last().filter(|_| end < tools.len()).map(|tool| encode_cursor(&tool.name));
        Page { tools: json.into(), next }
    }
}

fn encode_cursor(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("after:{name}"))
}

fn decode_cursor(cursor: &str) -> Result<String, BadCursor> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| BadCursor)?;
    let text = String::from_utf8(bytes).map_err(|_| BadCursor)?;
    text.strip_prefix("after:").map(str::to_owned).ok_or(BadCursor)
}

/// A tool as MCP clients see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Definition<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    description: &'a str,
    input_schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<&'a RawValue>,
    annotations: Annotations,
}

impl<'a> Definition<'a> {
    pub(crate) fn new(tool: &'a Tool) -> Self {
        Self {
            name: &tool.name,
            title: tool.title.as_deref(),
            description: &tool.description,
            input_schema: &tool.input_schema,
            output_schema: tool.output_schema.as_deref(),
            annotations: tool.hints.into(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Annotations {
    #[serde(skip_serializing_if = "Option::is_none")]
    read_only_hint: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destructive_hint: Option<bool>,
    idempotent_hint: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_world_hint: Option<bool>,
}

impl From<Hints> for Annotations {
    fn from(hints: Hints) -> Self {
        Self {
            read_only_hint: hints.read_only,
            destructive_hint: hints.destructive,
            idempotent_hint: hints.idempotent,
            open_world_hint: hints.open_world,
        }
    }
}

#[cfg(test)]
mod tests;
