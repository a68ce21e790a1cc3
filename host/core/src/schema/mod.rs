//! From the schema model to JSON Schema, tool names and tools.
//!
//! [`ToolSet::new`] turns what a component exports and what its settings say into the tools of a
//! revision. Everything that a model API could refuse is found here, when an agent is loaded, and
//! named together with its fix; nothing is truncated. Bounds: [`SCHEMAS_MAX_BYTES`] for all schemas
//! of an agent, and per schema those of the renderer.

mod features;
mod headers;
pub mod lint;
mod names;
mod render;
mod shape;
mod standard;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::interface::{Feature, Function, Interface, Refusal, TypeId};
use crate::model::ModelBinding;
use crate::settings::ToolSettings;
use crate::{AgentName, Hints, RepeatedParameter, Settings, Tool, ToolName};

pub use render::{input_schema, output_schema};
pub use shape::{ResultError, ResultShape, ResultValue};

/// Bytes of all schemas of one agent: a thousand tools of ordinary size, and a bound on what a
/// hostile component can make the host keep.
pub const SCHEMAS_MAX_BYTES: usize = 8 << 20;

/// The most characters of a parameter name that model APIs accept as a property key.
const PARAMETER_NAME_LENGTH_MAX: usize = 64;

/// Why there are no tools.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Every mistake in the settings, each with its fix.
    #[error("{}", .0.join("\n"))]
    Settings(Vec<String>),
    /// A schema that no client would read.
    #[error("its schema has more than {} KiB: give it simpler types", render::SCHEMA_MAX_BYTES >> 10)]
    TooLarge,
    /// A schema is not JSON. This is a defect of the host.
    #[error("its schema is not JSON: {0}")]
    Malformed(serde_json::Error),
}

/// A WIT identifier as it is spelt in JSON and in tool names: `-` becomes `_`, and so does
/// the point between a resource and its function; case is kept. Two identifiers never become one, since WIT has no `_`.
#[must_use]
pub fn identifier(wit: &str) -> String {
    wit.replace(['-', '.'], "_")
}

/// What a revision publishes.
#[derive(Debug, Clone, Default)]
pub struct ToolSet {
    /// The tools, in name order.
    pub tools: Vec<Arc<Tool>>,
    /// What else the agent offers, in order: index into `Interface::functions`.
    pub features: BTreeMap<Feature, usize>,
    /// The exported functions that are not tools, and why.
    pub refused: Vec<Refusal>,
    /// Every name each function was ever published under, this revision's included: the first is
    /// the one it is listed as unless settings rename it, the others stay callable.
    pub published: BTreeMap<String, Vec<ToolName>>,
    /// What works here but may not with every client or model.
    pub warnings: Vec<String>,
}

impl ToolSet {
    /// Names and describes the tools of an agent. `published` is what its earlier revisions
    /// published: a function keeps the first name it had.
    ///
    /// # Errors
    /// [`SchemaError::Settings`] with every mistake in the settings at once.
    pub fn new(
        interface: &Interface,
        agent: &AgentName,
        settings: &Settings,
        published: &BTreeMap<String, Vec<ToolName>>,
    ) -> Result<Self, SchemaError> {
        let mut set = Self { refused: interface.refused.clone(), ..Self::default() };
        set.find_features(interface);
        let converses = converses(interface, settings);
        let with_handles = interface.types_with_handles();
        let (said, mut mistakes) = names::assign_settings(interface, settings, &mut set.warnings);
        mistakes.extend(headers::mistakes(interface, &said));
        let mut bodies = set.render_all(interface, settings, &said);
        let candidates: Vec<_> = bodies.iter().map(|body| body.function).collect();
        let named = names::assign_names(interface, agent, &said, &candidates, published);
        mistakes.extend(named.mistakes);
        if !mistakes.is_empty() {
            return Err(SchemaError::Settings(mistakes));
        }
        set.refused.extend(named.refused);
        set.published = named.published;
        for (function, name) in named.listed {
            if let Some(at) = bodies.iter().position(|body| body.function == function) {
                let body = bodies.swap_remove(at);
                set.tools.push(Arc::new(body.named(name, converses, &with_handles)));
            }
        }
        set.tools.sort_by(|a, b| a.name.cmp(&b.name));
        set.warn();
        Ok(set)
    }

    /// The functions that offer a feature. One that is called like it and has other types is refused.
    fn find_features(&mut self, interface: &Interface) {
        for (index, function) in interface.functions.iter().enumerate() {
            let Some(feature) = function.feature() else { continue };
            match features::misfit(interface, function, feature) {
                None => {
                    self.features.insert(feature, index);
                }
                Some(reason) => self.refused.push(Refusal { function: function.path(), reason }),
            }
        }
    }

