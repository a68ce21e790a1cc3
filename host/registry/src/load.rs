//! Brings one agent from bytes to a tool set that could serve: read, keep the bytes, compile,
//! derive. Nothing of it is visible yet but the attempt itself; dropping it undoes that.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aop_core::audit::Action;
use aop_core::fair::Permits;
use aop_core::policy::ceiling::Excess;
use aop_core::quota::Payer;
use aop_core::schema::ToolSet;
use aop_core::supply::Provenance;
use aop_core::{
    AgentId, AgentName, AgentRecord, Artifact, Digest, LoadRequest, Origin, Prepared,
    RevisionNumber, Settings, Store,
};

use crate::RegistryError;
use crate::agents::{About, Begun, CEILING, report};
use crate::components::Kept;
use crate::providers::ProviderMistake;
use crate::registry::OfTenant;
use crate::source::{self, Found, Source, Written};
use crate::turn::Turn;

/// An agent that is ready to serve, once its names are claimed and the store has it.
pub(crate) struct Ready {
    pub(crate) begun: Begun,
    pub(crate) draft: Draft,
    /// Why this is an older revision than the one that was asked for.
    pub(crate) despite: Option<RegistryError>,
    pub(crate) turn: Turn,
}

/// A revision that does not exist yet.
pub(crate) struct Draft {
    pub(crate) origin: Origin,
    /// The identity that a new agent gets; none for a fresh one.
    pub(crate) id: Option<AgentId>,
    pub(crate) digest: Digest,
    pub(crate) settings: Arc<Settings>,
    pub(crate) prepared: Prepared,
    pub(crate) payer: Arc<Payer>,
    pub(crate) set: ToolSet,
    pub(crate) provenance: Option<Provenance>,
    pub(crate) write: Write,
    /// Revisions of the agent that are kept once it is written, itself included.
    pub(crate) kept: usize,
    /// Held until the store refers to the component.
    pub(crate) _kept: Kept,
}

/// What the store has to do before the revision serves.
pub(crate) enum Write {
    /// Append it.
    Append,
    /// Nothing: it is the stored active one.
    Nothing(Box<AgentRecord>),
    /// Make it the active one.
    Activate { number: RevisionNumber, pinned_against: Option<Digest> },
}

impl OfTenant {
    /// Loads an agent from its file. None when there is nothing to publish: the file is what serves,
    /// a newer look supersedes this one, or it failed, which its status says.
    pub(crate) async fn load_file(&self, name: &AgentName, found: &Found) -> Option<Ready> {
        let turn = self.turns.take(name).await;
        if !self.reconciler().is_current(name, found) {
            return None;
        }
        if self.agents.origin(name) == Some(Origin::Api) {
            // It was loaded through the API since the look; the next one reports the file.
            self.look_again_at(name);
            return None;
        }
        let begun = self.agents.begin(name, Origin::File { path: found.path.clone() });
        match self.draft_of_file(&begun, found).await {
            Ok(Some(draft)) => Some(Ready { begun, draft, despite: None, turn }),
            Ok(None) => {
                begun.unchanged();
                None
            }
            Err(RegistryError::Changed(_)) => {
                drop(begun);
                self.look_again_at(name);
                None
            }
            Err(error) => self.fall_back(turn, begun, error).await,
        }
    }

    /// Loads the active revision of an agent from the data directory.
    pub(crate) async fn load_stored(&self, name: &AgentName) -> Option<Ready> {
        let turn = self.turns.take(name).await;
        if self.agents.serving(name).is_some() {
            // Somebody loaded it meanwhile.
            return None;
        }
        let record = self.agents.record(name)?;
        let begun = self.agents.begin(name, record.origin.clone());
        match self.draft_of_active(&begun, record).await {
            Ok(draft) => Some(Ready { begun, draft, despite: None, turn }),
            Err(error) => {
                self.refuse(begun, &error, None);
                None
            }
        }
    }

