//! What a change of the table means for clients.

use std::ops::BitOrAssign;

/// What of an agent clients see differently.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Changed {
    /// Its tools.
    pub(crate) tools: bool,
    /// Its resources or prompts; which they are is known only by asking it.
    pub(crate) offers: bool,
}

impl BitOrAssign for Changed {
    fn bitor_assign(&mut self, other: Self) {
        self.tools |= other.tools;
        self.offers |= other.offers;
    }
}
