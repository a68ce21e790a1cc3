//! Agents of this node: those that stay as they are, and those whose calls are balanced over replicas.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aop_core::interface::Function;
use aop_core::quota::Payer;
use aop_core::settings::Balance;
use aop_core::{
    Artifact, BoxFuture, CallContext, Digest, Executable, Interface, Prepare, PrepareError,
    Prepared, Settings,
};

use super::{Node, Nothing, context, nodes};

struct FakePrepare(Arc<dyn Executable>);

impl Prepare for FakePrepare {
    fn forget(&self, _: Digest) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn prepare<'a>(
        &'a self,
        _: Artifact<'a>,
        _: Arc<Settings>,
        _: &'a Arc<Payer>,
    ) -> BoxFuture<'a, Result<Prepared, PrepareError>> {
        let mut interface = Interface::default();
        interface.functions.push(Function {
            interface: None,
            name: "echo".to_owned(),
            parameters: Vec::new(),
            result: None,
            is_async: false,
            docs: None,
            signature: String::new(),
        });
        let executable = Arc::clone(&self.0);
        Box::pin(async move { Ok(Prepared { interface: Arc::new(interface), executable }) })
    }
}

async fn prepared(node: &Node, settings: &Settings) -> (Arc<dyn Executable>, Arc<dyn Executable>) {
    let local: Arc<dyn Executable> = Arc::new(Nothing);
    let prepare = node.router.prepare(Arc::new(FakePrepare(local.clone())));
    let path = std::path::Path::new("component");
    let artifact = Artifact { path, digest: Digest::of(b"component") };
    let payer = Payer::nobody();
    let prepared = prepare.prepare(artifact, Arc::new(settings.clone()), &payer).await;
    let prepared = prepared.ok().unwrap();
    (local, prepared.executable)
}

async fn run(executable: &Arc<dyn Executable>, context: CallContext) -> String {
    let arguments = executable.validate(0, "{}").unwrap();
    let context = Arc::new(context);
    executable.execute(0, &arguments, &context).await.unwrap().json.get().to_owned()
}

#[tokio::test]
async fn without_balance_an_agent_is_prepared_as_on_a_lone_host() {
    let nodes = nodes(2, Settings::default()).await;
    for replicas in [None, Some(3)] {
        let settings = Settings { replicas, ..Settings::default() };
        let (local, executable) = prepared(&nodes[1], &settings).await;
        assert!(Arc::ptr_eq(&local, &executable), "its calls do not pass through the router");
    }
}

#[tokio::test]
async fn with_balance_the_replica_here_is_one_of_several() {
    let settings = Settings { balance: Some(Balance::RoundRobin), ..Settings::default() };
    let nodes = nodes(3, settings.clone()).await;
    nodes[1].until_foreign("agent", 1).await;
    let (_, executable) = prepared(&nodes[1], &settings).await;
    let mut here = 0;
    for _ in 0..10 {
        here += usize::from(run(&executable, context("agent_echo")).await == "\"here\"");
    }
    assert_eq!(here, 5);
    assert_eq!(nodes[2].invoke.calls.load(Ordering::SeqCst), 5);
    let from_a_node = CallContext { here: true, ..context("agent_echo") };
    assert_eq!(run(&executable, from_a_node).await, "\"here\"");
    nodes[2].kill();
    // Whichever call finds out that the node is gone may have run there: that is the dispatcher's to repeat.
    for _ in 0..2 {
        let arguments = executable.validate(0, "{}").unwrap();
        let _ = executable.execute(0, &arguments, &Arc::new(context("agent_echo"))).await;
    }
    for _ in 0..4 {
        assert_eq!(
            run(&executable, context("agent_echo")).await,
            "\"here\"",
            "nobody else takes it"
        );
    }
    let (_, other) = prepared(&nodes[1], &Settings { max_retries: 1, ..settings }).await;
    assert_eq!(
        run(&other, context("agent_echo")).await,
        "\"here\"",
        "others are no replicas of it"
    );
}
