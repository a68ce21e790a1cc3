use aop_core::{RevisionNumber, State};

use super::*;

fn agent(name: &str, state: State, error: Option<&str>) -> AgentStatus {
    AgentStatus {
        name: AgentName::new(name).unwrap(),
        id: None,
        state,
        revision: Some(RevisionNumber(3)),
        digest: None,
        component: None,
        provenance: None,
        origin: Origin::File { path: format!("agents/{name}.wasm").into() },
        pinned: name == "pinned",
        description: "Does\x1b[31m things".to_owned(),
        tools: vec![],
        refused: vec![],
        error: error.map(str::to_owned),
        warnings: vec![],
        in_flight: 2,
        concurrency: 256,
    }
}

#[test]
fn agents_are_listed_with_their_state_and_source() {
    let agents = [
        agent("textkit", State::Busy, None),
        agent("pinned", State::Error, Some("not a component")),
        AgentStatus { origin: Origin::Api, revision: None, ..agent("loaded", State::Init, None) },
    ];
    insta::assert_snapshot!(agents_table(&agents), @r"
    AGENT    STATE  REVISION  TOOLS  RUNNING  SOURCE
    textkit  BUSY   3         0      2/256    agents/textkit.wasm
    pinned   ERROR  3         0      2/256    agents/pinned.wasm (pinned)
    loaded   INIT   -         0      2/256    API
    ");
}

#[test]
fn one_agent_is_shown_with_what_is_wrong() {
    insta::assert_snapshot!(facts(&agent("textkit", State::Error, Some("line 1: unknown key"))), @r"
    agent        textkit
    id           -
    state        ERROR
    source       agents/textkit.wasm
    digest       -
    description  Does�[31m things
    running      2 of at most 256
    error        line 1: unknown key
    ");
}

#[test]
fn figures_are_shown_with_three_digits() {
    let stats = serde_json::json!({ "calls": 12, "p50_ms": 1.23456, "p99_ms": null });
    insta::assert_snapshot!(figures_table(stats.as_object().unwrap()), @r"
    FIGURE  SINCE THE START
    calls   12
    p50_ms  1.235
    p99_ms  -
    ");
}

#[test]
fn replicas_that_there_cannot_be_are_not_promised() {
    let name = AgentName::new("textkit").unwrap();
    let note = note_of_replicas(&name, Some(3), None).unwrap();
    assert!(note.contains("3 replicas") && note.contains("in no zone"), "{note}");
    assert_eq!(note_of_replicas(&name, Some(1), None), None);
    assert_eq!(note_of_replicas(&name, None, None), None);
}
