//! What is written down of agents that come from files: nobody asked for it but whoever changed them.

use aop_core::audit::{Action, Outcome};
use aop_core::{AgentName, AgentRecord, AuditEvent, Origin};

use crate::RegistryError;
use crate::load::{Draft, Write};
use crate::registry::OfTenant;

impl OfTenant {
    /// A host that starts finds most agents as it left them, which is nobody's deed.
    pub(crate) fn note_new_revision(&self, name: &AgentName, draft: &Draft, record: &AgentRecord) {
        let is_of_file = matches!(draft.origin, Origin::File { .. });
        let known = self.agents.record(name).map(|known| known.active);
        if is_of_file && matches!(draft.write, Write::Append) && known != Some(record.active) {
            self.common.parts.audit.note(AuditEvent {
                tenant: Some(&self.tenant),
                agent: Some(name),
                detail: &format!("revision {} from its file", record.active),
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