    /// The newest revision of a file cannot serve. What serves goes on; when nothing does, because
    /// the host has just started, what served before comes back.
    pub(crate) async fn fall_back(
        &self,
        turn: Turn,
        begun: Begun,
        error: RegistryError,
    ) -> Option<Ready> {
        let serves = self.agents.serving(begun.name()).is_some();
        let record = self.agents.record(begun.name()).filter(|_| !serves);
        let Some(mut record) = record else {
            self.refuse(begun, &error, None);
            return None;
        };
        // Shown as the file that was tried.
        record.origin = self.agents.origin(begun.name()).unwrap_or(record.origin);
        match self.draft_of_active(&begun, record).await {
            Ok(draft) => {
                self.common.load_failures.fetch_add(1, Ordering::Relaxed);
                self.note_failure(begun.name(), &error);
                report(About { name: begun.name(), digest: None }, &error);
                Some(Ready { begun, draft, despite: Some(error), turn })
            }
            Err(also) => {
                let agent_name = begun.name();
                tracing::warn!(%agent_name, error = %also, "the stored revision could not be loaded either");
                self.refuse(begun, &error, None);
                None
            }
        }
    }

    /// Ends an attempt that failed. An agent of the API that never served leaves nothing: whoever
    /// sent it has the answer.
    pub(crate) fn refuse(&self, begun: Begun, error: &RegistryError, digest: Option<&Digest>) {
        self.common.load_failures.fetch_add(1, Ordering::Relaxed);
        let name = begun.name();
        self.note_failure(name, error);
        if self.agents.origin(name) == Some(Origin::Api) && self.agents.record(name).is_none() {
            report(About { name, digest }, error);
            drop(begun);
        } else {
            begun.fail(error, digest);
        }
    }

    /// Ends a rollback that failed, or a load that nobody may ask for any more. It says nothing about what serves, which is
    /// shown as before.
    pub(crate) fn refuse_unshown(&self, begun: Begun, error: &RegistryError) {
        self.common.load_failures.fetch_add(1, Ordering::Relaxed);
        report(About { name: begun.name(), digest: None }, error);
        drop(begun);
    }

    fn note_failure(&self, name: &AgentName, error: &RegistryError) {
        if matches!(self.agents.origin(name), Some(Origin::File { .. })) {
            self.note_file(Action::AgentLoad, name, &Err::<(), _>(error.clone()));
        }
    }

    fn look_again_at(&self, name: &AgentName) {
        self.reconciler().again(name);
        self.look_again.notify_one();
    }

    /// None when what serves is what the file asks for.
    async fn draft_of_file(
        &self,
        begun: &Begun,
        found: &Found,
    ) -> Result<Option<Draft>, RegistryError> {
        let kept = self.common.components.keep().await;
        // The bytes go here, before the wait for a turn to compile.
        let Source { digest, settings, written, .. } = self.read(found).await?;
        let name = begun.name();
        self.agents.set_file_digest(name, digest);
        let settings = settings.map_err(RegistryError::Rejected)?;
        self.check(&digest, &settings, written.as_ref())?;
        let origin = Origin::File { path: found.path.clone() };
        self.check_provider(&settings, &origin, written.as_ref())?;
        let Some(record) = self.agents.record(name) else {
            let component = Component { digest, settings, kept };
            return self.draft(begun, component, origin, Write::Append).await.map(Some);
        };
        let serving = self.agents.serving(name);
        let serves_active = serving.as_ref().is_some_and(|serving| serving.number == record.active);
        if self.is_pinned_against(&record, &digest, &settings).await? {
            if serves_active {
                return Ok(None);
            }
            return self.draft_of_active(begun, AgentRecord { origin, ..record }).await.map(Some);
        }
        let is_the_same = serving
            .is_some_and(|serving| serving.digest == digest && *serving.settings == settings);
        if serves_active
            && is_the_same
            && record.pinned_against.is_none()
            && record.origin == origin
        {
            return Ok(None);
        }
        self.draft(begun, Component { digest, settings, kept }, origin, Write::Append)
            .await
            .map(Some)
    }

