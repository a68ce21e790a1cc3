//! A compiled component, linked and ready: what all agents that share its bytes share.

use std::sync::Arc;

use aop_core::{Interface, PrepareError};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use crate::compile::Entry;
use crate::engine::Engines;
use crate::state::State;

/// A component that instances can be made of.
pub(crate) struct Linked {
    pub(crate) interface: Arc<Interface>,
    pub(crate) pre: InstancePre<State>,
    /// By index into [`Interface::functions`]; none for those that drop a resource.
    pub(crate) exports: Vec<Option<ComponentExportIndex>>,
    /// The size of its code.
    pub(crate) code_bytes: u64,
}

/// The linkers of both engines.
pub(crate) struct Linkers {
    pub(crate) pooled: Linker<State>,
    pub(crate) on_demand: Linker<State>,
}

impl Linked {
    /// Maps the compiled code and links it: on the pooled engine, or on demand when it needs more
    /// than a pool slot has.
    pub(crate) fn load(
        engines: &Engines,
        linkers: &Linkers,
        entry: Entry,
    ) -> Result<Self, PrepareError> {
        let on_pool = map(&engines.pooled, &entry);
        let (component, linker) = match on_pool {
            Ok(component) => (component, &linkers.pooled),
            Err(misfit) => {
                tracing::debug!(error = %misfit, "a component does not fit the pool");
                let component = map(&engines.on_demand, &entry)
                    .map_err(|error| PrepareError::Internal(format!("{error:#}")))?;
                (component, &linkers.on_demand)
            }
        };
        let pre = linker.instantiate_pre(&component).map_err(|error| {
            PrepareError::Unlinkable(format!(
                "the component needs something that this host does not provide: {error:#}"
            ))
        })?;
        let exports = entry
            .interface
            .functions
            .iter()
            .map(|function| {
                if function.is_drop() {
                    return Ok(None);
                }
                let index = export_index(&component, function.interface.as_deref(), &function.name);
                index.map(Some).ok_or_else(|| {
                    PrepareError::Internal(format!("the component lost `{}`", function.path()))
                })
            })
            .collect::<Result<_, _>>()?;
        let code_bytes = entry.code_bytes;
        Ok(Self { interface: Arc::new(entry.interface), pre, exports, code_bytes })
    }
}

fn export_index(
    component: &Component,
    interface: Option<&str>,
    name: &str,
) -> Option<ComponentExportIndex> {
    let parent = match interface {
        Some(interface) => Some(component.get_export_index(None, interface)?),
        None => None,
    };
    component.get_export_index(parent.as_ref(), name)
}

/// The one place where machine code enters the process.
#[expect(unsafe_code, reason = "mapping precompiled code is what the sealed cache is for")]
fn map(engine: &wasmtime::Engine, entry: &Entry) -> wasmtime::Result<Component> {
    // SAFETY: `Entry` exists only for files whose keyed seal was checked by the cache, so the bytes
    // are what our own worker wrote with this version of wasmtime; the cache directory is private to
    // the host's user and its files are only ever replaced by renaming.
    unsafe { Component::deserialize_file(engine, &entry.code) }
}
