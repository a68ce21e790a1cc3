use super::*;

fn file(text: &str) -> File {
    File { path: PathBuf::from("dir/aop.toml"), text: text.to_owned() }
}

fn variables(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn flags(texts: &[(&'static str, &'static str, &str)]) -> Flags {
    Flags {
        texts: texts.iter().map(|(key, flag, text)| (*key, *flag, text.to_string())).collect(),
        ..Flags::default()
    }
}

fn mistakes(text: &str, environment: &[(&str, &str)], given: &Flags) -> String {
    Config::combine(Some(&file(text)), &variables(environment), given).unwrap_err().to_string()
}

#[test]
fn nothing_said_is_the_default_on_this_machine_only() {
    let config = Config::combine(None, &[], &Flags::default()).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
    assert!(config.differences(&Config::default()).is_empty());
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let text = "server_name = \"file\"\nlog_level = \"warn\"\nlisten = \"127.0.0.1:1\"\ndrain_grace = \"5s\"\n[mcp]\npage_size = 7\n";
    let environment = variables(&[
        ("AOP_LOG_LEVEL", "DEBUG"),
        ("AOP_LISTEN", "127.0.0.1:2"),
        ("AOP_MCP_PAGE_SIZE", "8"),
    ]);
    let given = flags(&[("listen", "--listen", "127.0.0.1:3")]);
    let config = Config::combine(Some(&file(text)), &environment, &given).unwrap();
    assert_eq!(config.server_name, "file");
    assert_eq!(config.mcp.server_name, "file");
    assert_eq!(config.log_level, "DEBUG");
    assert_eq!(config.mcp.page_size.get(), 8);
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.drain_grace, Duration::from_secs(5));
}

#[test]
fn paths_of_the_file_are_relative_to_it_and_those_of_flags_are_not() {
    let text = "agents = [\"a\", \"/b\"]\ndata = \"d\"\n";
    let config = Config::combine(Some(&file(text)), &[], &Flags::default()).unwrap();
    assert_eq!(config.agents, [PathBuf::from("dir/a"), PathBuf::from("/b")]);
    assert_eq!(config.data, Some(PathBuf::from("dir/d")));

    let given = Flags { agents: vec!["x".into()], data: Some("y".into()), ..Flags::default() };
    let config =
        Config::combine(Some(&file(text)), &variables(&[("AOP_AGENTS", "p, q")]), &given).unwrap();
    assert_eq!((config.agents, config.data), (vec![PathBuf::from("x")], Some(PathBuf::from("y"))));
    let config =
        Config::combine(None, &variables(&[("AOP_AGENTS", "p, q")]), &Flags::default()).unwrap();
    let directories = &config.registry.agent_dirs[&TenantName::default_tenant()];
    assert_eq!(*directories, [PathBuf::from("p"), PathBuf::from("q")]);
}

#[test]
fn a_zone_has_one_name() {
    let text = "[cluster]\nzone = \"eu.acme.example\"\n[zone]\nname = \"eu.acme.example\"\n";
    assert!(Config::combine(Some(&file(text)), &[], &Flags::default()).is_ok());
    let other = [("AOP_ZONE_NAME", "us.acme.example")];
    let found = mistakes(text, &other, &Flags::default());
    assert!(found.contains("eu.acme.example") && found.contains("us.acme.example"), "{found}");
    assert!(found.contains("write the same name"), "{found}");
}