    /// Checks what may run here, and under which settings.
    fn check(
        &self,
        digest: &Digest,
        settings: &Settings,
        written: Option<&Written>,
    ) -> Result<(), RegistryError> {
        let place = |setting: &str| written.and_then(|written| written.place(setting));
        if let Some(pinned) = settings.pinned.filter(|pinned| pinned != digest) {
            let place = place("digest").unwrap_or_default();
            return Err(RegistryError::Refused {
                setting: "digest",
                reason: format!(
                    "{place}the settings are for the component {pinned}, and this one is {digest}: supply that one, or change `digest`"
                ),
            });
        }
        refuse_excesses(&self.common.excesses(&self.tenant, settings), written)
    }

    /// Refuses a model provider that does not exist, where somebody just wrote its name. What served before is loaded with
    /// a warning instead: that the host lost a provider is no reason to take the agent's other tools away, and another node
    /// of the zone may have others. So is what names one that lacks its key only.
    fn check_provider(
        &self,
        settings: &Settings,
        origin: &Origin,
        written: Option<&Written>,
    ) -> Result<(), RegistryError> {
        let Some(ProviderMistake::Unknown(mistake)) =
            self.common.provider_mistake(settings, origin)
        else {
            return Ok(());
        };
        let place = written.and_then(|written| written.place("model.provider"));
        Err(RegistryError::Rejected(format!("{}{mistake}", place.unwrap_or_default())))
    }

    /// Whether a rollback holds the agent while its file is as it was then, its settings included.
    async fn is_pinned_against(
        &self,
        record: &AgentRecord,
        digest: &Digest,
        settings: &Settings,
    ) -> Result<bool, RegistryError> {
        if record.pinned_against.as_ref() != Some(digest) {
            return Ok(false);
        }
        let revisions = self.common.parts.store.revisions(&self.tenant, &record.name).await?;
        // A file that never could be loaded has no revision; its digest is all there is.
        let of_file = revisions.iter().find(|revision| revision.digest == *digest);
        Ok(of_file.is_none_or(|revision| revision.settings == *settings))
    }

    /// Of a component that came through the API.
    pub(crate) async fn draft_of_upload(
        &self,
        begun: &Begun,
        request: LoadRequest,
    ) -> Result<Draft, RegistryError> {
        // What the zone places here was checked where it was loaded, and may be of a file there.
        if request.id.is_none() {
            let excesses = self.common.excesses_of_upload(&self.tenant, &request.settings);
            refuse_excesses(&excesses, None)?;
            self.check_provider(&request.settings, &Origin::Api, None)?;
        }
        let kept = self.common.components.keep().await;
        let _permit = self.common.reads.acquire().await.map_err(|_| RegistryError::Draining)?;
        let components = Arc::clone(&self.common.components);
        let bytes = request.component;
        let hashing = blocking(move || {
            let digest = Digest::of(&bytes);
            Ok((bytes, digest))
        });
        let (bytes, digest) = hashing.await?;
        let kept_revisions = self.make_room_for(begun.name(), digest, bytes.len()).await?;
        // Until it commits, nothing refers to it.
        self.common.garbage.store(true, Ordering::Relaxed);
        blocking(move || components.put(&bytes, &digest)).await?;
        let component = Component { digest, settings: request.settings, kept };
        let draft = self.draft(begun, component, Origin::Api, Write::Append).await?;
        Ok(Draft { id: request.id, kept: kept_revisions, ..draft })
    }

    async fn draft_of_active(
        &self,
        begun: &Begun,
        record: AgentRecord,
    ) -> Result<Draft, RegistryError> {
        let (number, origin) = (record.active, record.origin.clone());
        self.draft_of_revision(begun, number, origin, Write::Nothing(Box::new(record))).await
    }

    /// Of a revision that the store has.
    pub(crate) async fn draft_of_revision(
        &self,
        begun: &Begun,
        number: RevisionNumber,
        origin: Origin,
        write: Write,
    ) -> Result<Draft, RegistryError> {
        let kept = self.common.components.keep().await;
        let revisions = self.common.parts.store.revisions(&self.tenant, begun.name()).await?;
        let Some(revision) = revisions.into_iter().find(|revision| revision.number == number)
        else {
            return Err(RegistryError::Host(format!("revision {number} is not in the store")));
        };
        let digest = revision.digest;
        {
            let _permit = self.common.reads.acquire().await.map_err(|_| RegistryError::Draining)?;
            let components = Arc::clone(&self.common.components);
            blocking(move || components.verify(&digest)).await?;
        }
        let component = Component { digest, settings: revision.settings, kept };
        self.draft(begun, component, origin, write).await
    }

