//! What the agent remembers between calls: buckets of keys and values, durable and with a quota.
//!
//! ```
//! # #[cfg(not(target_family = "wasm"))] {
//! use aop_agent::state::Bucket;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Basket {
//!     items: Vec<String>,
//! }
//!
//! # aop_agent::testing::Script::new().run(|| {
//! let conversation = Bucket::session()?;
//! let mut basket: Basket = conversation.get("basket")?.unwrap_or_default();
//! basket.items.push("bread".to_owned());
//! conversation.set("basket", &basket)?;
//! assert_eq!(conversation.increment("visits", 1)?, 1);
//! assert_eq!(conversation.keys()?, ["basket", "visits"]);
//! # Ok::<(), aop_agent::state::StateError>(())
//! # }).0.unwrap();
//! # }
//! ```

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::{Store, with};

/// Why something could not be remembered or recalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateError {
    /// There is no bucket of that name.
    NoSuchBucket,
    /// The operator does not grant the bucket.
    Denied,
    /// A quota is used up, the store is broken, or a value is not what was expected.
    Failed(String),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchBucket => f.write_str("there is no such bucket"),
            Self::Denied => f.write_str("the agent's policy does not grant this bucket"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StateError {}

/// A bucket of values, kept as JSON.
pub struct Bucket(Box<dyn Store>);

impl Bucket {
    /// What the agent remembers of this conversation.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn session() -> Result<Self, StateError> {
        Self::open("session")
    }

    /// What the agent remembers over all conversations.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn agent() -> Result<Self, StateError> {
        Self::open("agent")
    }

    /// What all agents of the tenant share. Needs `shared_state` in the policy.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn tenant() -> Result<Self, StateError> {
        Self::open("tenant")
    }

    fn open(name: &str) -> Result<Self, StateError> {
        with(|host| host.open(name)).map(Self)
    }

    /// The value of a key; none when it is absent.
    ///
    /// # Errors
    /// [`StateError`]; also when the value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StateError> {
        let Some(bytes) = self.0.get(key)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(broken)
    }

    /// Sets a key.
    ///
    /// # Errors
    /// [`StateError`]; also when the value cannot be JSON.
    pub fn set(&self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<(), StateError> {
        self.0.set(key, &serde_json::to_vec(value).map_err(broken)?)
    }

    /// Removes a key. Removing an absent one succeeds.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn delete(&self, key: &str) -> Result<(), StateError> {
        self.0.delete(key)
    }

    /// All keys, in order.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn keys(&self) -> Result<Vec<String>, StateError> {
        let (mut keys, mut cursor) = self.0.keys(None)?;
        while cursor.is_some() {
            let (more, next) = self.0.keys(cursor)?;
            keys.extend(more);
            cursor = next;
        }
        Ok(keys)
    }

    /// Adds to a number in one step and gives the sum back. An absent key counts as 0.
    ///
    /// # Errors
    /// [`StateError`]; also when the value is not a number.
    pub fn increment(&self, key: &str, delta: u64) -> Result<u64, StateError> {
        self.0.increment(key, delta)
    }
}

fn broken(error: serde_json::Error) -> StateError {
    StateError::Failed(error.to_string())
}
