//! `aop:agent/changes`: tells clients that what the agent offers has changed.
//!
//! An agent speaks only for itself: a URI must be in the scheme that is its name, or be of one of its skills. How much it tells
//! during one call is bounded, since every client that subscribed is told. While it is asked what it offers it tells
//! nothing: clients ask again when they are told, and a list that said so of itself would be asked for without end.

use aop_core::Offer;

use crate::binding::agent_0_1_0::changes;
use crate::guest::Guest;
use crate::state::State;

/// Changes that one call may tell: a call that changes more says that the list changed.
const CHANGES_PER_CALL_MAX: u32 = 256;

impl changes::Host for State {
    async fn resource_updated(&mut self, uri: String) -> wasmtime::Result<Result<(), String>> {
        let context = self.guest.context()?;
        if let Err(rule) = check(context.agent.as_str(), &uri) {
            return Ok(Err(rule));
        }
        self.guest.tell(Offer::Resource(uri))
    }

    async fn resources_changed(&mut self) -> wasmtime::Result<()> {
        self.guest.tell(Offer::Resources).map(drop)
    }

    async fn prompts_changed(&mut self) -> wasmtime::Result<()> {
        self.guest.tell(Offer::Prompts).map(drop)
    }
}

impl Guest {
    pub(crate) fn tell(&mut self, offer: Offer) -> wasmtime::Result<Result<(), String>> {
        let serving = self.serving()?;
        if serving.feature.is_some() {
            return Ok(Ok(()));
        }
        if serving.changes == CHANGES_PER_CALL_MAX {
            return Ok(Err(format!(
                "one call may tell {CHANGES_PER_CALL_MAX} changes at most: say that the list changed instead"
            )));
        }
        serving.changes += 1;
        let context = &serving.context;
        for listener in context.services.iter().flat_map(|services| &services.listeners) {
            listener.offer_changed(&context.caller.tenant, offer.clone());
        }
        Ok(Ok(()))
    }
}

/// Whether a URI is the agent's own.
///
/// # Errors
/// The rule that it breaks.
fn check(agent: &str, uri: &str) -> Result<(), String> {
    let is_own = Offer::owner(uri) == Some(agent)
        && !uri.ends_with(':')
        && uri.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_own {
        return Err(format!(
            "the URI must be one of the agent's own, like `{agent}://path` or `skill://{agent}/name/SKILL.md`"
        ));
    }
    if uri.len() > Offer::URI_MAX_BYTES {
        return Err(format!("the URI has more than {} bytes", Offer::URI_MAX_BYTES));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_speaks_for_its_own_uris_only() {
        assert_eq!(check("notes", "notes://a/b?c#d"), Ok(()));
        assert_eq!(check("notes", "skill://notes/weekly/SKILL.md"), Ok(()));
        let long = format!("notes://{}", "x".repeat(Offer::URI_MAX_BYTES));
        for uri in [
            "",
            "notes",
            "notes:",
            "note://a",
            "notes2://a",
            "NOTES://a",
            "notes://a b",
            "skill://other/weekly/SKILL.md",
            "skill:notes",
            "skill://",
            &long,
        ] {
            assert!(check("notes", uri).is_err(), "{uri}");
        }
        assert!(check("skill", "skill://other/weekly/SKILL.md").is_err());
    }
}
