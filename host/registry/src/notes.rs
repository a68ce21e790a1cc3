//! What is written down of agents that come from files: nobody asked for it but whoever changed them.

use aop_core::audit::{Action, Outcome};
use aop_core::{AgentName, AgentRecord, AuditEvent, Digest, Origin, Settings};

use crate::RegistryError;
use crate::load::{Draft, Write};
use crate::registry::OfTenant;

impl OfTenant {
    /// A host that starts finds most agents as it left them, which is nobody's deed.
    pub(crate) fn note_new_revision(&self, name: &AgentName, draft: &Draft, record: &AgentRecord) {
        let is_of_file = matches!(draft.origin, Origin::File { .. });
        let known = self.agents.record(name).map(|known| known.active);
        if is_of_file && matches!(draft.write, Write::Append) && known != Some(record.active) {
            let new = (&draft.digest, &*draft.settings);
            let mut detail = format!("revision {} from its file", record.active);
            if let Some(serving) = self.agents.serving(name) {
                let changed = changed((&serving.digest, &serving.settings), new);
                if !changed.is_empty() {
                    detail.push_str(&format!("; changed: {}", changed.join(", ")));
                }
            }
            self.common.parts.audit.note(AuditEvent {
                tenant: Some(&self.tenant),
                agent: Some(name),
                detail: &detail,
                ..AuditEvent::of_host(Action::AgentLoad, &draft.digest.to_string())
            });
        }
    }

    /// Writes down what became of an agent's file.
    pub(crate) fn note_file<T>(
        &self,
        action: Action,
        name: &AgentName,
        outcome: &Result<T, RegistryError>,
    ) {
        let (action, subject, outcome, reason) = match outcome {
            Ok(_) => (action, "", Outcome::Done, String::new()),
            Err(error @ RegistryError::Refused { setting, .. }) => {
                (Action::PolicyRefuse, *setting, Outcome::Refused, error.to_string())
            }
            Err(error) => (action, "", Outcome::Failed, error.to_string()),
        };
        self.common.parts.audit.note(AuditEvent {
            outcome,
            tenant: Some(&self.tenant),
            agent: Some(name),
            detail: &reason,
            ..AuditEvent::of_host(action, subject)
        });
    }
}

/// What differs between two revisions, as an operator finds it in `NAME.toml`.
fn changed(
    (old_digest, old): (&Digest, &Settings),
    (new_digest, new): (&Digest, &Settings),
) -> Vec<&'static str> {
    let parts = [
        ("the component", old_digest != new_digest),
        ("[policy]", old.policy != new.policy),
        ("[model]", old.model != new.model),
        ("share", old.share != new.share),
        ("[export]", old.export != new.export),
        ("[quota]", old.quota != new.quota),
        ("the signature", old.signature != new.signature),
    ];
    let Settings { policy, model, share, export, quota, signature, .. } = old.clone();
    let others = Settings { policy, model, share, export, quota, signature, ..new.clone() };
    let others = ("other settings", others != *old);
    parts
        .into_iter()
        .chain([others])
        .filter(|(_, differs)| *differs)
        .map(|(part, _)| part)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_policy_is_told_from_other_settings() {
        let settings = |text: &str| Settings::from_toml(text).unwrap();
        let (first, second) = (Digest::of(b"1"), Digest::of(b"2"));
        let old = settings("timeout = \"5s\"\n");
        let granting = settings("timeout = \"5s\"\n[policy]\ntools = [\"b_*\"]\n");
        assert_eq!(changed((&first, &old), (&first, &granting)), ["[policy]"]);
        assert_eq!(changed((&first, &old), (&second, &old)), ["the component"]);
        let shared = settings("share = [\"acme\"]\n");
        assert_eq!(changed((&first, &old), (&first, &shared)), ["share", "other settings"]);
        assert!(changed((&first, &old), (&first, &old)).is_empty());
    }
}
