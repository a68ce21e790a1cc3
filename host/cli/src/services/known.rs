//! Who serves models under a configuration, and with which key, for those who ask without a host.

use std::collections::BTreeMap;

use aop_core::model::ModelBinding;

use super::{ServicesConfig, WELL_KNOWN, key_in};
use crate::environment;

/// The providers of a configuration, with the words for their keys.
pub(crate) struct KnownProviders(BTreeMap<String, String>);

impl KnownProviders {
    pub(crate) fn of(config: &ServicesConfig) -> Self {
        Self::among(config, &environment::texts())
    }

    fn among(config: &ServicesConfig, environment: &BTreeMap<String, String>) -> Self {
        let well_known = WELL_KNOWN.iter().map(|(name, _, _, variable)| {
            let is_set = |name: &&str| key_in(environment, name).is_some();
            let words = match variable {
                // The environment of the host that is meant may be another.
                Some(name) if !is_set(name) => {
                    format!(
                        "{}, which is not set here: a host without it refuses every completion",
                        key(None, Some(name))
                    )
                }
                variable => key(None, *variable),
            };
            ((*name).to_owned(), words)
        });
        let mut known: BTreeMap<_, _> = well_known.collect();
        let declared = config.providers.iter().map(|(name, provider)| {
            let secret = provider.key_secret.as_ref().map(|name| name.as_str());
            (name.clone(), key(secret, provider.key_env.as_deref()))
        });
        known.extend(declared);
        Self(known)
    }

    /// Whether a model can be had, and with which key.
    pub(crate) fn say(&self, model: &ModelBinding) -> (bool, String) {
        let ModelBinding { provider, name, .. } = model;
        if provider == ModelBinding::CLIENT {
            return (true, format!("{name} of {provider}, the model of whoever calls"));
        }
        if let Some(key) = self.0.get(provider) {
            return (true, format!("{name} of {provider}, with {key}"));
        }
        let known: Vec<_> = self.0.keys().map(|name| format!("`{name}`")).collect();
        let words = format!(
            "this configuration has no model provider `{provider}`, only {} and `{}`: correct `provider` under `[model]`, or add it below `[model.providers]` in aop.toml",
            known.join(", "),
            ModelBinding::CLIENT
        );
        (false, words)
    }
}

fn key(secret: Option<&str>, variable: Option<&str>) -> String {
    let secret = secret.map(|name| format!("its tenant's secret `{name}`"));
    let variable = variable.map(|name| format!("{name} of the host's environment"));
    match (secret, variable) {
        (Some(secret), Some(variable)) => format!("the key in {secret}, else in {variable}"),
        (Some(one), None) | (None, Some(one)) => format!("the key in {one}"),
        (None, None) => "no key".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Provider;

    #[test]
    fn a_model_is_said_with_its_key_or_with_what_there_is_instead() {
        let mut config = ServicesConfig::default();
        let both = Provider {
            key_secret: Some("MODEL_KEY".parse().unwrap()),
            key_env: Some("GATEWAY_KEY".to_owned()),
            ..Provider::default()
        };
        config.providers.insert("gateway".to_owned(), both);
        let own = [("OPENAI_API_KEY".to_owned(), "sk-secret".to_owned())].into();
        let known = KnownProviders::among(&config, &own);
        let say = |provider: &str| {
            let text = format!("[model]\nprovider = \"{provider}\"\nname = \"m-1\"\n");
            let settings = aop_core::Settings::from_toml(&text).unwrap();
            known.say(&settings.model.unwrap())
        };
        for (provider, words) in [
            ("ollama", "m-1 of ollama, with no key"),
            ("openai", "m-1 of openai, with the key in OPENAI_API_KEY of the host's environment"),
            (
                "anthropic",
                "m-1 of anthropic, with the key in ANTHROPIC_API_KEY of the host's environment, which is not set here: a host without it refuses every completion",
            ),
            (
                "gateway",
                "m-1 of gateway, with the key in its tenant's secret `MODEL_KEY`, else in GATEWAY_KEY of the host's environment",
            ),
            ("client", "m-1 of client, the model of whoever calls"),
        ] {
            assert_eq!(say(provider), (true, words.to_owned()));
        }
        let (allowed, words) = say("opnai");
        assert!(
            !allowed && words.contains("`gateway`, `ollama`, `openai` and `client`"),
            "{words}"
        );
    }
}
