//! The command line's contract: what goes to standard output, what to standard error, and with which
//! exit code.

mod client;
mod demo;
mod serve;

use aop_tests::{AgentsDirectory, Aop, Finished, Host, component, eventually, guest, repository};
use serde_json::{Value, json};

fn path(guest_name: &str) -> String {
    guest(guest_name).display().to_string()
}

/// `aop run` of a fixture guest, with `--json`.
async fn run(guest_name: &str, tool: &str, arguments: &str) -> Finished {
    Aop::new(&["run", &path(guest_name), tool, arguments, "--json"]).run().await
}

#[tokio::test]
async fn the_configuration_reference_is_the_one_in_the_docs() {
    let printed = Aop::new(&["config", "reference"]).run().await.code(0);
    let kept =
        std::fs::read_to_string(repository().join("docs/configuration.md")).expect("it is kept");
    assert_eq!(printed.stdout, kept, "run: aop config reference > docs/configuration.md");
}

#[tokio::test]
async fn inspect_tells_everything_as_json() {
    let finished = Aop::new(&["inspect", &path("types"), "--json"]).run().await.code(0);
    let report = finished.json();
    let members: Vec<_> =
        report.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut expected =
        vec!["digest", "size_bytes", "imports", "tools", "offers", "refused", "allowed"];
    expected.sort_unstable();
    let mut sorted = members.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    let digest = report["digest"].as_str().expect("a digest");
    assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
    let size = std::fs::metadata(guest("types")).expect("the guest is there").len();
    assert_eq!(report["size_bytes"], size);
    assert_eq!(report["refused"], json!([]));
    let tools = report["tools"].as_array().expect("tools");
    for tool in tools {
        let mut members: Vec<_> =
            tool.as_object().expect("an object").keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["description", "inputSchema", "name", "outputSchema", "signature"]);
    }
    let point = tools
        .iter()
        .find(|tool| tool["name"] == "types_swap")
        .expect("the tool is named after the agent");
    assert_eq!(
        point["signature"],
        "swap: func(points: tuple<point, point>) -> tuple<point, point>"
    );
    assert_eq!(point["description"], "A record of records, so that types refer to each other.");
    assert_eq!(point["inputSchema"]["required"], json!(["points"]));
}

#[tokio::test]
async fn inspect_names_the_agent_after_the_file() {
    let directory = AgentsDirectory::new().with_as("echo", "My_Agent.v2");
    let file = directory.path().join("My_Agent.v2.wasm").display().to_string();
    let finished = Aop::new(&["inspect", &file, "--json"]).run().await.code(0);
    assert_eq!(finished.json()["tools"][0]["name"], "my-agent-v2_echo");
}

#[tokio::test]
async fn inspect_lists_what_is_imported_and_what_is_refused() {
    let report = Aop::new(&["inspect", &path("config"), "--json"]).run().await.code(0).json();
    let imports: Vec<_> =
        report["imports"].as_array().expect("imports").iter().filter_map(Value::as_str).collect();
    assert!(imports.contains(&"wasi:config/store@0.2.0-rc.1"), "{imports:?}");
    assert!(imports.is_sorted(), "{imports:?}");

    let directory = AgentsDirectory::new().with_text("handles", HANDLES);
    let file = directory.path().join("handles.wasm").display().to_string();
    let report = Aop::new(&["inspect", &file, "--json"]).run().await.code(0).json();
    let refused = report["refused"].as_array().expect("refusals");
    assert_eq!(refused.len(), 1, "{report}");
    assert!(
        refused[0]["function"].as_str().is_some_and(|function| function.contains("open")),
        "{report}"
    );
    assert!(
        refused[0]["reason"].as_str().is_some_and(|reason| reason.contains("resource")),
        "{report}"
    );
    let tools: Vec<_> =
        report["tools"].as_array().expect("tools").iter().map(|tool| &tool["name"]).collect();
    assert_eq!(tools, ["handles_well"], "the others are still served");
}

