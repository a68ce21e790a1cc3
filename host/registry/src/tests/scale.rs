//! Many agents at once: that it works, not how fast.

use std::sync::atomic::Ordering;

use aop_core::{Catalog, State};

use super::{Host, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_agents_load_and_come_back() {
    let host = Host::new();
    for number in 0..1000 {
        host.write(
            &format!("agents/agent-{number}.wasm"),
            &format!("fn run Number {number}.\nfn stop"),
        );
    }
    host.registry.scan().await.unwrap();
    assert_eq!(host.tools().len(), 2000);
    assert!(host.registry.list(&tenant()).iter().all(|status| status.state == State::Active));
    assert!(host.times_told() < 1000, "told once per group that came together");
    let host = host.restarted().await;
    assert_eq!(host.tools().len(), 2000);
    assert_eq!(host.prepare.prepared.load(Ordering::SeqCst), 1000);
    let counts = host.own().agents.counts();
    assert_eq!((counts.by_state[2], counts.tools), (1000, 2000));
}
