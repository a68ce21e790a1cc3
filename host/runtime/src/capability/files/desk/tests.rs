use std::sync::mpsc;

use aop_core::{AgentName, Caller, TenantName, ToolName};

use super::*;

/// A worker of a call, at a desk with so many places.
pub(in super::super) fn worker(threads_max: usize, open_max: usize) -> Worker {
    Worker { desk: Arc::new(Desk::new(threads_max, open_max)), context: Some(context()) }
}

pub(in super::super) fn context() -> Arc<CallContext> {
    let caller = Caller::local(TenantName::new("default").unwrap());
    let (agent, tool) = (AgentName::new("a").unwrap(), ToolName::new("a_run").unwrap());
    Arc::new(CallContext::alone(caller, agent, tool, Instant::now()))
}

#[tokio::test]
async fn work_keeps_its_thread_until_it_is_done_whoever_waits() {
    let worker = worker(1, 1);
    let (end, ended) = mpsc::channel::<()>();
    let (begin, begun) = tokio::sync::oneshot::channel();
    {
        let work = worker.run(move || {
            begin.send(()).unwrap();
            ended.recv().unwrap();
        });
        tokio::select! {
            _ = work => panic!("nothing ends it"),
            begun = begun => begun.unwrap(),
        }
    }
    // Its call is gone, and the thread is not.
    let mut next = Box::pin(worker.run(|| ()));
    assert!(futures::poll!(&mut next).is_pending());
    end.send(()).unwrap();
    next.await.unwrap();
}

#[tokio::test]
async fn few_directories_are_walked_at_one_time_and_no_tenant_walks_them_all() {
    let ours = worker(64, 1);
    let (end, ended) = mpsc::channel::<()>();
    let ended = Arc::new(std::sync::Mutex::new(ended));
    let walk = |worker: &Worker| {
        let (worker, ended) = (worker.clone(), Arc::clone(&ended));
        let (begin, begun) = tokio::sync::oneshot::channel();
        let walk = async move {
            let work = move || {
                begin.send(()).unwrap();
                ended.lock().unwrap().recv().unwrap();
            };
            worker.walk(work).await.unwrap();
        };
        (tokio::spawn(walk), begun)
    };
    let mut walks = Vec::new();
    for _ in 0..WALKS_MAX * 3 / 4 {
        let (walking, begun) = walk(&ours);
        begun.await.unwrap();
        walks.push(walking);
    }
    let mut next = Box::pin(ours.walk(|| ()));
    assert!(futures::poll!(&mut next).is_pending(), "three quarters of them is one tenant's part");
    ours.run(|| ()).await.unwrap();
    let nobody = Worker { context: None, ..ours.clone() };
    nobody.walk(|| ()).await.unwrap();
    // Nobody knows which of them hears it first.
    walks.iter().for_each(|_| end.send(()).unwrap());
    for walking in walks {
        walking.await.unwrap();
    }
    next.await.unwrap();
}

#[tokio::test]
async fn what_work_computes_is_charged_and_what_it_waits_for_is_not() {
    let worker = worker(1, 1);
    let compute = || {
        let before = computed();
        while computed() - before < Duration::from_millis(20) {
            std::hint::black_box(0);
        }
    };
    worker.run(compute).await.unwrap();
    let context = worker.context.clone().unwrap();
    let charged = context.meter.cpu();
    assert!(charged >= Duration::from_millis(20), "{charged:?}");
}

#[test]
fn a_desk_lets_files_be_open_well_below_what_the_process_may_have() {
    let desk = Desk::default();
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    assert!(u64::from(desk.open.whole().capacity()) <= (limit / 4).max(1));
    assert_eq!(desk.threads.whole().capacity(), 64);
}

#[test]
fn files_that_are_open_are_counted_over_all_guests() {
    let worker = worker(1, 3);
    let held = [worker.try_open().unwrap(), worker.try_open().unwrap()];
    assert!(worker.try_open().is_none(), "one is left to other tenants");
    drop(held);
    assert!(worker.try_open().is_some());
}
