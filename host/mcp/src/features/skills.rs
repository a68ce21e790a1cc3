//! Skills (SEP-2640): directories of instructions that agents hand out, each file of which is a resource.
//!
//! A skill `refunds` of an agent `billing` is `skill://billing/refunds`. The agent's name is the authority of every URI
//! of its skills, so no agent can answer for another, and a URI says whom to ask for which skill: one lookup, no
//! search. An agent hands out files and nothing else; digests, sizes and the frontmatter of an entry are made
//! from those files here, so none of them can be a lie.

mod frontmatter;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod manifest;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use aop_core::interface::Feature;
use aop_core::{AgentName, Caller, ErrorCode, Offer, Reply};
use rmcp::ErrorData;
use rmcp::model::{
    DIRECTORY_MIME_TYPE, ReadResourceResult, Resource, SKILL_MD, Skill as SkillEntry,
};
use serde_json::json;

use self::manifest::Skill;
use super::listing::{self, Entry, Source};
use super::{Paged, bad_output, error, tag};
use crate::content::{BadContent, shown};
use crate::edge::{Edge, FeatureCall, is_unknown};
use crate::list::BadCursor;
use crate::uri;

/// Where a URI of the scheme `skill` leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) agent: AgentName,
    /// Without one, it is the directory of all skills of the agent.
    skill: Option<String>,
    /// Within the skill; without one, it is the skill's directory.
    path: Option<String>,
}

impl Address {
    /// None for what cannot be one.
    pub(crate) fn parse(uri: &str) -> Option<Self> {
        let agent = uri::owner(uri)?;
        let rest = uri.strip_prefix(Offer::SKILL_SCHEME)?.strip_prefix("://")?;
        let mut parts = rest.splitn(3, '/').skip(1).map(str::to_owned);
        let (skill, path) = (parts.next(), parts.next());
        let fits = skill.as_deref().is_none_or(manifest::is_name)
            && path.as_deref().is_none_or(|path| manifest::check_path(path).is_ok());
        fits.then_some(Self { agent, skill, path })
    }

    /// Whether it is not a directory of an agent or a skill.
    pub(crate) const fn is_in_a_skill(&self) -> bool {
        self.path.is_some()
    }

    /// The arguments of `get`.
    pub(crate) fn arguments(&self) -> String {
        json!({ "name": self.skill }).to_string()
    }

    /// What an agent answered when it was asked for the skill that the address is in; none when there is none.
    fn skill(&self, reply: &Reply) -> Result<Option<Skill>, ErrorData> {
        let output = match &reply.result {
            Ok(output) => output,
            Err(_) if is_unknown(reply) => return Ok(None),
            Err(failure)
                if failure.code == ErrorCode::GuestError
                    && tag(failure).as_deref() == Some("not_found") =>
            {
                return Ok(None);
            }
            Err(failure) => return Err(error(failure)),
        };
        let skill = manifest::one(&self.agent, output.json.get()).map_err(bad_output)?;
        if self.skill.as_deref() != Some(&*skill.name) {
            let reason = format!("the skill `{}` is not the one that was asked for", skill.name);
            return Err(bad_output(reason));
        }
        Ok(Some(skill))
    }

    /// What an agent answered when it was asked for the skill that the file at this address is in.
    ///
    /// # Errors
    /// Not found, or why it cannot be read.
    pub(crate) fn contents(
        &self,
        uri: &str,
        reply: &Reply,
    ) -> Result<ReadResourceResult, ErrorData> {
        let mut skill = self.skill(reply)?.ok_or_else(|| super::not_found(uri))?;
        let file = self.path.as_deref().and_then(|path| skill.files.remove(path));
        let file = file.ok_or_else(|| super::not_found(uri))?;
        let contents = file.body.into_mcp(uri.to_owned(), file.mime_type).map_err(bad_output)?;
        Ok(ReadResourceResult::new(vec![contents]))
    }
}

/// Whether an agent of the caller's offers skills now.
pub(crate) fn are_offered(edge: &Edge, caller: &Caller) -> bool {
    !edge.parts.catalog.offering(&caller.tenant, Feature::SkillsList).is_empty()
}

/// The address of a URI at an agent of the caller's that offers skills.
pub(crate) fn find(edge: &Edge, caller: &Caller, uri: &str) -> Option<Address> {
    let address = Address::parse(uri)?;
    let offering = edge.parts.catalog.offering(&caller.tenant, Feature::SkillsGet);
    offering.contains(&address.agent).then_some(address)
}

/// A page of the skills that exist now.
///
/// # Errors
/// A cursor that this server did not give out.
pub(crate) async fn list(
    edge: &Edge,
    caller: &Caller,
    cursor: Option<&str>,
) -> Result<Paged<SkillEntry>, ErrorData> {
    let entries = Source {
        feature: Feature::SkillsList,
        read: |agent, json| {
            let entry = |skill: Skill| Entry { key: skill.uri(SKILL_MD), item: skill.entry() };
            manifest::all(agent, json).map(|skills| each(skills, entry))
        },
    };
    listing::page(edge, caller, &[entries], cursor).await
}