    /// Everything of a tool but its name. A function whose schema cannot be is refused alone.
    fn render_all<'a>(
        &mut self,
        interface: &'a Interface,
        settings: &'a Settings,
        said: &[Option<&'a ToolSettings>],
    ) -> Vec<Body<'a>> {
        let mut bodies = Vec::new();
        let mut bytes_left = SCHEMAS_MAX_BYTES;
        for (index, function) in interface.functions.iter().enumerate() {
            if function.feature().is_some() {
                continue;
            }
            let said = said.get(index).copied().flatten();
            match Body::new(interface, index, function, settings, said, &mut bytes_left) {
                Ok(body) => bodies.push(body),
                Err(reason) => self.refused.push(Refusal { function: function.path(), reason }),
            }
        }
        bodies
    }

    fn warn(&mut self) {
        if self.tools.is_empty() && self.features.is_empty() {
            self.warnings.push("the component exports no function that can be a tool".to_owned());
        }
        for tool in &self.tools {
            if tool.name.len() > ToolName::LENGTH_COMFORTABLE {
                self.warnings.push(format!(
                    "tool `{}`: its name has more than {} characters, which clients that add a prefix may not accept; set a shorter one with `[tools.<function>] name = \"…\"`",
                    tool.name,
                    ToolName::LENGTH_COMFORTABLE,
                ));
            }
            for finding in lint::tool(tool) {
                self.warnings.push(format!("tool `{}`: {finding}", tool.name));
            }
        }
    }
}

/// A tool without its name.
struct Body<'a> {
    function: usize,
    wit: &'a Function,
    said: Option<&'a ToolSettings>,
    description: &'a str,
    input: Box<RawValue>,
    output: Option<Box<RawValue>>,
    headers: Vec<RepeatedParameter>,
}

impl<'a> Body<'a> {
    fn new(
        interface: &Interface,
        index: usize,
        function: &'a Function,
        settings: &'a Settings,
        said: Option<&'a ToolSettings>,
        bytes_left: &mut usize,
    ) -> Result<Self, String> {
        let too_long =
            function.parameters.iter().find(|p| p.name.len() > PARAMETER_NAME_LENGTH_MAX);
        if let Some(parameter) = too_long {
            return Err(format!(
                "parameter `{}` has more than {PARAMETER_NAME_LENGTH_MAX} characters, which model APIs do not accept: rename it in the WIT",
                parameter.name
            ));
        }
        // An agent that is one tool is described by its own description (the paper's d).
        let tools = interface.functions.iter().filter(|function| function.feature().is_none());
        let is_the_agent = function.name == "run" && tools.count() == 1;
        let description = said
            .and_then(|said| said.description.as_deref())
            .or(settings.description.as_deref().filter(|_| is_the_agent))
            .or(function.docs.as_deref())
            .unwrap_or(&function.signature);
        let headers = said.map(|said| headers::of(function, said)).unwrap_or_default();
        Ok(Self {
            function: index,
            wit: function,
            said,
            description,
            input: take(bytes_left, || input_schema(interface, function, &headers))?,
            headers,
            output: (!ResultShape::of(interface, function).is_content)
                .then(|| take(bytes_left, || output_schema(interface, function)))
                .transpose()?,
        })
    }

    fn named(self, name: ToolName, converses: bool, with_handles: &[bool]) -> Tool {
        let said = self.said.cloned().unwrap_or_default();
        let has_handle = |ty: TypeId| with_handles.get(ty.0 as usize).copied().unwrap_or(false);
        let takes_handles = self.wit.parameters.iter().any(|parameter| has_handle(parameter.ty));
        Tool {
            name,
            title: said.title,
            description: self.description.to_owned(),
            input_schema: self.input,
            output_schema: self.output,
            signature: self.wit.signature.clone(),
            hints: Hints {
                idempotent: said.idempotent,
                read_only: said.read_only,
                destructive: said.destructive,
                open_world: said.open_world,
            },
            task: said.task,
            headers: self.headers,
            converses,
            takes_handles,
            function: self.function,
        }
    }
}

/// Whether a call of the agent can come to ask its client: by itself, through the agents that it calls, or
/// because the client's own model is its model.
fn converses(interface: &Interface, settings: &Settings) -> bool {
    let imports = |name: &str| {
        let names = interface.imports.iter();
        names.filter_map(|import| import.split('@').next()).any(|import| import == name)
    };
    let asks_the_clients_model =
        settings.model.as_ref().is_some_and(|model| model.provider == ModelBinding::CLIENT);
    imports("aop:agent/elicit")
        || imports("aop:agent/client")
        || imports("aop:agent/tools")
        || (imports("aop:agent/model") && asks_the_clients_model)
}

/// Renders a schema out of what the agent has left. One that is too large has cost its limit, so
/// that a thousand of them do not take the host a thousand times that long.
fn take(
    bytes_left: &mut usize,
    render: impl FnOnce() -> Result<Box<RawValue>, SchemaError>,
) -> Result<Box<RawValue>, String> {
    if *bytes_left > 0 {
        let schema = render();
        let bytes = schema.as_ref().map_or(render::SCHEMA_MAX_BYTES, |schema| schema.get().len());
        *bytes_left = bytes_left.saturating_sub(bytes);
        if *bytes_left > 0 {
            return schema.map_err(|error| error.to_string());
        }
    }
    Err(format!(
        "the schemas of this agent have more than {} MiB together: split it into several agents",
        SCHEMAS_MAX_BYTES >> 20
    ))
}

#[cfg(test)]
mod tests;
