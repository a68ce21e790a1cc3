//! What a client can be asked, from the capabilities that it declared.

use rmcp::model::{
    ClientCapabilities, ElicitationCapability, FormElicitationCapability, RootsCapabilities,
    SamplingCapability, UrlElicitationCapability,
};

/// Something that a client can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ability {
    /// To let the person fill in a form.
    Form,
    /// To send the person to a page.
    Url,
    /// To let its own model complete a conversation.
    Sample,
    /// The same with tools for the model to ask for.
    SampleWithTools,
    /// To list its roots.
    Roots,
}

impl Ability {
    /// Whether a client with these capabilities has it.
    pub(crate) fn is_in(self, declared: &ClientCapabilities) -> bool {
        match self {
            // An empty capability means forms: it is older than pages.
            Self::Form => declared
                .elicitation
                .as_ref()
                .is_some_and(|elicit| elicit.form.is_some() || elicit.url.is_none()),
            Self::Url => declared.elicitation.as_ref().is_some_and(|elicit| elicit.url.is_some()),
            Self::Sample => declared.sampling.is_some(),
            Self::SampleWithTools => {
                declared.sampling.as_ref().is_some_and(|sampling| sampling.tools.is_some())
            }
            Self::Roots => declared.roots.is_some(),
        }
    }

    /// The capabilities that a client would have to declare.
    pub(crate) fn required(self) -> ClientCapabilities {
        let mut required = ClientCapabilities::default();
        match self {
            Self::Form => {
                let form = FormElicitationCapability::default();
                required.elicitation = Some(ElicitationCapability::new().with_form(form));
            }
            Self::Url => {
                let url = UrlElicitationCapability::default();
                required.elicitation = Some(ElicitationCapability::new().with_url(url));
            }
            Self::Sample => required.sampling = Some(SamplingCapability::default()),
            Self::SampleWithTools => {
                let mut sampling = SamplingCapability::default();
                sampling.tools = Some(serde_json::Map::new());
                required.sampling = Some(sampling);
            }
            Self::Roots => required.roots = Some(RootsCapabilities::default()),
        }
        required
    }

    /// Why a client without it cannot be asked, in words for an agent.
    pub(crate) const fn missing(self) -> &'static str {
        match self {
            Self::Form => "the client offers no forms for people",
            Self::Url => "the client does not send people to pages",
            Self::Sample => "the client offers no model",
            Self::SampleWithTools => "the client's model takes no tools",
            Self::Roots => "the client has no roots",
        }
    }
}
