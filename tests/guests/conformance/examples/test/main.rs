//! What the conformance suite calls, one module per part of MCP. The contracts are in the descriptions
//! of its scenarios.

mod answers;
mod arguments;
mod asking;
mod media;
mod offers;
mod running;
mod skills;

aop_agent::agent! {
    agent: Test,
    wit: "wit/test.wit",
    world: "conformance:test/test",
    packages: ["../../../wit/agent-0.1.0"],
    offers: [resources, prompts, completion, skills],
}

struct Test;
