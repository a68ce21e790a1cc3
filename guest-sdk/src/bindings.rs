//! What the host offers, as `wit-bindgen` generates it. The other modules are what agents use.
//!
//! All imports are in one world: a component keeps only those that it really calls, so an agent that
//! never talks to a model does not import `aop:agent/model`.

wit_bindgen::generate!({
    path: [
        "wit/host/agent-0.1.0",
        "wit/host/deps/config",
        "wit/host/deps/keyvalue",
        "wit/host/deps/logging",
    ],
    inline: "
        package aop:sdk;

        world imports {
            include aop:agent/host@0.1.0;
            import aop:agent/content@0.1.0;
            import wasi:config/store@0.2.0-rc.1;
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
            import wasi:logging/logging@0.1.0-draft;
        }
    ",
    world: "imports",
    generate_all,
    generate_unused_types: true,
    additional_derives: [PartialEq],
});
