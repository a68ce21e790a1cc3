//! The wasmtime engines.
//!
//! Code is compiled for one of two [`Model`]s: most components never use asynchronous functions, streams or futures of
//! the component model, and run without what these cost every call. Of each model there are two engines that
//! run the same code: the *pooled* one takes instances from slots that were mapped up front (a fresh
//! instance costs microseconds, and cores do not serialise on the kernel's memory map), the
//! *on-demand* one maps memory per instance and serves what does not fit a slot (many memories, huge tables,
//! hundreds of core instances).

use serde::{Deserialize, Serialize};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::RuntimeError;

/// Stack of guest code. wasmtime's default: deep enough for real recursion, far from the fiber's end.
const GUEST_STACK_MAX_BYTES: usize = 512 << 10;
/// The fiber a guest runs on; host functions run on it too.
const FIBER_STACK_BYTES: usize = 2 << 20;
/// Linear memory of a pool slot that is wiped by hand instead of given back to the kernel: without
/// it two cores are slower than one, because both take the memory-map lock for every call.
const SLOT_KEEP_RESIDENT_BYTES: usize = 2 << 20;
/// Fiber stack kept likewise.
const STACK_KEEP_RESIDENT_BYTES: usize = 64 << 10;
/// Core instances that a slot of the pool has; they are only counted. Python components have 14, Rust ones 3 or 4.
///
/// No component takes more of the pool than a slot has, so whoever has one of the host's places finds all that its instance
/// needs. What needs more runs on demand.
const CORE_INSTANCES_PER_SLOT: u32 = 64;
/// Likewise linear memories. Each reserves 4 GiB of address space.
const MEMORIES_PER_SLOT: u32 = 2;
/// Likewise tables. Each reserves less than a megabyte of address space.
const TABLES_PER_SLOT: u32 = 16;
/// Stacks of a slot for components without asynchronous functions: one call runs at a time.
const STACKS_PER_SLOT: u32 = 2;
/// The same for those with them. Each costs two mappings, of which the kernel gives a process 65,530.
const CONCURRENT_STACKS_PER_SLOT: u32 = 4;
/// Parts of one component that may wait at one time: each has a stack, and one is for the call itself. What has more runs on
/// demand.
pub(crate) const PARTS_PER_SLOT: u32 = CONCURRENT_STACKS_PER_SLOT - 1;
/// The same on demand, where every stack is mapped anew.
pub(crate) const ON_DEMAND_PARTS_MAX: u32 = 16;
/// Linear memories of one component that runs on demand.
pub(crate) const ON_DEMAND_MEMORIES_MAX: u32 = 16;
/// Instances that run on demand at one time: with all of their memories they reserve 16 TiB of address space, and a quarter
/// of the mappings that the kernel gives a process.
pub(crate) const ON_DEMAND_INSTANCES_MAX: usize = 256;
/// Elements of one pooled table: the limit that an instance has for all of its tables, so that the
/// limiter is who says no, and can say why.
const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Slots whose last module may come back: enough for a busy host's working set of agents.
const WARM_SLOTS_MAX: u32 = 256;

/// What a component makes use of, which its code is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Model {
    /// Neither asynchronous functions nor streams nor futures, exported or imported.
    Sequential,
    /// Any of them, which WASI 0.3 has.
    Concurrent,
}

impl Model {
    /// The cheaper one first.
    pub(crate) const ALL: [Self; 2] = [Self::Sequential, Self::Concurrent];

    /// What host and worker must agree on, or the compiled code would not load.
    fn config(self) -> Config {
        let is_concurrent = self == Self::Concurrent;
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .max_wasm_stack(GUEST_STACK_MAX_BYTES)
            .async_stack_size(FIBER_STACK_BYTES)
            .concurrency_support(is_concurrent)
            .wasm_component_model_async(is_concurrent)
            .wasm_component_model_map(true)
            .wasm_component_model_fixed_length_lists(true)
            .memory_init_cow(true);
        config
    }

    /// The engine that only compiles, in the worker process.
    pub(crate) fn compiling(self) -> Result<Engine, RuntimeError> {
        Engine::new(&self.config()).map_err(RuntimeError::engine)
    }
}

/// The engines that run what is compiled for one model.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) pooled: Engine,
    pub(crate) on_demand: Engine,
}

impl Pair {
    fn new(model: Model, pool: PoolingAllocationConfig) -> Result<Self, RuntimeError> {
        let mut config = model.config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        Ok(Self {
            pooled: Engine::new(&config).map_err(RuntimeError::engine)?,
            on_demand: model.compiling()?,
        })
    }
}

/// All engines that run code.
#[derive(Clone)]
pub(crate) struct Engines {
    pub(crate) sequential: Pair,
    pub(crate) concurrent: Pair,
}

impl Engines {
    /// Maps a pool of `instances_max` instances for each model. Address space only; memory is used when
    /// instances are.
    pub(crate) fn new(instances_max: u32) -> Result<Self, RuntimeError> {
        Ok(Self {
            sequential: Pair::new(Model::Sequential, pool(instances_max, STACKS_PER_SLOT))?,
            concurrent: Pair::new(
                Model::Concurrent,
                pool(instances_max, CONCURRENT_STACKS_PER_SLOT),
            )?,
        })
    }

    pub(crate) fn increment_epoch(&self) {
        for Pair { pooled, on_demand } in [&self.sequential, &self.concurrent] {
            pooled.increment_epoch();
            on_demand.increment_epoch();
        }
    }
}

fn pool(instances_max: u32, stacks_per_slot: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances_max)
        .total_core_instances(instances_max.saturating_mul(CORE_INSTANCES_PER_SLOT))
        .total_memories(instances_max.saturating_mul(MEMORIES_PER_SLOT))
        .total_tables(instances_max.saturating_mul(TABLES_PER_SLOT))
        .total_stacks(instances_max.saturating_mul(stacks_per_slot))
        .max_core_instances_per_component(CORE_INSTANCES_PER_SLOT)
        .max_memories_per_component(MEMORIES_PER_SLOT)
        .max_tables_per_component(TABLES_PER_SLOT)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_unused_warm_slots(WARM_SLOTS_MAX.min(instances_max))
        .linear_memory_keep_resident(SLOT_KEEP_RESIDENT_BYTES)
        .table_keep_resident(SLOT_KEEP_RESIDENT_BYTES)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}
