use std::time::Duration;

use super::keys::{MISTAKES_MAX, TEXT_MAX_BYTES};
use super::*;

fn mistakes(text: &str) -> Vec<String> {
    Settings::from_toml(text).unwrap_err().iter().map(ToString::to_string).collect()
}

fn mistake(text: &str) -> String {
    let mut all = mistakes(text);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(Settings::from_toml("").unwrap(), Settings::default());
    assert_eq!(
        Settings::from_toml("# nothing\n[policy]\n[config]\n").unwrap(),
        Settings::default()
    );
}

#[test]
fn every_key_arrives() {
    let settings = Settings::from_toml(
        r#"
description = "Counts things"
timeout = "1m 30s"
memory = "128MiB"
output = "1MiB"
concurrency = 4
queue = 0
log_lines_per_second = 7
max_retries = 1
lifetime = "warm"
verbose = true
traceback = false

[warm]
calls_max = 10
idle = "5s"

[config]
greeting = "hello"
"dotted.key" = "x"

[tools.count-words]
name = "count"
title = "Count"
description = "Counts words"
idempotent = true
read_only = true
destructive = false
open_world = false
task = "required"

[tools.count-words.headers]
text = "Text"

[tools."acme:text/kit#other"]
idempotent = true
"#,
    )
    .unwrap();
    assert_eq!(settings.description.as_deref(), Some("Counts things"));
    assert_eq!(
        settings.limits,
        Limits {
            timeout: Duration::from_secs(90),
            memory_max_bytes: 128 << 20,
            output_max_bytes: 1 << 20,
            concurrency: 4,
            queue: 0,
            log_lines_per_second: 7,
            ..Limits::default()
        }
    );
    assert_eq!(settings.max_retries, 1);
    assert_eq!(
        settings.lifetime,
        Lifetime::Warm { calls_max: 10, idle_max: Duration::from_secs(5) }
    );
    assert!(settings.verbose && !settings.traceback);
    assert_eq!(settings.config["dotted.key"], "x");
    let tool = &settings.tools["count-words"];
    assert_eq!(tool.name.as_deref(), Some("count"));
    let said = (tool.read_only, tool.destructive, tool.open_world);
    assert_eq!(said, (Some(true), Some(false), Some(false)));
    assert_eq!((tool.task, tool.headers["text"].as_str()), (TaskUse::Required, "Text"));
    let other = &settings.tools["acme:text/kit#other"];
    assert!(other.idempotent && other.task == TaskUse::Never && other.headers.is_empty());
}

#[test]
fn warm_without_further_settings_has_the_defaults() {
    assert_eq!(Settings::from_toml("lifetime = \"warm\"").unwrap().lifetime, Lifetime::WARM);
}