    async fn draft(
        &self,
        begun: &Begun,
        component: Component,
        origin: Origin,
        write: Write,
    ) -> Result<Draft, RegistryError> {
        let Component { digest, settings, kept } = component;
        self.check(&digest, &settings, None)?;
        let provenance = self.vouch(digest, &settings).await?;
        let settings = Arc::new(settings);
        let path = self.common.components.path(&digest);
        let payer = self.common.parts.accounts.payer(&self.tenant, begun.name());
        let prepared = {
            let _permit = Permits::acquire(&self.common.prepares, payer.party()).await;
            let artifact = Artifact { path: &path, digest };
            self.common.parts.prepare.prepare(artifact, Arc::clone(&settings), &payer).await?
        };
        let published =
            self.agents.record(begun.name()).map(|record| record.published).unwrap_or_default();
        let mut set = ToolSet::new(&prepared.interface, begun.name(), &settings, &published)
            .map_err(|error| RegistryError::Rejected(error.to_string()))?;
        let mistake = self.common.provider_mistake(&settings, &origin);
        set.warnings.extend(mistake.map(ProviderMistake::into_text));
        begun.prepared(&digest);
        Ok(Draft {
            origin,
            id: None,
            digest,
            settings,
            prepared,
            payer,
            set,
            provenance,
            write,
            kept: <dyn Store>::REVISIONS_KEPT,
            _kept: kept,
        })
    }

    /// Who signed a component that is kept. Asked at every load, also of a revision that served before: the list of
    /// signers may have become shorter.
    async fn vouch(
        &self,
        digest: Digest,
        settings: &Settings,
    ) -> Result<Option<Provenance>, RegistryError> {
        let refused = |reason| RegistryError::Refused { setting: "signature", reason };
        let vouch = Arc::clone(&self.common.parts.vouch);
        let Some(bundle) = settings.signature.clone() else {
            return vouch.unsigned().map(|()| None).map_err(refused);
        };
        let _permit = self.common.reads.acquire().await.map_err(|_| RegistryError::Draining)?;
        let components = Arc::clone(&self.common.components);
        blocking(move || {
            let component = components.read(&digest)?;
            vouch.signed(&component, &bundle).map(Some).map_err(refused)
        })
        .await
    }

    /// Reads a file and keeps its component.
    async fn read(&self, found: &Found) -> Result<Source, RegistryError> {
        let _permit = self.common.reads.acquire().await.map_err(|_| RegistryError::Draining)?;
        let components = Arc::clone(&self.common.components);
        let (component_max_bytes, settings_max_bytes) =
            (self.common.config.component_max_bytes, self.common.config.settings_max_bytes);
        let found = found.clone();
        self.common.garbage.store(true, Ordering::Relaxed);
        blocking(move || {
            let source = source::read(&found, component_max_bytes, settings_max_bytes)?;
            components.put(&source.bytes, &source.digest)?;
            Ok(source)
        })
        .await
    }
}

/// Refuses settings that are over something.
fn refuse_excesses(excesses: &[Excess], written: Option<&Written>) -> Result<(), RegistryError> {
    if excesses.is_empty() {
        return Ok(());
    }
    let line = |excess: &Excess| {
        let place = written.and_then(|written| written.place(&excess.setting));
        format!("{}{excess}", place.unwrap_or_default())
    };
    let lines: Vec<_> = excesses.iter().map(line).collect();
    Err(RegistryError::Refused { setting: CEILING, reason: lines.join("\n") })
}

/// A kept component and what it shall run under.
struct Component {
    digest: Digest,
    settings: Settings,
    kept: Kept,
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RegistryError> + Send + 'static,
) -> Result<T, RegistryError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| RegistryError::Host(format!("reading ended early: {error}")))?
}
