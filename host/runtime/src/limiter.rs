//! What one instance may hold, all its core instances together.
//!
//! wasmtime's own `StoreLimits` count each memory by itself; a component with sixteen memories would
//! get sixteen times the limit. This one adds them up, and remembers that it said no, so that the
//! trap which usually follows is explained as what it is.

use std::sync::Arc;

use aop_core::quota::{Account, MemoryHeld};
use aop_core::{CallContext, Limits, Meter};
use wasmtime::ResourceLimiter;

/// Core instances, memories and tables that one instance may have: far above any toolchain's output
/// (Python: 14 core instances), far below what would hurt.
const CORE_INSTANCES_MAX: usize = 256;

/// Adds up what an instance holds.
pub(crate) struct InstanceLimiter {
    memory_bytes: u64,
    memory_max_bytes: u64,
    table_elements: u64,
    table_elements_max: u64,
    refused: Option<Refused>,
    /// Of the call that is served now. It is told at once, because a call may end at any moment.
    meter: Arc<Meter>,
    /// The same memory, of what who pays may have altogether.
    shared: MemoryHeld,
}

/// What was refused first.
#[derive(Debug)]
pub(crate) enum Refused {
    Memory {
        max_bytes: u64,
    },
    Table {
        max_elements: u64,
    },
    /// Memory, by what an owner may have altogether.
    Quota(Arc<Account>),
}

impl InstanceLimiter {
    pub(crate) fn new(limits: &Limits, context: &CallContext) -> Self {
        Self {
            memory_bytes: 0,
            memory_max_bytes: limits.memory_max_bytes,
            table_elements: 0,
            table_elements_max: limits.table_elements_max,
            refused: None,
            meter: Arc::clone(&context.meter),
            shared: MemoryHeld::new(Arc::clone(&context.payer)),
        }
    }

    /// Before another call: what an earlier one was refused explains nothing of it, and the memory
    /// that it left is this one's.
    pub(crate) fn begin(&mut self, context: &CallContext) {
        self.refused = None;
        context.meter.note_memory(self.memory_bytes);
        self.meter = Arc::clone(&context.meter);
        self.shared.move_to(&context.payer);
    }

    pub(crate) const fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }
}

/// `held + (desired - current)` if it stays within `max`.
fn grown(held: u64, current: usize, desired: usize, max: u64) -> Option<u64> {
    let growth = u64::try_from(desired.saturating_sub(current)).ok()?;
    held.checked_add(growth).filter(|total| *total <= max)
}

impl ResourceLimiter for InstanceLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        match grown(self.memory_bytes, current, desired, self.memory_max_bytes) {
            Some(total) => {
                if let Err(account) = self.shared.grow(total - self.memory_bytes) {
                    self.refused.get_or_insert(Refused::Quota(account));
                    return Ok(false);
                }
                self.memory_bytes = total;
                // Memory never shrinks, so this is also the peak.
                self.meter.note_memory(total);
            }
            None => {
                self.refused.get_or_insert(Refused::Memory { max_bytes: self.memory_max_bytes });
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        match grown(self.table_elements, current, desired, self.table_elements_max) {
            Some(total) => self.table_elements = total,
            None => {
                self.refused
                    .get_or_insert(Refused::Table { max_elements: self.table_elements_max });
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        CORE_INSTANCES_MAX
    }
}

#[cfg(test)]
mod tests;
