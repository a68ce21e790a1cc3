//! A guest that exports a resource.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

wit_bindgen::generate!({ path: "wit/handles.wit" });
aop_agent::embed_wit!("wit/handles.wit");

use exports::fixture::handles::counters::{Counter, CounterBorrow, Guest, GuestCounter, Named};

static DROPPED: AtomicU32 = AtomicU32::new(0);

struct Handles;

struct Count(Cell<u32>);

impl Drop for Count {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

impl GuestCounter for Count {
    fn new(start: u32) -> Self {
        Self(Cell::new(start))
    }

    fn add(&self, number: u32) -> Result<u32, String> {
        let sum = self.0.get().checked_add(number).ok_or("the counter is full")?;
        self.0.set(sum);
        Ok(sum)
    }

    fn copy(&self) -> Counter {
        Counter::new(Self(self.0.clone()))
    }

    fn crash(&self) {
        core::arch::wasm32::unreachable()
    }

    fn spin(&self) {
        loop {
            black_box(());
        }
    }

    fn absorb(&self, other: Counter) -> u32 {
        self.0.set(self.0.get() + other.get::<Self>().0.get());
        self.0.get()
    }

    fn sum(of: Vec<CounterBorrow<'_>>) -> Counter {
        Counter::new(Self::new(of.iter().map(|one| one.get::<Self>().0.get()).sum()))
    }
}

impl Guest for Handles {
    type Counter = Count;

    fn several(count: u32) -> Vec<Named> {
        let named = |place: u32| Named {
            name: place.to_string(),
            counter: (place > 0).then(|| Counter::new(Count::new(place))),
        };
        (0..count).map(named).collect()
    }

    fn maybe(start: Option<u32>) -> Result<Counter, String> {
        start.map(|start| Counter::new(Count::new(start))).ok_or("no start".to_owned())
    }

    fn dropped(_beside: CounterBorrow<'_>) -> u32 {
        DROPPED.load(Ordering::Relaxed)
    }

    fn plain() -> String {
        "plain".to_owned()
    }
}

export!(Handles);
