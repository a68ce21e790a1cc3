//! What a component exports, in the host's own words: the schema model.
//!
//! The worker that compiles a component also derives this once and stores it beside the compiled
//! code, so a warm start parses no wasm at all. Types sit in one table and refer to each other by
//! index: a component whose types fan out exponentially when inlined stays as small here as it is
//! in the binary. WIT value types cannot recurse, so every index points at an earlier entry.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Index into [`Interface::types`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TypeId(pub u32);

/// Everything the host knows about a component without running it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// The type table. An entry refers only to entries before it.
    pub types: Vec<TypeDef>,
    /// The resources that its functions use, each once.
    pub resources: Vec<Resource>,
    /// The exported functions that can be tools or offer a feature, in the component's order.
    pub functions: Vec<Function>,
    /// The exported functions that cannot, and why.
    pub refused: Vec<Refusal>,
    /// The interfaces the component imports, such as `wasi:cli/stdout@0.2.6`, sorted.
    pub imports: Vec<String>,
    /// What the component says of itself.
    pub metadata: Metadata,
}

impl Interface {
    /// Looks a type up.
    ///
    /// # Panics
    /// When `id` is not of this interface.
    #[must_use]
    pub fn get(&self, id: TypeId) -> &TypeDef {
        &self.types[id.0 as usize]
    }

    /// For every type, in the order of the table, whether a handle is in it.
    #[must_use]
    pub fn types_with_handles(&self) -> Vec<bool> {
        let mut found: Vec<bool> = Vec::with_capacity(self.types.len());
        for ty in &self.types {
            let has = |id: &TypeId| found.get(id.0 as usize).copied().unwrap_or(false);
            let is_found = match &ty.kind {
                TypeKind::Own(_) | TypeKind::Borrow(_) => true,
                TypeKind::List(of) | TypeKind::FixedList(of, _) | TypeKind::Option(of) => has(of),
                TypeKind::Map(key, value) => has(key) || has(value),
                TypeKind::Tuple(types) => types.iter().any(has),
                TypeKind::Result { ok, err } => ok.iter().chain(err).any(has),
                TypeKind::Record(fields) => fields.iter().any(|field| has(&field.ty)),
                TypeKind::Variant(cases) => {
                    cases.iter().any(|case| case.ty.as_ref().is_some_and(has))
                }
                // Futures and streams carry strings and primitives only.
                _ => false,
            };
            found.push(is_found);
        }
        found
    }
}

/// Index into [`Interface::resources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceId(pub u32);

/// A resource that the component itself exports: callers hold handles of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// The exported instance that it is defined in.
    pub interface: String,
    /// The WIT name.
    pub name: String,
}

/// One entry of the type table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypeDef {
    /// The WIT name, for a named type.
    pub name: Option<String>,
    /// The doc comment, when the component carries its WIT.
    pub docs: Option<String>,
    /// The structure.
    pub kind: TypeKind,
}

/// The structure of a WIT value type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the variants are WIT's own types")]
pub enum TypeKind {
    Bool,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F32,
    F64,
    Char,
    String,
    List(TypeId),
    FixedList(TypeId, u32),
    Map(TypeId, TypeId),
    Tuple(Vec<TypeId>),
    Option(TypeId),
    Result {
        ok: Option<TypeId>,
        err: Option<TypeId>,
    },
    Record(Vec<Field>),
    Variant(Vec<Case>),
    Enum(Vec<Label>),
    Flags(Vec<Label>),
    /// A handle that is given away: to the caller as a result, by the caller as an argument.
    Own(ResourceId),
    /// A handle that is lent for a call: only in arguments.
    Borrow(ResourceId),
    /// Only as a function's result.
    Future(Option<TypeId>),
    /// Only as a function's result, of strings or primitives.
    Stream(TypeId),
}

/// A field of a record, or a parameter of a function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// The WIT name, in kebab-case as the component has it.
    pub name: String,
    /// The doc comment.
    pub docs: Option<String>,
    /// The type.
    pub ty: TypeId,
}

/// A case of a variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The WIT name.
    pub name: String,
    /// The doc comment.
    pub docs: Option<String>,
    /// The payload.
    pub ty: Option<TypeId>,
}

/// A case of an enum, or a flag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The WIT name.
    pub name: String,
    /// The doc comment.
    pub docs: Option<String>,
}