#[tokio::test]
async fn what_is_no_tool_is_told_whoever_loads_it() {
    let agents = AgentsDirectory::new().with_text("handles", HANDLES);
    let host = Host::serve(agents.path()).await;
    let told = eventually("the log says so", || async {
        let lines = host.log_lines().into_iter();
        lines.into_iter().find(|line| line["message"] == "a function is no tool")
    })
    .await;
    assert_eq!(told["agent_name"], "handles");
    assert!(told["function"].as_str().is_some_and(|function| function.contains("open")), "{told}");
    let file = agents.path().join("handles.wasm").display().to_string();
    let loaded = host.aop(&["agent", "load", &file, "--name", "again"]).run().await.code(0);
    let says = |text: &str| loaded.stderr.contains(text);
    assert!(says("open") && says("is no tool"), "{}", loaded.stderr);
}

#[tokio::test]
async fn what_compiling_may_cost_holds_without_a_server() {
    let component = path("echo");
    let commands = [&["inspect", &component][..], &["run", &component, "echo", r#"{"text":"hi"}"#]];
    for command in commands {
        let refused = Aop::new(command).env("AOP_COMPILE_COMPONENT", "1KiB").run().await.code(2);
        assert!(refused.stderr.contains("`component` under `[compile]`"), "{}", refused.stderr);
    }
}

/// One function that deals in handles, and one that does not.
const HANDLES: &str = r#"(component
  (type $file' (resource (rep i32)))
  (core module $m
    (func (export "open") (result i32) (i32.const 0))
    (func (export "well") (result i32) (i32.const 7)))
  (core instance $i (instantiate $m))
  (export $file "file" (type $file'))
  (func (export "open") (result (own $file)) (canon lift (core func $i "open")))
  (func (export "well") (result u32) (canon lift (core func $i "well"))))"#;

#[tokio::test]
async fn inspect_shows_people_the_same() {
    Aop::new(&["inspect", &path("echo")]).run().await.code(0).prints(&["sha256:", "echo_echo"]);
}

#[tokio::test]
async fn run_prints_exactly_the_envelope() {
    let finished = run("echo", "echo_echo", r#"{"text": "hi"}"#).await.code(0);
    assert_eq!(finished.stdout, "{\"success\":true,\"result\":\"hi\"}\n");
    let finished = run("types", "nothing", "{}").await.code(0);
    assert_eq!(finished.stdout, "{\"success\":true,\"result\":null}\n");
}

#[tokio::test]
async fn run_takes_the_function_for_the_tool() {
    assert_eq!(run("echo", "echo", r#"{"text": "hi"}"#).await.code(0).json()["result"], "hi");
    let finished = run("types", "identity-u8", r#"{"value": 7}"#).await.code(0);
    assert_eq!(finished.json()["result"], 7);
    // What inspect shows works, too.
    let finished = run("types", "identity_u8", r#"{"value": 7}"#).await.code(0);
    assert_eq!(finished.json()["result"], 7);
}

#[tokio::test]
async fn run_reads_its_arguments_from_standard_input() {
    let aop =
        Aop::new(&["run", &path("echo"), "echo", "-", "--json"]).input(br#"{"text": "piped"}"#);
    assert_eq!(aop.run().await.code(0).json()["result"], "piped");
}

#[tokio::test]
async fn run_prints_text_as_text() {
    let finished =
        Aop::new(&["run", &path("echo"), "echo", r#"{"text": "a\nb"}"#]).run().await.code(0);
    assert_eq!(finished.stdout, "a\nb\n");
}

#[tokio::test]
async fn a_failure_is_an_envelope_and_exit_code_1() {
    let finished = run("faults", "fail", r#"{"message": "no"}"#).await.code(1);
    assert_eq!(finished.json(), json!({ "success": false, "error": "no", "code": "guest_error" }));
    let finished = run("faults", "fail-typed", r#"{"code": 4, "message": "no"}"#).await.code(1);
    let envelope = finished.json();
    assert_eq!(envelope["code"], "guest_error");
    assert_eq!(envelope["details"], json!({ "code": 4, "message": "no" }));
    for (function, arguments, code) in [
        ("trap", "{}", "guest_trapped"),
        ("panic", r#"{"message": "help"}"#, "guest_trapped"),
        ("exit", r#"{"code": 0}"#, "guest_trapped"),
        ("exit", r#"{"code": 1}"#, "guest_trapped"),
        ("recurse", r#"{"depth": 0}"#, "guest_limit"),
        ("allocate", r#"{"mebibytes": 100}"#, "guest_limit"),
        ("big-result", r#"{"bytes": 20000000}"#, "guest_limit"),
    ] {
        let envelope = run("faults", function, arguments).await.code(1).json();
        assert_eq!(envelope["code"], code, "{function}: {envelope}");
        assert!(envelope["error"].as_str().is_some_and(|error| !error.is_empty()), "{envelope}");
    }
}

#[tokio::test]
async fn invalid_arguments_are_a_failure_and_not_misuse() {
    let envelope = run("types", "concat", r#"{"second": 1, "third": true}"#).await.code(1).json();
    assert_eq!(envelope["success"], false);
    assert_eq!(envelope["code"], "invalid_arguments");
    let pointers: Vec<_> = envelope["details"]
        .as_array()
        .expect("violations")
        .iter()
        .map(|violation| &violation["pointer"])
        .collect();
    assert_eq!(pointers.len(), 3, "every mistake at once: {envelope}");
    for pointer in ["/second", "/third"] {
        assert!(pointers.contains(&&json!(pointer)), "{pointer}: {envelope}");
    }
}

#[tokio::test]
async fn run_obeys_its_limits() {
    let arguments = [
        "run",
        &path("faults"),
        "sleep",
        r#"{"milliseconds": 60000}"#,
        "--timeout",
        "100ms",
        "--json",
    ];
    let envelope = Aop::new(&arguments).run().await.code(1).json();
    assert_eq!(envelope["code"], "deadline_exceeded");
    let arguments =
        ["run", &path("faults"), "allocate", r#"{"mebibytes": 20}"#, "--memory", "16MiB", "--json"];
    let envelope = Aop::new(&arguments).run().await.code(1).json();
    assert_eq!(envelope["code"], "guest_limit");
    let arguments = [
        "run",
        &path("faults"),
        "allocate",
        r#"{"mebibytes": 100}"#,
        "--memory",
        "256MiB",
        "--json",
    ];
    assert_eq!(Aop::new(&arguments).run().await.code(0).json()["result"], 100);
}

#[tokio::test]
async fn run_uses_the_settings_beside_the_component() {
    let directory = AgentsDirectory::new().with("config").with_settings(
        "config",
        "[config]\ncolour = \"green\"\n[tools.config-get]\nname = \"ask\"\n",
    );
    let file = directory.path().join("config.wasm").display().to_string();
    let finished =
        Aop::new(&["run", &file, "ask", r#"{"key": "colour"}"#, "--json"]).run().await.code(0);
    assert_eq!(finished.json()["result"], "green");
}

#[tokio::test]
async fn run_logs_what_the_settings_and_the_environment_ask_for() {
    let directory = AgentsDirectory::new().with("echo");
    let file = directory.path().join("echo.wasm").display().to_string();
    let arguments = ["run", file.as_str(), "echo", r#"{"text": "hi"}"#, "--json"];
    let quiet = Aop::new(&arguments).run().await.code(0);
    assert!(!quiet.stderr.contains("Success in"), "{}", quiet.stderr);

    let debug = Aop::new(&arguments).env("AOP_LOG_LEVEL", "debug").run().await.code(0);
    assert!(debug.stderr.contains("Agent execution finished"), "{}", debug.stderr);
    let refused = Aop::new(&arguments).env("AOP_LOG_LEVEL", "loud").run().await.code(2);
    assert!(refused.stderr.contains("AOP_LOG_LEVEL: `loud` is not a level"), "{}", refused.stderr);

    let _directory = directory.with_settings("echo", "verbose = true\n");
    let verbose = Aop::new(&arguments).run().await.code(0);
    assert!(verbose.stderr.contains("Success in"), "{}", verbose.stderr);
    assert_eq!(verbose.json()["result"], "hi");
    let silenced = Aop::new(&arguments).env("AOP_LOG_LEVEL", "off").run().await.code(0);
    assert_eq!(silenced.stderr, "");
}

#[tokio::test]
async fn misuse_is_exit_code_2_and_says_what_to_do() {
    let echo = path("echo");
    let cases: [(&[&str], &str); 12] = [
        (&["run", &echo, "echo", "{not json"], "JSON"),
        (&["run", &echo, "nobody"], "nobody"),
        (&["run", "/nowhere/agent.wasm", "echo"], "/nowhere/agent.wasm"),
        (&["run", &echo, "echo", "{}", "--timeout", "5"], "5s"),
        (&["run", &echo, "echo", "{}", "--timeout", "0s"], "1ms"),
        (&["run", &echo, "echo", "{}", "--memory", "lots"], "MiB"),
        (&["run", &echo, "echo", "{}", "--memory", "1TiB"], "4GiB"),
        (&["inspect", "/nowhere/agent.wasm"], "/nowhere/agent.wasm"),
        (&["inspect"], "FILE"),
        (&["frobnicate"], "frobnicate"),
        (&["serve", "--lisen", "127.0.0.1:0"], "--listen"),
        (&[], "Usage"),
    ];
    for (arguments, text) in cases {
        let finished = Aop::new(arguments).run().await.code(2);
        assert!(
            finished.stderr.contains(text),
            "{arguments:?} says {text:?}:\n{}",
            finished.stderr
        );
        assert_eq!(finished.stdout, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn what_is_no_component_is_refused_with_the_fix() {
    let directory = AgentsDirectory::new();
    let module = directory.put("module.wasm", &component("(module)"));
    let text = directory.put("text.wasm", b"(component)");
    for (file, word) in [(module, "component"), (text, "text")] {
        let file = file.display().to_string();
        for arguments in [&["inspect", &file][..], &["run", &file, "run"]] {
            let finished = Aop::new(arguments).run().await.code(2);
            assert!(finished.stderr.contains(word), "{arguments:?}: {}", finished.stderr);
        }
    }
}

#[tokio::test]
async fn mistakes_in_settings_are_all_told_at_once_with_their_lines() {
    let settings = "timout = \"5s\"\nmemory = 5\n[policy]\nnetwork = true\n";
    let directory = AgentsDirectory::new().with("echo").with_settings("echo", settings);
    let file = directory.path().join("echo.wasm").display().to_string();
    let finished = Aop::new(&["run", &file, "echo", r#"{"text": ""}"#]).run().await.code(2);
    finished.complains(&["timout", "timeout", "memory", "network", "line 1", "line 2", "line 4"]);
}

#[tokio::test]
async fn completions_are_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        Aop::new(&["completions", shell]).run().await.code(0).prints(&["aop", "inspect"]);
    }
    let _ = Aop::new(&["completions", "tcsh"]).run().await.code(2);
}

#[tokio::test]
async fn mcp_configurations_can_be_pasted() {
    for (client, table) in
        [("claude", "mcpServers"), ("cursor", "mcpServers"), ("vscode", "servers")]
    {
        let finished =
            Aop::new(&["mcp-config", client, "--url", "http://127.0.0.1:9000"]).run().await.code(0);
        let server = &finished.json()[table]["aop"];
        assert_eq!(server["url"], "http://127.0.0.1:9000/mcp", "{client}");
    }
    let finished =
        Aop::new(&["mcp-config", "claude", "--stdio", "--agents", "agents"]).run().await.code(0);
    let server = &finished.json()["mcpServers"]["aop"];
    let arguments: Vec<_> =
        server["args"].as_array().expect("arguments").iter().filter_map(Value::as_str).collect();
    assert!(arguments.starts_with(&["serve"]) && arguments.contains(&"--stdio"), "{server}");
    let _ = Aop::new(&["mcp-config", "emacs"]).run().await.code(2);
}

#[tokio::test]
async fn every_command_shows_an_example() {
    let commands: [&[&str]; 17] = [
        &["serve"],
        &["demo"],
        &["inspect"],
        &["run"],
        &["tools"],
        &["call"],
        &["agent"],
        &["agent", "list"],
        &["agent", "show"],
        &["agent", "load"],
        &["agent", "unload"],
        &["agent", "rollback"],
        &["config", "check"],
        &["mcp-config"],
        &["completions"],
        &["bench"],
        &[],
    ];
    for command in commands {
        let finished = Aop::new(&[command, &["--help"]].concat()).run().await.code(0);
        assert!(finished.stdout.contains("Usage: aop"), "{command:?}");
        let is_group = command.is_empty() || command == ["agent"];
        assert!(
            is_group || finished.stdout.contains("Example"),
            "{command:?}:\n{}",
            finished.stdout
        );
    }
    Aop::new(&["--version"]).run().await.code(0).prints(&["aop "]);
}

#[tokio::test]
async fn the_configuration_is_checked_as_a_whole() {
    let directory = AgentsDirectory::new();
    let good = directory
        .put("good.toml", b"listen = \"127.0.0.1:9000\"\n[mcp]\npage_size = 50\n")
        .display()
        .to_string();
    let _ = Aop::new(&["config", "check", "--config", &good]).run().await.code(0);
    let text =
        b"lisen = \"127.0.0.1:9000\"\ndrain_grace = 5\n[mcp]\npage_size = 0\nexpose = \"some\"\n";
    let bad = directory.put("bad.toml", text).display().to_string();
    let finished = Aop::new(&["config", "check", "--config", &bad]).run().await;
    assert!(matches!(finished.status.code(), Some(1 | 2)), "{finished:?}");
    let told = format!("{}{}", finished.stdout, finished.stderr);
    for text in [
        "lisen",
        "listen",
        "drain_grace",
        "page_size",
        "expose",
        "line 1",
        "line 2",
        "line 4",
        "line 5",
    ] {
        assert!(told.contains(text), "{text}: {told}");
    }
    let finished = Aop::new(&["serve", "--config", &bad]).run().await.code(2);
    finished.complains(&["lisen", "line 5"]);
}

#[tokio::test]
async fn settings_of_tools_that_a_component_does_not_have_are_mistakes() {
    let agents =
        AgentsDirectory::new().with("echo").with_settings("echo", "[tools.ehco]\nname = \"say\"\n");
    let check = async || {
        let text = format!("agents = [{:?}]\ndata = {:?}\n", agents.path(), agents.path());
        let config = agents.put("aop.toml", text.as_bytes()).display().to_string();
        Aop::new(&["config", "check", "--config", &config]).run().await
    };
    check().await.code(2).complains(&["echo.toml", "`[tools.ehco]`", "did you mean `echo`?"]);
    agents.put("echo.toml", b"[tools.echo]\nname = \"say\"\n");
    let _ = check().await.code(0);
}

#[tokio::test]
async fn an_unknown_variable_is_a_mistake_too() {
    let finished = Aop::new(&["config", "check"]).env("AOP_LISEN", "127.0.0.1:0").run().await;
    assert_ne!(finished.status.code(), Some(0), "{finished:?}");
    assert!(
        format!("{}{}", finished.stdout, finished.stderr).contains("AOP_LISTEN"),
        "{finished:?}"
    );
}
