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

/// What preparing an agent that is placed on a region says.
async fn placed(node: &Node, region: &str) -> Result<(), String> {
    let prepare = node.router.prepare(Arc::new(FakePrepare(Arc::new(Nothing))));
    let path = std::path::Path::new("component");
    let artifact = Artifact { path, digest: Digest::of(b"component") };
    let placement = [("region".to_owned(), region.to_owned())].into();
    let settings = Settings { placement, ..Settings::default() };
    let prepared = prepare.prepare(artifact, Arc::new(settings), &Payer::nobody()).await;
    prepared.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn an_agent_that_is_placed_elsewhere_is_refused_with_where_it_may_be() {
    let nodes = nodes(2, Settings::default()).await;
    let labels = |region: &str| [("region".to_owned(), region.to_owned())].into();
    nodes[0].router.label(labels("us"));
    nodes[1].zone.change(&nodes[1].id, |member| member.labels = labels("eu"));
    placed(&nodes[0], "us").await.unwrap();
    let refused = placed(&nodes[0], "mars").await.unwrap_err();
    assert!(refused.contains("region=mars") && refused.contains("region=us"), "{refused}");
    assert!(refused.contains("no live node"), "{refused}");
    let mut view = nodes[0].router.zone.get().unwrap().members.view();
    view.wait_for(|view| view.members[&nodes[1].id].labels == labels("eu")).await.unwrap();
    let refused = placed(&nodes[0], "eu").await.unwrap_err();
    assert!(refused.contains(nodes[1].id.as_str()), "{refused}");
}

#[tokio::test]
async fn on_a_lone_host_placement_holds_too() {
    let router = super::super::Router::new();
    let asked = [("region".to_owned(), "eu".to_owned())].into();
    let settings = Settings { placement: asked, ..Settings::default() };
    router.label(std::collections::BTreeMap::new());
    let refused = router.check_labels(&settings).unwrap_err().to_string();
    assert!(refused.contains("this node has none"), "{refused}");
    router.check_labels(&Settings::default()).unwrap();
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
