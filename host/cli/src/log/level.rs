//! Which lines are logged, changeable while the process runs.
//!
//! What passes is decided by the target and level of a place in the code alone, so every place asks
//! once and remembers until the level changes. That is why it is neither an `EnvFilter`, which looks at
//! every span for directives on its fields, nor a `reload::Layer`, which takes a lock that all cores
//! share for every step of every span: together they were a twentieth of what a call over HTTP costs.

use std::sync::{Arc, PoisonError, RwLock};

use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Context;

/// A layer that lets through what [`Targets`] say. Clones share them.
#[derive(Clone)]
pub(crate) struct Level(Arc<RwLock<Targets>>);

impl Level {
    pub(super) fn new(targets: Targets) -> Self {
        Self(Arc::new(RwLock::new(targets)))
    }

    /// Lets other lines through from now on.
    pub(super) fn set(&self, targets: Targets) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = targets;
        tracing::callsite::rebuild_interest_cache();
    }

    fn ask<T>(&self, question: impl FnOnce(&Targets) -> T) -> T {
        question(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber> Layer<S> for Level {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.ask(|targets| Layer::<S>::register_callsite(targets, metadata))
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.ask(|targets| targets.enabled(metadata, context))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.ask(Layer::<S>::max_level_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<&'static str>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(event.metadata().target());
        }
    }

    #[test]
    fn a_place_that_was_silent_speaks_after_the_level_changed_and_the_other_way_round() {
        let level = Level::new("info,loud=debug".parse().unwrap());
        let seen = Seen::default();
        let subscriber = tracing_subscriber::registry().with(level.clone()).with(seen.clone());
        tracing::subscriber::with_default(subscriber, || {
            let speak = || {
                tracing::debug!(target: "loud", "");
                tracing::debug!(target: "other", "");
                tracing::info!(target: "other", "");
                std::mem::take(&mut *seen.0.lock().unwrap())
            };
            assert_eq!(speak(), ["loud", "other"]);
            level.set("debug,loud=off".parse().unwrap());
            assert_eq!(speak(), ["other", "other"]);
            level.set("info,loud=debug".parse().unwrap());
            assert_eq!(speak(), ["loud", "other"]);
        });
    }
}
