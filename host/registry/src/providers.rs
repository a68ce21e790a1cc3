//! Settings name a model provider: a mistake there would else show in the first call.

use aop_core::model::ModelBinding;
use aop_core::settings::keys::nearest;
use aop_core::{Origin, Settings};

use crate::registry::Common;

impl Common {
    /// What is wrong with the model provider that settings name. Only files, which are the operator's, are told what there is
    /// instead: any tenant may upload, and what the others ask is not for it to know.
    pub(crate) fn unknown_provider(&self, settings: &Settings, origin: &Origin) -> Option<String> {
        let (model, known) = (settings.model.as_ref()?, self.config.model_providers.as_ref()?);
        let wanted = &model.provider;
        if wanted == ModelBinding::CLIENT || known.contains(wanted) {
            return None;
        }
        let known = || known.iter().map(String::as_str).chain([ModelBinding::CLIENT]);
        let meant = match nearest(wanted, known()) {
            Some(meant) => format!(", did you mean `{meant}`?"),
            None => ".".to_owned(),
        };
        let list = match origin {
            Origin::File { .. } => {
                let names: Vec<_> = known().map(|name| format!("`{name}`")).collect();
                format!(" It has {}.", names.join(", "))
            }
            _ => String::new(),
        };
        Some(format!(
            "`model.provider`: this host has no model provider `{wanted}`{meant}{list} Its operator adds one below `[model.providers]` in aop.toml"
        ))
    }
}
