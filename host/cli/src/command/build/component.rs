//! What every component goes through, whatever made it: a core module becomes a component, and a
//! component is told what it is.

use std::borrow::Cow;

use anyhow::Context as _;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasm_encoder::{ComponentNameSection, ComponentSection, CustomSection};
use wasmparser::{BinaryReader, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use super::project::Project;
use super::wit::Wit;

/// The custom section with the text of an agent's interface.
const WIT_SECTION: &str = "agent.wit";
/// The custom section with a component's name.
const NAME_SECTION: &str = "component-name";
/// What a component begins with: the magic number, the version of the format, and its layer.
const COMPONENT_HEADER: &[u8; 8] = b"\0asm\x0d\0\x01\0";
/// The id of custom sections.
const CUSTOM: u8 = 0;

/// Adds to a core module which world it implements, for a toolchain that does not.
pub(super) fn annotate(module: &mut Vec<u8>, wit: &Wit) -> anyhow::Result<()> {
    embed_component_metadata(module, &wit.resolve, wit.world, StringEncoding::UTF8)
}

/// Makes a component of a core module that says which world it implements. Toolchains that stop at
/// modules use WASI as it was before components; an adapter translates.
pub(super) fn lift(module: &[u8], wit: &Wit) -> anyhow::Result<Vec<u8>> {
    let encode = || {
        ComponentEncoder::default()
            .module(module)?
            .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
            .validate(true)
            .encode()
    };
    encode()
        .with_context(|| format!("the module does not implement the world `{}`", wit.world_name()))
}

/// Gives a component its name, version, description and the text of its interface, instead of any
/// that it had.
pub(super) fn describe(component: &[u8], project: &Project) -> anyhow::Result<Vec<u8>> {
    let texts =
        [("version", project.version.as_deref()), ("description", project.description.as_deref())];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text?)));
    let mut sections: Vec<(&str, &str)> = texts.collect();
    if !carries(component, &project.wit.text)? {
        sections.push((WIT_SECTION, &project.wit.text));
    }
    let replaced = |name: &str| {
        [NAME_SECTION, WIT_SECTION].contains(&name)
            || sections.iter().any(|(section, _)| *section == name)
    };
    let mut described = without(component, replaced)?;

    let mut name = ComponentNameSection::new();
    name.component(&project.name);
    name.append_to_component(&mut described);
    for (name, text) in sections {
        let section = CustomSection { name: name.into(), data: Cow::Borrowed(text.as_bytes()) };
        section.append_to_component(&mut described);
    }
    Ok(described)
}

/// Whether something inside the component brings the text of its interface, as the Rust SDK's macro
/// makes a module do.
fn carries(component: &[u8], text: &str) -> anyhow::Result<bool> {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.context("the toolchain made no valid component")? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section)
                if depth > 0
                    && section.name() == WIT_SECTION
                    && section.data() == text.as_bytes() =>
            {
                return Ok(true);
            }
            _ => {}
        }
    }
    Ok(false)
}

/// A component without some custom sections of its own; those of what it contains stay.
fn without(component: &[u8], is_dropped: impl Fn(&str) -> bool) -> anyhow::Result<Vec<u8>> {
    let body = component
        .strip_prefix(COMPONENT_HEADER)
        .context("the toolchain made something else than a component")?;
    let mut kept = COMPONENT_HEADER.to_vec();
    let mut reader = BinaryReader::new(body, 0);
    while !reader.eof() {
        let start = reader.current_position();
        let id = reader.read_u8()?;
        let size = reader.read_var_u32()?;
        let content = reader.read_bytes(usize::try_from(size)?)?;
        if id == CUSTOM && is_dropped(BinaryReader::new(content, 0).read_string()?) {
            continue;
        }
        kept.extend_from_slice(&body[start..reader.current_position()]);
    }
    Ok(kept)
}

#[cfg(test)]
mod tests;
