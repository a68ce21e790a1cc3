//! What is held until it is dropped: memory of an instance, code of a revision.

use std::sync::Arc;

use super::{Account, Payer, Resource};
use crate::Failure;

/// The linear memory of one instance, of which its payer may have so much altogether.
///
/// What counts is what instances really have, not what their limits would let them: limits are ceilings that hardly any
/// instance comes near, and counting those would let 64 calls fill a host. The price is that a guest can be refused
/// memory in the middle of its work.
pub struct MemoryHeld {
    payer: Arc<Payer>,
    /// Which of the payer's accounts had a limit when this began: only those are counted, so that a host without quotas
    /// pays nothing.
    counted: [bool; 3],
    bytes: u64,
}

impl MemoryHeld {
    /// Nothing yet.
    #[must_use]
    pub fn new(payer: Arc<Payer>) -> Self {
        let counted = payer.accounts().map(|account| account.memory.limit().is_some());
        Self { payer, counted, bytes: 0 }
    }

    /// Holds so much more.
    ///
    /// # Errors
    /// Whose quota refuses it; then nothing more is held.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Arc<Account>> {
        let payer = &self.payer;
        let accounts = [&payer.agent, &payer.tenant, &payer.node];
        for (index, account) in accounts.into_iter().enumerate() {
            if self.counted[index] && !account.memory.take(bytes) {
                account.count_refusal(Resource::Memory);
                self.each_counted(index, |account| account.memory.give_back(bytes));
                return Err(Arc::clone(account));
            }
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Another pays from now on, because it is its call that the instance serves.
    pub fn move_to(&mut self, payer: &Arc<Payer>) {
        if !Arc::ptr_eq(&self.payer, payer) {
            let bytes = self.bytes;
            *self = Self::new(Arc::clone(payer));
            self.bytes = bytes;
            self.each_counted(3, |account| account.memory.add(bytes));
        }
    }

    /// The first accounts that are counted.
    fn each_counted(&self, first: usize, work: impl Fn(&Account)) {
        let accounts = self.payer.accounts().into_iter().zip(self.counted).take(first);
        accounts.filter(|(_, counted)| *counted).for_each(|(account, _)| work(account));
    }
}

impl Drop for MemoryHeld {
    fn drop(&mut self) {
        self.each_counted(3, |account| account.memory.give_back(self.bytes));
    }
}

/// The compiled code of one revision. Agents that share a component count it each, so that nobody learns whether another
/// tenant has the same.
pub struct CodeHeld {
    payer: Arc<Payer>,
    bytes: u64,
}

impl CodeHeld {
    /// Holds it. While a revision replaces another one of its agent, the older one does not count. Of several agents that
    /// are loaded at one time and do not fit together, all may be refused.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn take(payer: Arc<Payer>, bytes: u64) -> Result<Self, Failure> {
        let over =
            |account: &Account, bytes: u64| account.code.limit().is_some_and(|limit| bytes > limit);
        // Held before it is compared: of two that do not fit together, each sees the other.
        payer.agent.code.add(bytes);
        payer.tenant.code.add(bytes);
        let held = Self { payer, bytes };
        let (agent, tenant) = (&held.payer.agent, &held.payer.tenant);
        let others = tenant.code.used().saturating_sub(agent.code.used());
        if over(agent, bytes) {
            return Err(agent.refuse(Resource::Code, None));
        }
        if over(tenant, others.saturating_add(bytes)) {
            return Err(tenant.refuse(Resource::Code, None));
        }
        Ok(held)
    }
}

impl Drop for CodeHeld {
    fn drop(&mut self) {
        self.payer.agent.code.give_back(self.bytes);
        self.payer.tenant.code.give_back(self.bytes);
    }
}
