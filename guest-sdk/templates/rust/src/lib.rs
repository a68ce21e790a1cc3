//! The component's exports. What they do is in `bill.rs`, which knows nothing of WIT.

mod bill;

wit_bindgen::generate!({ path: "wit", generate_all });

use exports::local::agent::bill::{Guest, Part, Payer};

struct Agent;

impl Guest for Agent {
    fn split(total_cents: u32, payers: Vec<Payer>) -> Result<Vec<Part>, String> {
        let weights: Vec<u16> = payers.iter().map(|payer| payer.weight).collect();
        let parts = bill::split(total_cents, &weights)?;
        let named = payers.into_iter().zip(parts);
        Ok(named.map(|(payer, cents)| Part { name: payer.name, cents }).collect())
    }
}

export!(Agent);