/// What skills add to a list of resources: their instructions. The other files are in the entry of their skill.
pub(super) const INSTRUCTIONS: Source<Resource> = Source {
    feature: Feature::SkillsList,
    read: |agent, json| {
        let entry = |skill: Skill| {
            let item = skill.instructions();
            Entry { key: item.uri.clone(), item }
        };
        manifest::all(agent, json).map(|skills| each(skills, entry))
    },
};

fn each<T>(
    skills: Vec<Result<Skill, BadContent>>,
    entry: impl Fn(Skill) -> Entry<T>,
) -> Vec<Result<Entry<T>, BadContent>> {
    skills.into_iter().map(|skill| skill.map(&entry)).collect()
}

/// The entry of one skill, by the URI of its `SKILL.md`.
///
/// # Errors
/// Invalid params when there is none, or why the agent cannot say.
pub(crate) async fn get(edge: &Edge, caller: &Caller, uri: &str) -> Result<SkillEntry, ErrorData> {
    let unknown = || {
        let uri = shown(uri);
        let reason = format!("no skill is served at `{uri}`");
        ErrorData::invalid_params(reason, Some(json!({ "uri": uri })))
    };
    let address = find(edge, caller, uri).ok_or_else(unknown)?;
    if address.path.as_deref() != Some(SKILL_MD) {
        return Err(unknown());
    }
    let skill = ask(edge, caller, &address).await?.ok_or_else(unknown)?;
    Ok(skill.entry())
}

/// The direct children of a directory: of a skill, of one in it, or the one of all skills of an agent.
///
/// # Errors
/// Invalid params when it is no directory, or why the agent cannot say.
pub(crate) async fn directory(
    edge: &Edge,
    caller: &Caller,
    uri: &str,
    cursor: Option<&str>,
) -> Result<Vec<Resource>, ErrorData> {
    let no_directory = || {
        let uri = shown(uri);
        let reason = format!("`{uri}` is not a directory resource");
        ErrorData::invalid_params(reason, Some(json!({ "uri": uri })))
    };
    // A directory is one page, so that no cursor was given out for one.
    if cursor.is_some() {
        return Err(ErrorData::invalid_params(BadCursor.to_string(), None));
    }
    let address = find(edge, caller, uri).ok_or_else(no_directory)?;
    if address.skill.is_none() {
        return all(edge, caller, &address.agent).await;
    }
    let skill = ask(edge, caller, &address).await?.ok_or_else(no_directory)?;
    let prefix = address.path.map(|path| format!("{path}/")).unwrap_or_default();
    let mut children = BTreeMap::new();
    for (path, file) in &skill.files {
        let Some(rest) = path.strip_prefix(&prefix) else { continue };
        let child = match rest.split_once('/') {
            Some((name, _)) => subdirectory(skill.uri(&format!("{prefix}{name}")), name),
            None => skill.resource(path, file),
        };
        children.insert(child.uri.clone(), child);
    }
    if children.is_empty() {
        return Err(no_directory());
    }
    Ok(children.into_values().collect())
}

/// The directories of all skills of an agent.
///
/// # Errors
/// Why the agent cannot say.
async fn all(edge: &Edge, caller: &Caller, agent: &AgentName) -> Result<Vec<Resource>, ErrorData> {
    let reply = edge.feature(question(caller, agent, Feature::SkillsList, "{}")).await;
    let output = reply.result.map_err(|failure| error(&failure))?;
    let skills = manifest::all(agent, output.json.get()).map_err(bad_output)?;
    let names = skills.into_iter().flatten().map(|skill| skill.name);
    // In order, and one of each.
    let names: BTreeSet<_> = names.collect();
    let directory = |name: String| subdirectory(format!("skill://{agent}/{name}"), &name);
    Ok(names.into_iter().map(directory).collect())
}

fn subdirectory(uri: String, name: &str) -> Resource {
    let mut directory = Resource::new(uri, name);
    directory.mime_type = Some(DIRECTORY_MIME_TYPE.to_owned());
    directory
}

/// Asks an agent for the skill that an address is in.
async fn ask(edge: &Edge, caller: &Caller, address: &Address) -> Result<Option<Skill>, ErrorData> {
    let arguments = address.arguments();
    let call = question(caller, &address.agent, Feature::SkillsGet, &arguments);
    let reply = edge.feature(call).await;
    let skill = address.skill(&reply);
    if reply.result.is_ok()
        && let Err(error) = &skill
    {
        edge.note_bad_content(reply.id, &address.agent, &error.message);
    }
    skill
}

fn question<'a>(
    caller: &'a Caller,
    agent: &'a AgentName,
    feature: Feature,
    arguments: &'a str,
) -> FeatureCall<'a> {
    FeatureCall {
        caller,
        agent,
        feature,
        arguments,
        received: Instant::now(),
        timeout: None,
        progress: None,
        client: None,
    }
}