/// A function of the standard interfaces by which an agent offers more than tools
/// (`aop:agent/resources`, `prompts`, `completion` and `skills`). New ones go to the end: nodes of a zone count them in
/// this order, and one of an earlier version leaves out those that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the variants are functions of aop:agent, documented there")]
pub enum Feature {
    ResourcesList,
    ResourcesTemplates,
    ResourcesRead,
    PromptsList,
    PromptsGet,
    CompletionComplete,
    SkillsList,
    SkillsGet,
}

impl Feature {
    /// Every feature with the interface and the function that offers it.
    pub const ALL: [(Self, &'static str, &'static str); 8] = [
        (Self::ResourcesList, "aop:agent/resources", "list"),
        (Self::ResourcesTemplates, "aop:agent/resources", "templates"),
        (Self::ResourcesRead, "aop:agent/resources", "read"),
        (Self::PromptsList, "aop:agent/prompts", "list"),
        (Self::PromptsGet, "aop:agent/prompts", "get"),
        (Self::CompletionComplete, "aop:agent/completion", "complete"),
        (Self::SkillsList, "aop:agent/skills", "list"),
        (Self::SkillsGet, "aop:agent/skills", "get"),
    ];

    /// The feature that a function of an interface offers. The interface's version does not matter here.
    #[must_use]
    pub fn named(interface: &str, function: &str) -> Option<Self> {
        let interface = interface.split('@').next()?;
        let offers = |&&(_, of, name): &&(Self, &str, &str)| (of, name) == (interface, function);
        Self::ALL.iter().find(offers).map(|(feature, ..)| *feature)
    }

    /// As it is called in metrics and logs, where a tool's name would stand.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ResourcesList => "resources_list",
            Self::ResourcesTemplates => "resources_templates",
            Self::ResourcesRead => "resources_read",
            Self::PromptsList => "prompts_list",
            Self::PromptsGet => "prompts_get",
            Self::CompletionComplete => "completion_complete",
            Self::SkillsList => "skills_list",
            Self::SkillsGet => "skills_get",
        }
    }
}

/// An exported function that can be a tool, or offers a feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// The exported instance it lives in, such as `acme:text/kit@1.0.0`; none for a root function.
    pub interface: Option<String>,
    /// The WIT name.
    pub name: String,
    /// The parameters, in order.
    pub parameters: Vec<Field>,
    /// The result type; none when the function returns nothing.
    pub result: Option<TypeId>,
    /// Whether it is lifted as `async`.
    pub is_async: bool,
    /// The doc comment, when the component carries its WIT.
    pub docs: Option<String>,
    /// The function as WIT text: `summarize: func(text: string) -> result<string, string>`.
    pub signature: String,
}

impl Function {
    /// What stands before a resource's name for the function that drops one. It is in no WIT and no component
    /// exports it: the host has it for every resource.
    pub const DROP: &str = "[resource-drop]";

    /// The name as a person writes it: `blob.write` for the method `[method]blob.write`, `blob.new` for a
    /// constructor, `blob.drop` for what ends it, and the name itself for any other function.
    #[must_use]
    pub fn spelling(&self) -> Cow<'_, str> {
        let name = self.name.as_str();
        if let Some(resource) = name.strip_prefix("[constructor]") {
            return Cow::Owned(format!("{resource}.new"));
        }
        if let Some(resource) = name.strip_prefix(Self::DROP) {
            return Cow::Owned(format!("{resource}.drop"));
        }
        let member = name.strip_prefix("[method]").or_else(|| name.strip_prefix("[static]"));
        Cow::Borrowed(member.unwrap_or(name))
    }

    /// Whether it drops the resource that it is given, which the component has no function for.
    #[must_use]
    pub fn is_drop(&self) -> bool {
        self.name.starts_with(Self::DROP)
    }

    /// Which feature the function offers; none for one that can be a tool.
    #[must_use]
    pub fn feature(&self) -> Option<Feature> {
        Feature::named(self.interface.as_deref()?, &self.name)
    }

    /// Identifies the function within its component: `interface#name`, or `name` at the root.
    #[must_use]
    pub fn path(&self) -> String {
        match &self.interface {
            Some(interface) => format!("{interface}#{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// An exported function that cannot be a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// [`Function::path`] of the function.
    pub function: String,
    /// Which type or name is the obstacle, and what to do.
    pub reason: String,
}

/// What a component says of itself in its custom sections (untrusted text, bounded).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Its name.
    pub name: Option<String>,
    /// One or more sentences.
    pub description: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its authors.
    pub authors: Option<String>,
    /// SPDX expression.
    pub licenses: Option<String>,
    /// The documentation of its world, when it carries its WIT.
    pub world_docs: Option<String>,
}
