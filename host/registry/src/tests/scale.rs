//! Many agents at once: that it works, not how fast.

use std::sync::atomic::Ordering;

use aop_core::{Catalog, State};

use super::{Host, tenant};

const TIMES:usize=10000;
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_agents_load_and_come_back() {
    let t0=std::time::Instant::now();
    let host = Host::new();
    for number in 0..TIMES {
        host.write(
            &format!("agents/agent-{number}.wasm"),
            &format!("fn run Number {number}.\nfn stop"),
        );
    }
    let t=std::time::Instant::now();host.registry.scan().await.unwrap();eprintln!("COLD {:?}",t.elapsed());
    eprintln!("{} {:?}",line!(),t0.elapsed());
    assert_eq!(host.tools().len(), (2*TIMES));
    eprintln!("{} {:?}",line!(),t0.elapsed());
    assert!(host.registry.list(&tenant()).iter().all(|status| status.state == State::Active));
    eprintln!("{} {:?}",line!(),t0.elapsed());
    assert!(host.times_told() < TIMES, "told once per group that came together");
    let t=std::time::Instant::now();let host = host.restarted().await;eprintln!("WARM {:?}",t.elapsed());
    eprintln!("{} {:?}",line!(),t0.elapsed());
    assert_eq!(host.tools().len(), (2*TIMES));
    assert_eq!(host.prepare.prepared.load(Ordering::SeqCst), TIMES);
    eprintln!("{} {:?}",line!(),t0.elapsed());
    let counts = host.registry.shared.agents.counts();
    assert_eq!((counts.by_state[2], counts.tools), (TIMES as u64, 2*TIMES as u64));
    eprintln!("{} {:?}",line!(),t0.elapsed()); drop(host); eprintln!("{} {:?}",line!(),t0.elapsed());
}