#[test]
fn every_mistake_is_reported_at_once_in_the_order_of_lines() {
    let text = "timout = \"3s\"\nmemory = 64\nmax_retries = 11\n\n[tools.run]\ntimeout = \"1s\"\nidempotant = true\n";
    insta::assert_snapshot!(mistakes(text).join("\n"), @r#"
    line 1: unknown key "timout", did you mean "timeout"?
    line 2: `memory`: expected a size with its unit, like `memory = "64MiB"`, but this is of type integer
    line 3: `max_retries`: 11 is outside 1 to 10 (a call runs at least once, and what fails ten times fails again)
    line 6: unknown key "tools.run.timeout": the keys here are name, title, description, idempotent, read_only, destructive, open_world, task, headers
    line 7: unknown key "tools.run.idempotant", did you mean "idempotent"?
    "#);
}

#[test]
fn a_mistake_says_what_would_be_right() {
    insta::assert_snapshot!(
        [
            "timeout = 30",
            "timeout = \"30\"",
            "timeout = \"soon\"",
            "memory = \"64\"",
            "memory = \"lots\"",
            "lifetime = \"hot\"",
            "verbose = \"yes\"",
            "concurrency = \"4\"",
            "concurrency = -1",
            "description = \"\"",
            "description = 3",
            "config = 3",
            "[config]\nkey = 3",
            "[policy]\nnetwork = true",
            "[policy]\nhttp = [\"https://*\"]",
            "[policy]\nhttp = [\"GET https://a.test\",\n\"example.com\"]",
            "[policy]\ndirectories = [\"read data as /data\"]",
            "[policy]\nprivate_networks = [\"10.0.0.0/33\"]",
            "[policy]\ntools = \"*\"",
            "[model]\nname = \"m\"",
            "[model]\nprovider = \"p\"",
            "[model]\nprovider = \"p\"\nname = \"m\"\ntemperature = nan",
            "[warm]\nidle = \"5s\"",
            "lifetime = \"warm\"\n[warm]\nverbose = true",
            "[tools.run]\nname = \"two__parts\"",
            "tools.run = 3",
            "timeout = \"1s\"\ntimeout = \"2s\"",
            "timeout = ",
        ]
        .map(mistake)
        .join("\n"),
        @r#"
    line 1: `timeout`: expected a duration with its unit, like `timeout = "30s"`, but this is of type integer
    line 1: `timeout`: `30` has no unit: write `30s` or `30ms`
    line 1: `timeout`: `soon` is not a duration: write it like `30s`, `250ms` or `2m`
    line 1: `memory`: `64` has no unit: write `64MiB` or `64KiB`
    line 1: `memory`: `lots` is not a size: write it like `64MiB` or `512KiB`
    line 1: `lifetime`: `hot` is not one of `call`, `warm`
    line 1: `verbose`: expected `true` or `false`, without quotes, like `verbose = true`, but this is of type string
    line 1: `concurrency`: expected a whole number, without quotes, like `concurrency = 1`, but this is of type string
    line 1: `concurrency`: -1 is outside 1 to 65536 (an agent that may run nothing should be unloaded, and more instances do not fit the kernel's memory maps)
    line 1: `description`: it must not be empty: leave the key out instead
    line 1: `description`: expected text in quotes, like `description = "…"`, but this is of type integer
    line 1: `config` is a table: write `[config]` and its keys below that
    line 2: `config.key`: expected text in quotes, like `key = "…"`
    line 2: unknown key "policy.network": the keys here are http, private_networks, directories, environment, tools, shared_state, clock, random
    line 2: `policy.http[0]`: the host of `https://*` must be a name, an address, or `*.` and a name: a star alone would be the whole network
    line 3: `policy.http[1]`: `example.com` must begin with https:// or http://, like `GET https://api.example.com/v1/*`
    line 2: `policy.directories[0]`: `read data as /data` must be `read PATH as PATH` or `write PATH as PATH` with absolute paths, like `read /srv/reference as /data`
    line 2: `policy.private_networks`: invalid IP address syntax: write networks like `10.1.0.0/16` or `fd00::/8`
    line 2: `policy.tools`: expected a list of texts, like `tools = ["…"]`, but this is of type string
    line 1: `[model]` needs `provider`: one of the host's configuration, or "client" for the connected client's own
    line 1: `[model]` needs `name`: which of the provider's models to use
    line 4: `model.temperature`: it must be a number
    line 1: `[warm]` has no effect: add `lifetime = "warm"` above the first `[table]`
    line 3: unknown key "warm.verbose": it belongs above the first `[table]`
    line 2: `tools.run.name`: `two__parts` is not a valid tool name: use 1 to 64 of A-Z, a-z, 0-9, `_` and `-`, starting with a letter, without `__`; set a shorter one with `[tools.<function>] name = "…"`
    line 1: `tools.run` is a table: write `[tools.run]` and its keys below that
    line 2: `timeout` is set twice: keep one of them
    line 1: not TOML: unexpected eof encountered
    "#);
}

#[test]
fn columns_count_characters_from_one() {
    let found = Settings::from_toml("[tools]\n\"é\" = { nme = \"x\" }\n").unwrap_err();
    assert_eq!((found[0].line, found[0].column), (2, 9));
}

#[test]
fn the_ends_of_every_range_are_allowed_and_the_next_value_is_not() {
    for (key, inside, outside) in [
        ("timeout", ["\"1ms\"", "\"24h\""], ["\"999us\"", "\"86401s\""]),
        ("memory", ["\"64KiB\"", "\"4GiB\""], ["\"65535B\"", "\"4294967297B\""]),
        ("output", ["\"1KiB\"", "\"256MiB\""], ["\"1023B\"", "\"257MiB\""]),
        ("concurrency", ["1", "65536"], ["0", "65537"]),
        ("queue", ["0", "1000000"], ["-1", "1000001"]),
        ("log_lines_per_second", ["0", "100000"], ["-1", "100001"]),
        ("max_retries", ["1", "10"], ["0", "11"]),
        ("state.keys_max", ["0", "10000000"], ["-1", "10000001"]),
        ("state.size_max", ["\"0B\"", "\"64GiB\""], ["\"65GiB\"", "\"100GiB\""]),
        ("lifetime = \"warm\"\nwarm.calls_max", ["1", "1000000"], ["0", "1000001"]),
        ("lifetime = \"warm\"\nwarm.idle", ["\"1ms\"", "\"24h\""], ["\"0s\"", "\"25h\""]),
    ] {
        for value in inside {
            assert!(Settings::from_toml(&format!("{key} = {value}")).is_ok(), "{key} = {value}");
        }
        for value in outside {
            let found = mistake(&format!("{key} = {value}"));
            assert!(found.contains("is outside"), "{key} = {value}: {found}");
        }
    }
}

#[test]
fn the_ends_of_the_models_ranges() {
    for (key, inside, outside) in [
        ("temperature", ["0", "2.0"], ["-0.1", "2.1"]),
        ("max_tokens", ["1", "1000000"], ["0", "1000001"]),
        ("max_loops", ["1", "1000"], ["0", "1001"]),
        ("tokens_per_call", ["1", "1000000000"], ["0", "1000000001"]),
        ("tokens_per_day", ["1", "1000000000000"], ["0", "1000000000001"]),
    ] {
        let text = |value| format!("[model]\nprovider = \"p\"\nname = \"m\"\n{key} = {value}");
        for value in inside {
            assert!(Settings::from_toml(&text(value)).is_ok(), "{key} = {value}");
        }
        for value in outside {
            assert!(mistake(&text(value)).contains("is outside"), "{key} = {value}");
        }
    }
}

#[test]
fn a_model_and_a_policy_are_read_and_kept() {
    let settings = Settings::from_toml(
        r#"
        [model]
        provider = "ollama"
        name = "llama"
        system = "Be brief."
        temperature = 0.5
        [state]
        keys_max = 7
        [policy]
        http = ["GET https://api.example.com/v1/*"]
        private_networks = ["10.1.0.0/16"]
        directories = ["read /srv/reference as /data"]
        environment = ["TZ"]
        tools = ["textkit_*"]
        shared_state = true
        "#,
    )
    .unwrap();
    let model = settings.model.as_ref().unwrap();
    assert_eq!((model.provider.as_str(), model.max_loops), ("ollama", 8));
    assert_eq!(settings.limits.state_keys_max, 7);
    assert!(settings.policy.permits_tool("textkit_summarize").is_ok());
    assert!(settings.policy.shared_state);
    let stored = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<Settings>(&stored).unwrap(), settings);
    assert!(settings.grant_anything() && !Settings::default().grant_anything());
    let model_alone = Settings { model: settings.model.clone(), ..Settings::default() };
    let policy_alone = Settings { policy: settings.policy.clone(), ..Settings::default() };
    assert!(model_alone.grant_anything() && policy_alone.grant_anything());
    assert!(Settings::default().model.is_none());
    assert_eq!(Settings::default().policy, crate::Policy::deny_all());
}

#[test]
fn text_entries_and_mistakes_are_bounded() {
    let long = |chars| format!("description = \"{}\"", "é".repeat(chars));
    assert!(Settings::from_toml(&long(4096)).is_ok());
    assert!(mistake(&long(4097)).contains("at most 4096"));

    let entries = |count| {
        (0..count).fold("[config]\n".to_owned(), |text, n| text + &format!("k{n} = \"v\"\n"))
    };
    assert_eq!(Settings::from_toml(&entries(256)).unwrap().config.len(), 256);
    assert!(mistake(&entries(257)).contains("at most 256"));

    let value = format!("[config]\nk = \"{}\"", "x".repeat((64 << 10) + 1));
    assert!(mistake(&value).contains("longer than 64 KiB"));

    assert!(mistake(&" ".repeat(TEXT_MAX_BYTES + 1)).contains("longer than 1024 KiB"));

    let tools = (0..4097).fold(String::new(), |text, n| text + &format!("[tools.f{n}]\n"));
    assert!(mistake(&tools).contains("at most 4096"));

    let wrong = (0..200).fold(String::new(), |text, n| text + &format!("zzz{n} = 1\n"));
    assert_eq!(mistakes(&wrong).len(), MISTAKES_MAX);
}

/// The most characters of a message, the line's number included.
const LINE_CHARS_MAX: usize = 2020;

/// As much as an upload may have, in each way that once took seconds or was repeated whole.
#[test]
fn a_file_of_nothing_but_mistakes_is_told_of_a_few() {
    let long = "k".repeat(200_000);
    let tables: String =
        (0..4000).fold(String::new(), |text, n| text + &format!("[tools.f{n}]\nx = 1\n"));
    let inline: Vec<_> = (0..20_000).map(|n| format!("k{n}=1")).collect();
    for text in [
        (0..30_000).fold(String::new(), |text, n| text + &format!("k{n}=1\n")),
        format!("warm = {{{}}}", inline.join(",")),
        tables,
        format!("[tools.{long}]\na=1\nb=1\nname = 3\n"),
        format!("[export]\nto = []\n[{long}]\n"),
    ] {
        let told = mistakes(&text);
        assert!(!told.is_empty() && told.len() <= MISTAKES_MAX, "{}", told.len());
        assert!(told.iter().all(|told| told.chars().count() <= LINE_CHARS_MAX), "{told:?}");
    }
}

#[test]
fn what_the_author_wrote_is_repeated_shortened() {
    let long = "é".repeat(10_000);
    for text in [
        format!("\"{long}\" = 1"),
        format!("timeout = \"{long}\""),
        format!("timeout = \"{}\"", "1".repeat(200)),
        format!("memory = \"{long}\""),
        format!("lifetime = \"{long}\""),
        format!("\"{long}\" = 1\n\"{long}\" = 1"),
        format!("[tools.\"{long}\"]\nread_only = 3"),
        format!("[policy]\nhttp = [\"{long}\"]"),
    ] {
        let told = mistake(&text);
        assert!(told.chars().count() <= LINE_CHARS_MAX && told.contains('…'), "{told}");
    }
    let told = mistake(&format!("\"{long}\" = 1"));
    assert!(told.contains(&"é".repeat(64)) && !told.contains(&"é".repeat(65)), "{told}");
    assert!(told.contains("the keys here are") && !told.contains("did you mean"), "{told}");
}

#[test]
fn a_mistake_knows_its_line_and_column() {
    let at = |text: &str| {
        let mistakes = Settings::from_toml(text).unwrap_err();
        (mistakes[0].line, mistakes[0].column)
    };
    assert_eq!(at("zzz = 1"), (1, 1));
    assert_eq!(at("\n# é\n  zzz = 1\n"), (3, 3));
    assert_eq!(
        at("warm = { \"é\" = 1, idle = \"1s\" }"),
        (1, 1),
        "`[warm]` has no effect comes first"
    );
    assert_eq!(at("[config]\n\"é\" = \"\"\nx = 3"), (3, 1));
    assert_eq!(at("description = \"é\" x"), (1, 19));
}

#[test]
fn deep_nesting_is_a_mistake() {
    let text = format!("description = {}", "[".repeat(100_000));
    assert!(mistake(&text).starts_with("line 1: not TOML"));
}

#[test]
fn the_reference_names_every_key_with_its_default() {
    let rows = agent_reference();
    let row = |key: &str| rows.iter().find(|row| row.key == key).unwrap();
    assert_eq!(row("timeout").default, "\"30s\"");
    assert_eq!(row("memory").default, "\"64MiB\"");
    assert_eq!(row("warm.idle").default, "\"1m\"");
    assert_eq!(row("lifetime").default, "\"call\"");
    assert_eq!(row("config.<key>").form, "text");
    assert_eq!(row("tools.<function>.idempotent").default, "false");
    assert!(rows.iter().all(|row| !row.meaning.is_empty()));
}

#[test]
fn quantities_read_back_as_they_are_shown() {
    for time in [Duration::from_millis(1), Duration::from_secs(90), Duration::from_secs(86_400)] {
        assert_eq!(parse_time(&show_time(time)), Ok(time));
    }
    for bytes in [1, 1023, 1024, 64 << 20, (64 << 20) + 1, 3 << 30] {
        assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
    }
}

#[test]
fn names_of_headers_are_tokens_and_bounded() {
    let long = "H".repeat(65);
    for header in ["", "a b", "a:b", "é", "a\\n", long.as_str()] {
        let text = format!("[tools.f.headers]\np = \"{header}\"\n");
        assert!(mistake(&text).contains("cannot follow `Mcp-Param-`"), "{header}");
    }
    assert!(mistake("[tools.f.headers]\np = 3\n").contains("expected a header's name in quotes"));
    let headers = |count: usize| {
        let header = |n| format!("p{n} = \"{}{n:02}\"\n", "H".repeat(62));
        format!("[tools.f.headers]\n{}", (0..count).map(header).collect::<String>())
    };
    assert_eq!(Settings::from_toml(&headers(16)).unwrap().tools["f"].headers.len(), 16);
    assert!(mistake(&headers(17)).contains("17 entries"));
    assert!(mistake("[tools.f]\ntask = true\n").contains("`tools.f.task`"));
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let deep = format!("a = {}1{}", open.repeat(100_000), close.repeat(100_000));
        let mistakes = Settings::from_toml(&deep).unwrap_err();
        assert!(mistakes[0].message.contains("not TOML"), "{mistakes:?}");
        assert_eq!(Lines::in_text(&deep), Lines::default());
    }
    let dotted = format!("a{} = 1", ".a".repeat(100_000));
    assert!(Settings::from_toml(&dotted).is_err());
}
