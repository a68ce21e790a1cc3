//! A compiled component, linked and ready: what all agents that share its bytes share.

use std::sync::Arc;

use aop_core::{Interface, PrepareError};
use wasmtime::Engine;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use crate::compile::Entry;
use crate::compile::worker::Derived;
use crate::engine::{
    Engines, Model, ON_DEMAND_MEMORIES_MAX, ON_DEMAND_PARTS_MAX, PARTS_PER_SLOT, Pair,
};
use crate::state::State;
use crate::{RuntimeError, capability};

/// A component that instances can be made of.
pub(crate) struct Linked {
    pub(crate) interface: Arc<Interface>,
    pub(crate) pre: InstancePre<State>,
    /// By index into [`Interface::functions`]; none for those that drop a resource.
    pub(crate) exports: Vec<Option<ComponentExportIndex>>,
    /// The size of its code.
    pub(crate) code_bytes: u64,
    /// Whether its instances are mapped one by one, since they do not fit a slot of the pool.
    pub(crate) is_on_demand: bool,
}

/// An engine, and what its instances can import.
struct Place {
    engine: Engine,
    linker: Linker<State>,
}

impl Place {
    fn new(engine: Engine, model: Model) -> Result<Self, RuntimeError> {
        let linker = capability::linker(&engine, model)?;
        Ok(Self { engine, linker })
    }
}

/// Where components of one [`Model`] run.
struct Places {
    pooled: Place,
    on_demand: Place,
}

impl Places {
    fn new(engines: Pair, model: Model) -> Result<Self, RuntimeError> {
        Ok(Self {
            pooled: Place::new(engines.pooled, model)?,
            on_demand: Place::new(engines.on_demand, model)?,
        })
    }
}

/// Where components run.
pub(crate) struct Linkers {
    sequential: Places,
    concurrent: Places,
}

impl Linkers {
    /// Links every capability in every engine.
    pub(crate) fn new(engines: Engines) -> Result<Self, RuntimeError> {
        Ok(Self {
            sequential: Places::new(engines.sequential, Model::Sequential)?,
            concurrent: Places::new(engines.concurrent, Model::Concurrent)?,
        })
    }
}

impl Linked {
    /// Maps the compiled code and links it: on the pooled engine, or on demand when it needs more
    /// than a pool slot has.
    pub(crate) fn load(linkers: &Linkers, entry: Entry) -> Result<Self, PrepareError> {
        let Places { pooled, on_demand } = match entry.derived.model {
            Model::Sequential => &linkers.sequential,
            Model::Concurrent => &linkers.concurrent,
        };
        check_parts(&entry.derived)?;
        let fits = |entry: &Entry| match may_take_stacks(&entry.derived, PARTS_PER_SLOT) {
            true => map(&pooled.engine, entry),
            false => Err(wasmtime::format_err!("it has {} parts", entry.derived.parts)),
        };
        let (component, place, is_on_demand) = match fits(&entry) {
            Ok(component) => (component, pooled, false),
            Err(misfit) => {
                tracing::debug!(error = %misfit, "a component does not fit the pool");
                let component = map(&on_demand.engine, &entry)
                    .map_err(|error| PrepareError::Internal(format!("{error:#}")))?;
                check_on_demand(&component)?;
                (component, on_demand, true)
            }
        };
        let interface = entry.derived.interface;
        let pre = place.linker.instantiate_pre(&component).map_err(|error| {
            PrepareError::Unlinkable(format!(
                "the component needs something that this host does not provide: {error:#}"
            ))
        })?;
        let exports = interface
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
        let (interface, code_bytes) = (Arc::new(interface), entry.code_bytes);
        Ok(Self { interface, pre, exports, code_bytes, is_on_demand })
    }
}

/// Whether no call of it needs stacks for more parts than that.
fn may_take_stacks(derived: &Derived, parts_max: u32) -> bool {
    derived.model == Model::Sequential || derived.parts <= parts_max
}

/// Stacks are mapped like memories, and a call has one for each part that waits.
fn check_parts(derived: &Derived) -> Result<(), PrepareError> {
    if may_take_stacks(derived, ON_DEMAND_PARTS_MAX) {
        return Ok(());
    }
    let parts = derived.parts;
    Err(PrepareError::Unlinkable(format!(
        "the component has asynchronous functions and more than {ON_DEMAND_PARTS_MAX} components with code in it, of which each may wait in a call of its own ({parts} counted): compose it of fewer parts"
    )))
}

/// Memories reserve address space and mappings, of which a process has only so many.
fn check_on_demand(component: &Component) -> Result<(), PrepareError> {
    // None for one that imports core modules, which nothing here could provide.
    let memories = component.resources_required().map(|required| required.num_memories);
    match memories {
        Some(memories) if memories > ON_DEMAND_MEMORIES_MAX => {
            Err(PrepareError::Unlinkable(format!(
                "the component has {memories} linear memories, and an instance may have {ON_DEMAND_MEMORIES_MAX}: compose it of fewer parts"
            )))
        }
        _ => Ok(()),
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
fn map(engine: &Engine, entry: &Entry) -> wasmtime::Result<Component> {
    // SAFETY: `Entry` exists only for files whose keyed seal was checked by the cache, so the bytes
    // are what our own worker wrote with this version of wasmtime; the cache directory is private to
    // the host's user and its files are only ever replaced by renaming.
    unsafe { Component::deserialize_file(engine, &entry.code) }
}