#[test]
fn the_mistakes_of_every_source_come_together() {
    let text = "lisen = \"127.0.0.1:1\"\nserver_name = 3\n\n[mcp]\nexpose = \"some\"\nlist_ttl = 30\n[compile]\nmemory = \"1MiB\"\n";
    let environment = [("AOP_LISTEN", "here"), ("AOP_LOG_LEVL", "info"), ("AOP_DRAIN_GRACE", "2h")];
    let given = flags(&[("log_format", "--log-format", "xml")]);
    insta::assert_snapshot!(mistakes(text, &environment, &given), @r#"
    the configuration has mistakes:
      dir/aop.toml: line 1: unknown key "lisen", did you mean "listen"?
      dir/aop.toml: line 2: `server_name`: expected text in quotes, like `server_name = "…"`, but this is of type integer
      dir/aop.toml: line 5: `mcp.expose`: `some` is not one of `all`, `builtins`
      dir/aop.toml: line 6: `mcp.list_ttl`: expected a duration with its unit, like `list_ttl = "30s"`, but this is of type integer
      dir/aop.toml: line 8: `compile.memory`: 1MiB is outside 256MiB to 64GiB (the compiler itself must fit)
      AOP_LISTEN: `here` is not an address: write it like `127.0.0.1:8000`
      AOP_LOG_LEVL: unknown variable, did you mean AOP_LOG_LEVEL?
      AOP_DRAIN_GRACE: 2h is outside 0s to 1h (0 stops them at once, and no service manager waits for an hour)
      --log-format: `xml` is not one of `auto`, `human`, `json`
    "#);
}

#[test]
fn variables_of_others_are_left_alone() {
    let environment = variables(&[
        ("AOP_PORT", "tcp://10.0.0.1:8000"),
        ("AOP_SERVICE_HOST", "10.0.0.1"),
        ("AOP_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("AOP_CONFIG", "x"),
        ("AOP_URL", "y"),
        ("AOP_SOMETHING_ELSE_ENTIRELY", "z"),
    ]);
    assert!(Config::combine(None, &environment, &Flags::default()).is_ok());
}

#[test]
fn a_change_is_named_with_its_new_value() {
    let old = Config::default();
    let text = "log_level = \"debug\"\n[web]\nallowed_hosts = [\"aop.example.com\"]\n";
    let new = Config::combine(Some(&file(text)), &[], &Flags::default()).unwrap();
    assert_eq!(
        old.differences(&new),
        [
            ("log_level".to_owned(), "\"debug\"".to_owned()),
            ("web.allowed_hosts".to_owned(), "[\"aop.example.com\"]".to_owned())
        ]
    );
}

/// Every declared default must be inside its own bounds, or the file could not say it.
#[test]
fn every_default_can_be_written_into_a_file() {
    for (path, key) in leaves(KEYS) {
        let shown = key.show(&Config::default());
        if shown.is_empty() {
            continue;
        }
        let text = format!("{path} = {shown}");
        let config = Config::combine(Some(&file(&text)), &[], &Flags::default());
        let config = config.unwrap_or_else(|mistakes| panic!("{text}: {mistakes}"));
        assert!(config.differences(&Config::default()).is_empty(), "{text}");
    }
}

#[test]
fn every_bound_is_hit() {
    use aop_core::settings::keys::Form;
    use aop_core::settings::{show_size, show_time};
    for (path, key) in leaves(KEYS) {
        let (inside, outside) = match &key.form {
            Form::Count { bounds, .. } => (
                vec![bounds.min.to_string(), bounds.max.to_string()],
                vec![(bounds.max + 1).to_string()],
            ),
            Form::Time { bounds, .. } => {
                let tick = Duration::from_nanos(1);
                (
                    vec![show_time(bounds.min), show_time(bounds.max)],
                    vec![show_time(bounds.max + tick)],
                )
            }
            Form::Size { bounds, .. } => (
                vec![show_size(bounds.min), show_size(bounds.max)],
                vec![show_size(bounds.min - 1), show_size(bounds.max + 1)],
            ),
            _ => continue,
        };
        for text in inside {
            assert_eq!(key.set_text(&mut Config::default(), &text), Ok(()), "{path} = {text}");
        }
        for text in outside {
            let message = key.set_text(&mut Config::default(), &text).unwrap_err();
            assert!(message.contains("is outside"), "{path} = {text}: {message}");
        }
    }
}

#[test]
fn the_reference_names_every_key_with_its_variable() {
    let rows = reference();
    let (row, variable) = rows.iter().find(|(row, _)| row.key == "server_name").unwrap();
    assert_eq!((row.default.as_str(), variable.as_str()), ("\"aop\"", "AOP_SERVER_NAME"));
    assert!(rows.iter().any(|(_, variable)| variable == "AOP_LOG_LEVEL"));
    assert!(rows.iter().any(|(_, variable)| variable == "AOP_COMPILE_CPU"));
    // What is declared by name, lists of tables, and ceilings, which whoever starts a host must not lift by accident.
    let (of_files, others): (Vec<_>, Vec<_>) = rows.iter().partition(|(row, _)| {
        row.key.contains(".<")
            || row.key.starts_with("cluster.server")
            || row.key.starts_with("ceiling.")
    });
    assert_eq!(others.len() + 1, leaves(KEYS).len());
    assert!(others.iter().all(|(_, variable)| !variable.is_empty()));
    for key in ["kind", "url", "key_env", "key_secret"] {
        let key = format!("model.providers.<provider>.{key}");
        assert!(of_files.iter().any(|(row, _)| row.key == key), "{key}");
    }
    assert!(of_files.iter().all(|(_, variable)| variable.is_empty()));
}

#[test]
fn model_providers_are_declared_by_name() {
    let text = "[model]\ntenant_tokens_per_day = 5\n[model.providers.gateway]\nurl = \"http://127.0.0.1:4000/v1\"\nkey_env = \"GATEWAY_KEY\"\nkey_secret = \"MODEL_KEY\"\n[model.providers.claude]\nkind = \"anthropic\"\n";
    let services = Config::combine(Some(&file(text)), &[], &Flags::default()).unwrap().services;
    assert_eq!(services.models.tenant_tokens_per_day, 5);
    let gateway = Provider {
        url: Some("http://127.0.0.1:4000/v1".to_owned()),
        key_env: Some("GATEWAY_KEY".to_owned()),
        key_secret: Some("MODEL_KEY".parse().unwrap()),
        ..Provider::default()
    };
    let claude = Provider { kind: aop_services::ProviderKind::Anthropic, ..Provider::default() };
    let expected = [("claude".to_owned(), claude), ("gateway".to_owned(), gateway)];
    assert_eq!(services.providers.into_iter().collect::<Vec<_>>(), expected);
    let wrong = "[model.providers.client]\n[model.providers.a]\nkind = \"gemini\"\nkey = \"secret\"\nkey_secret = \"1\"\n";
    let message = mistakes(wrong, &[], &Flags::default());
    for expected in [
        "choose another name",
        "`gemini` is not one of",
        "unknown key \"model.providers.a.key\"",
        "not a valid name of a secret",
    ] {
        assert!(message.contains(expected), "{expected} in {message}");
    }
}

#[test]
fn model_providers_are_bounded() {
    let declared = |count: usize| -> String {
        (0..count).map(|index| format!("[model.providers.p{index}]\n")).collect()
    };
    let config = Config::combine(Some(&file(&declared(64))), &[], &Flags::default()).unwrap();
    assert_eq!(config.services.providers.len(), 64);
    let message = mistakes(&declared(65), &[], &Flags::default());
    assert!(message.contains("64"), "{message}");
}

#[test]
fn tenants_and_issuers_are_tables_of_their_own() {
    let text = "agents = [\"a\"]\n[tenants.acme]\nagents = [\"b\"]\n[access]\nsecrets_key_file = \"k\"\n[access.issuers.corp]\nissuer = \"https://i.example\"\naudience = [\"https://aop.example/mcp\"]\ntenant_claim = \"org\"\nscopes = [\"a=b=tenant:admin tools:call\"]\n";
    let config = Config::combine(Some(&file(text)), &[], &Flags::default()).unwrap();
    let acme = TenantName::new("acme").unwrap();
    assert_eq!(config.registry.agent_dirs[&acme], [PathBuf::from("dir/b")]);
    assert_eq!(config.access.secrets_key_file, Some(PathBuf::from("dir/k")));
    let corp = &config.access.issuers["corp"];
    assert_eq!(corp.scopes["a=b"].to_string(), "tools:call tenant:admin");
    assert_eq!((corp.scope_claim.as_str(), corp.algorithms.len()), ("scope", 9));
}

#[test]
fn issuers_that_would_open_the_host_to_others_are_mistakes() {
    let wrong = [
        ("issuer = \"http://i.example\"\naudience = [\"a\"]\n", "is not https"),
        ("audience = [\"a\"]\n", "`issuer` is missing"),
        ("issuer = \"https://i.example\"\n", "`audience` is missing"),
        ("issuer = \"https://i.example\"\naudience = [\"a\"]\nalgorithms = [\"HS256\"]\n", "HS256"),
        ("issuer = \"https://i.example\"\naudience = [\"a\"]\nalgorithms = [\"none\"]\n", "none"),
        ("issuer = \"https://i.example\"\naudience = [\"a\"]\ngrant = [\"root\"]\n", "is no scope"),
        (
            "issuer = \"https://i.example\"\naudience = [\"a\"]\nscopes = [\"admins\"]\n",
            "not a mapping",
        ),
        (
            "issuer = \"https://i.example\"\naudience = [\"a\"]\ntenant = \"a\"\ntenant_claim = \"b\"\n",
            "exclude each other",
        ),
        (
            "issuer = \"https://i.example\"\naudience = [\"a\"]\njwks_url = \"http://i.example/jwks\"\n",
            "is not https",
        ),
    ];
    for (issuer, reason) in wrong {
        let said = mistakes(&format!("[access.issuers.corp]\n{issuer}"), &[], &Flags::default());
        assert!(said.contains(reason), "{issuer}: {said}");
    }
    for tenant in ["default", "A"] {
        let text = format!("[tenants.{tenant}]\nagents = []\n");
        mistakes(&text, &[], &Flags::default());
    }
}

#[test]
fn a_zone_that_is_reached_through_its_parent_is_nowhere_else() {
    let zone =
        |more: &str| format!("[zone]\nname = \"eu.acme.example\"\nreach = \"parent\"\n{more}");
    let through = "https://acme.example/zone/v1/below/eu.acme.example";
    for good in ["", &format!("endpoints = [\"{through}\", \"{through}/\"]")] {
        let config = Config::combine(Some(&file(&zone(good))), &[], &Flags::default()).unwrap();
        assert_eq!(config.zone.reach, Reach::Parent);
    }
    for bad in ["https://eu.acme.example", "https://acme.example/zone/v1/below/us.acme.example"] {
        let said = mistakes(&zone(&format!("endpoints = [\"{bad}\"]")), &[], &Flags::default());
        assert!(
            said.contains(bad) && said.contains("https://PARENT/zone/v1/below/eu.acme"),
            "{said}"
        );
    }
    let direct = "[zone]\nname = \"eu.acme.example\"\nendpoints = [\"https://eu.acme.example\"]\n";
    Config::combine(Some(&file(direct)), &[], &Flags::default()).unwrap();
}
