//! Settings name a model provider: a mistake there would else show in the first call.

use aop_core::model::ModelBinding;
use aop_core::settings::keys::nearest;
use aop_core::{Origin, Settings};

use crate::registry::Common;

/// What is wrong with the model provider that settings name, for people.
pub(crate) enum ProviderMistake {
    /// There is none of that name.
    Unknown(String),
    /// It would be there if its key were, which is nothing that the settings could mend.
    Keyless(String),
}

impl ProviderMistake {
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Unknown(text) | Self::Keyless(text) => text,
        }
    }
}

impl Common {
    /// What is wrong with the model provider that settings name. Only files, which are the operator's, are told what there is
    /// instead: any tenant may upload, and what the others ask is not for it to know.
    pub(crate) fn provider_mistake(
        &self,
        settings: &Settings,
        origin: &Origin,
    ) -> Option<ProviderMistake> {
        let (model, known) = (settings.model.as_ref()?, self.config.model_providers.as_ref()?);
        let wanted = &model.provider;
        if wanted == ModelBinding::CLIENT {
            return None;
        }
        if let Some(lacking) = known.get(wanted) {
            let variable = lacking.as_ref()?;
            return Some(ProviderMistake::Keyless(format!(
                "`model.provider`: this host has no key for the model provider `{wanted}` and refuses its completions: its operator sets {variable} in the host's environment, or declares the provider below `[model.providers]` in aop.toml"
            )));
        }
        let named = known.keys().map(String::as_str).chain([ModelBinding::CLIENT]);
        let meant = match nearest(wanted, named) {
            Some(meant) => format!(", did you mean `{meant}`?"),
            None => ".".to_owned(),
        };
        let list = match origin {
            Origin::File { .. } => {
                let usable = known.iter().filter(|(_, lacking)| lacking.is_none());
                let names = usable.map(|(name, _)| name.as_str()).chain([ModelBinding::CLIENT]);
                let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
                format!(" It has {}.", names.join(", "))
            }
            _ => String::new(),
        };
        Some(ProviderMistake::Unknown(format!(
            "`model.provider`: this host has no model provider `{wanted}`{meant}{list} Its operator adds one below `[model.providers]` in aop.toml"
        )))
    }
}
