use http::{Method, Uri};

use super::*;
use crate::settings::Lines;
use crate::{SecretName, Settings, TenantName};

fn permits(rule: &str, method: &Method, uri: &str) -> bool {
    rule.parse::<HttpRule>().unwrap().permits(method, &uri.parse::<Uri>().unwrap())
}

#[test]
fn nothing_is_permitted_by_default() {
    let policy = Policy::deny_all();
    let uri = "https://example.com/".parse().unwrap();
    assert!(policy.permits_request(&Method::GET, &uri).unwrap_err().contains("example.com"));
    assert!(policy.permits_tool("textkit_summarize").unwrap_err().contains("textkit_summarize"));
}

#[test]
fn a_rule_permits_what_it_says_and_nothing_else() {
    let get = Method::GET;
    let rule = "GET,HEAD https://api.example.com/v1/*";
    assert!(permits(rule, &get, "https://api.example.com/v1/things?q=1"));
    assert!(permits(rule, &get, "https://API.example.com./v1/things"));
    for refused in [
        "http://api.example.com/v1/things",
        "https://api.example.com:444/v1/things",
        "https://example.com/v1/things",
        "https://api.example.com.evil.org/v1/things",
        "https://evil.org/v1/?api.example.com",
        "https://api.example.com/v2",
        "https://api.example.com/v1/../v2",
        "https://api.example.com/v1/%2E%2e/v2",
        "https://api.example.com/v1/..%2fv2",
        "https://api.example.com/v1/..%5cv2",
        "https://api.example.com/v1/..;/v2",
        "https://api.example.com/v1/..;a=b/v2",
        "https://api.example.com/v1/%2e%2e%3B/v2",
        "https://api.example.com/v1/%252e%252E/v2",
        "https://api.example.com/v1/..%252fv2",
        "https://api.example.com/v1/..%255cv2",
        "https://api.example.com/v1/..%253bv2",
        "https://api.example.com/v1/%25252e%25252e/v2",
    ] {
        assert!(!permits(rule, &get, refused), "{refused}");
    }
    for odd in ["a;b/..c", "100%25", "100%25/a%2fb", "%2525", "...", "a%20b;c=.."] {
        assert!(permits(rule, &get, &format!("https://api.example.com/v1/{odd}")), "{odd}");
    }
    assert!(!permits(rule, &Method::POST, "https://api.example.com/v1/things"));
}

#[test]
fn a_star_stands_for_names_below() {
    let rule = "https://*.example.com";
    assert!(permits(rule, &Method::PUT, "https://a.b.example.com/any/path"));
    assert!(!permits(rule, &Method::PUT, "https://example.com/"));
    assert!(!permits(rule, &Method::PUT, "https://badexample.com/"));
}

#[test]
fn a_port_can_be_named() {
    assert!(permits("http://127.0.0.1:8080", &Method::GET, "http://127.0.0.1:8080/x"));
    assert!(!permits("http://127.0.0.1:8080", &Method::GET, "http://127.0.0.1/x"));
    assert!(permits("http://[::1]:8080", &Method::GET, "http://[::1]:8080/x"));
}

#[test]
fn a_rule_that_says_nothing_sensible_is_refused_with_an_example() {
    for wrong in [
        "",
        "example.com",
        "ftp://example.com",
        "https://*",
        "https://*/",
        "https://a*.example.com",
        "https://user@example.com",
        "https://example.com/a?b=c",
        "https://example.com/*/x",
        "FETCH https://example.com",
        "get https://example.com",
    ] {
        assert!(wrong.parse::<HttpRule>().is_err(), "{wrong}");
    }
}

#[test]
fn directories_and_tools_read_as_they_are_written() {
    let grant: DirectoryGrant = "write /srv/my data as /work".parse().unwrap();
    assert!(grant.writable);
    assert_eq!((grant.host.to_str(), grant.guest.as_str()), (Some("/srv/my data"), "/work"));
    assert_eq!(grant.rule(), "write /srv/my data as /work");
    assert_eq!(grant.to_string(), "write /srv/my data as /work (1GiB in 10000 files at most)");
    let read: DirectoryGrant = "read /srv as /data".parse().unwrap();
    assert_eq!(read.to_string(), "read /srv as /data");
    for wrong in
        ["/srv as /x", "read srv as /x", "read /srv", "execute /srv as /x", "read /srv as x"]
    {
        assert!(wrong.parse::<DirectoryGrant>().is_err(), "{wrong}");
    }
    let pattern: ToolPattern = "textkit_*".parse().unwrap();
    assert!(pattern.permits("textkit_summarize") && !pattern.permits("tabular_query"));
    assert!(!"textkit".parse::<ToolPattern>().unwrap().permits("textkit_summarize"));
    for wrong in ["", "a*b", "a b"] {
        assert!(wrong.parse::<ToolPattern>().is_err(), "{wrong}");
    }
}

#[test]
fn a_directory_has_limits_of_its_own() {
    let text = r#"[policy]
directories = [
  "write /a as /a",
  { permit = "write /b as /b", size_max = "10KiB" },
  { permit = "write /c as /c", files_max = 3 },
]
"#;
    let policy = settings(text).policy;
    let limits: Vec<_> = policy.directories.iter().map(|grant| grant.limits).collect();
    let default = DirectoryLimits::default();
    assert_eq!(
        limits,
        [
            default,
            DirectoryLimits { size_max_bytes: 10 << 10, ..default },
            DirectoryLimits { files_max: 3, ..default },
        ]
    );
    let stored = serde_json::to_string(&policy).unwrap();
    assert!(stored.contains(r#"["write /a as /a",{"permit":"write /b as /b""#), "{stored}");
    assert_eq!(serde_json::from_str::<Policy>(&stored).unwrap(), policy);
    for (wrong, why) in [
        (r#"{ permit = "read /a as /a", size_max = "1KiB" }"#, "is only read"),
        (r#"{ size_max = "1KiB" }"#, "it needs `permit`"),
        (r#"{ permit = "write a as /a" }"#, "absolute paths"),
        (r#"{ permit = "write /a as /a", files_max = 0.5 }"#, "files_max"),
        (r#"{ permit = "write /a as /a", size = "1KiB" }"#, "unknown key"),
    ] {
        let mistakes = Settings::from_toml(&format!("[policy]\ndirectories = [{wrong}]\n"));
        let text = format!("{:?}", mistakes.unwrap_err());
        assert!(text.contains(why), "{wrong}: {text}");
    }
}

#[test]
fn a_ceiling_bounds_what_directories_may_hold() {
    let most = ceilings(
        r#"[policy]
directories = [{ permit = "write /srv/small as /", size_max = "1MiB" }, "write /srv as /"]
"#,
    );
    let entry = |entry: &str| format!("[policy]\ndirectories = [{entry}]\n");
    for fits in [
        r#"{ permit = "write /srv/small/a as /a", size_max = "1MiB" }"#,
        r#""write /srv/other as /a""#,
        r#""read /srv/small as /a""#,
    ] {
        assert!(excesses(&most, &entry(fits)).is_empty(), "{fits}");
    }
    for over in [
        r#"{ permit = "write /srv/other as /a", size_max = "2GiB" }"#,
        r#"{ permit = "write /srv/other as /a", files_max = 10001 }"#,
    ] {
        assert_eq!(excesses(&most, &entry(over)), ["policy.directories[0]"], "{over}");
    }
}

/// An agent's policy as its settings say it.
fn settings(policy: &str) -> Settings {
    match Settings::from_toml(policy) {
        Ok(settings) => settings,
        Err(mistakes) => panic!("{mistakes:?}"),
    }
}

fn wrong(policy: &str) -> String {
    let mistakes = Settings::from_toml(policy).unwrap_err();
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

const FULL: &str = r#"
[policy]
http = [
    "GET https://open.example.com/*",
    { permit = "POST https://api.example.com/v1/*", headers = { Authorization = "Bearer {secret:API_KEY}", X-Client = "aop" }, request_max = "1MiB", response_max = "4MiB", timeout = "10s", connections_max = 2 },
]
clock = "2026-01-01T00:00:00Z"
random = "seed:42"
"#;

#[test]
fn a_grant_says_what_is_added_and_limited() {
    let policy = settings(FULL).policy;
    let grant = &policy.http[1];
    assert_eq!(grant.headers[0].name, http::header::AUTHORIZATION);
    assert_eq!(grant.secrets().map(SecretName::as_str).collect::<Vec<_>>(), ["API_KEY"]);
    assert_eq!(grant.limits.connections_max, Some(2));
    assert_eq!(grant.limits.timeout, Some(Duration::from_secs(10)));
    assert_eq!(
        grant.to_string(),
        "POST https://api.example.com/v1/* (with `authorization: Bearer {secret:API_KEY}`, with `x-client: aop`, requests of 1MiB at most, answers of 4MiB at most, within 10s, 2 at one time)"
    );
    assert_eq!(policy.clock.to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(policy.random, Randomness::Seeded(42));
}

#[test]
fn what_is_stored_reads_back_and_old_policies_still_do() {
    let policy = settings(FULL).policy;
    let stored = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&stored).unwrap(), policy);
    let old = r#"{"http":["GET https://example.com"],"private_networks":[],"directories":[],"environment":[],"tools":[],"shared_state":false}"#;
    let policy: Policy = serde_json::from_str(old).unwrap();
    assert_eq!(policy.http, ["GET https://example.com".parse().unwrap()]);
    assert_eq!((policy.clock, policy.random), (Clock::Real, Randomness::Secure));
    let evil = r#"{"http":[{"permit":"http://example.com","headers":[["a","{secret:X}"]]}]}"#;
    assert!(serde_json::from_str::<Policy>(evil).unwrap_err().to_string().contains("clear text"));
}

#[test]
fn the_first_rule_that_permits_a_request_decides_over_it() {
    let policy = settings(
        "[policy]\nhttp = [\"GET https://a.test/x\", { permit = \"https://a.test\", response_max = \"1KiB\" }]\n",
    )
    .policy;
    let of = |method: &Method, uri: &str| {
        policy.permits_request(method, &uri.parse().unwrap()).map(|(index, _)| index)
    };
    assert_eq!(of(&Method::GET, "https://a.test/x"), Ok(0));
    assert_eq!(of(&Method::GET, "https://a.test/y"), Ok(1));
    assert!(of(&Method::GET, "https://b.test/y").is_err());
}

#[test]
fn secrets_go_to_one_named_host_in_secret() {
    let rule = |rest: &str| wrong(&format!("[policy]\nhttp = [{{ {rest} }}]\n"));
    let secret = r#"headers = { Authorization = "{secret:X}" }"#;
    for (entry, expected) in [
        (format!(r#"permit = "https://*.a.test", {secret}"#), "name the host"),
        (format!(r#"permit = "http://a.test", {secret}"#), "clear text"),
        (
            r#"permit = "https://a.test", headers = { Host = "b.test" }"#.to_owned(),
            "for the host to set",
        ),
        (r#"permit = "https://a.test", headers = { "a b" = "c" }"#.to_owned(), "not the name"),
        (r#"permit = "https://a.test", headers = { A = "x\r\ny" }"#.to_owned(), "plain characters"),
        (r#"permit = "https://a.test", headers = { A = "{secret:X" }"#.to_owned(), "has no `}`"),
        (r#"permit = "https://a.test", headers = { A = "{secret:}" }"#.to_owned(), "valid name"),
        (r#"headers = { A = "b" }"#.to_owned(), "needs `permit`"),
        (r#"permit = "https://a.test", timeot = "1s""#.to_owned(), "did you mean \"timeout\""),
    ] {
        let message = rule(&entry);
        assert!(message.contains(expected), "{entry}: {message}");
        assert!(message.contains("line 2"), "{message}");
    }
    let plain = format!(
        r#"[policy]
http = [{{ permit = "http://127.0.0.1:8080", plaintext = true, {secret} }}]"#
    );
    assert!(settings(&plain).policy.http[0].plaintext);
    assert!(wrong("[policy]\nhttp = \"https://a.test\"\n").contains("must be a list"));
}

#[test]
fn a_rule_lies_within_another_or_not() {
    let within = |rule: &str, limit: &str| {
        let limit = HttpRule::parse_ceiling(limit).unwrap();
        rule.parse::<HttpRule>().unwrap().is_within(&limit)
    };
    for (rule, limit) in [
        ("GET https://a.test/v1/x", "GET,POST https://a.test/v1/*"),
        ("GET https://a.test/v1/x*", "https://a.test"),
        ("https://b.a.test", "https://*.a.test"),
        ("https://*.b.A.test", "https://*.a.test"),
        ("https://a.test", "https://*"),
        ("https://*.a.test/x", "https://*"),
        ("https://a.test", "https://a.test/*"),
    ] {
        assert!(within(rule, limit), "{rule} in {limit}");
    }
    for (rule, limit) in [
        ("https://a.test/v1/x", "GET https://a.test/v1/*"),
        ("GET,PUT https://a.test", "GET https://a.test"),
        ("http://a.test", "https://*"),
        ("https://a.test:8443", "https://*"),
        ("https://a.test", "https://*.a.test"),
        ("https://*.a.test", "https://a.test"),
        ("https://*.xa.test", "https://*.a.test"),
        ("https://a.test", "https://a.test/v1/*"),
        ("https://a.test/v1/*", "https://a.test/v1/x"),
        ("https://a.test/v*", "https://a.test/v1/*"),
        ("https://a.test/v1/../v2", "https://a.test/v1/*"),
    ] {
        assert!(!within(rule, limit), "{rule} in {limit}");
    }
    assert!("https://*".parse::<HttpRule>().is_err(), "in ceilings only");
}

fn ceilings(policy: &str) -> Ceilings {
    let policy = settings(policy).policy;
    Ceilings { host: Some(Ceiling { policy, ..Ceiling::default() }), ..Ceilings::default() }
}

fn excesses(ceilings: &Ceilings, text: &str) -> Vec<String> {
    let found = ceilings.excesses(&TenantName::default_tenant(), &settings(text));
    found.into_iter().map(|excess| excess.setting).collect()
}

#[test]
fn settings_within_a_ceiling_pass_and_each_excess_is_named() {
    let most = ceilings(
        r#"[policy]
http = ["https://*.corp.test"]
private_networks = ["10.0.0.0/8"]
directories = ["read /srv as /", "write /srv/scratch as /"]
environment = ["TZ"]
tools = ["kit_*"]
"#,
    );
    let fits = r#"[policy]
http = ["GET https://a.corp.test/x"]
private_networks = ["10.1.0.0/16"]
directories = ["read /srv/reference as /data", "write /srv/scratch/a as /work"]
environment = ["TZ"]
tools = ["kit_a", "kit_b*"]
"#;
    assert!(excesses(&most, fits).is_empty());
    let over = r#"[policy]
http = ["GET https://a.corp.test/x", "https://evil.test"]
private_networks = ["192.168.0.0/16"]
directories = ["write /srv/reference as /data", "read /srv/../etc as /etc", "read /srvx as /x"]
environment = ["HOME"]
tools = ["*"]
shared_state = true
[model]
provider = "openai"
name = "gpt"
"#;
    assert_eq!(
        excesses(&most, over),
        [
            "policy.http[1]",
            "policy.private_networks[0]",
            "policy.directories[0]",
            "policy.directories[1]",
            "policy.directories[2]",
            "policy.environment[0]",
            "policy.tools[0]",
            "policy.shared_state",
            "model.name",
        ]
    );
    assert!(excesses(&Ceilings::default(), over).is_empty(), "no ceiling, no limit");
    assert!(excesses(&ceilings(""), "").is_empty(), "a silent ceiling permits computing");
}

#[test]
fn a_pattern_of_a_ceiling_opens_no_address_inside() {
    let over = |limits: &[&str], networks: &str, rule: &str| {
        let mut most = settings(&format!("[policy]\nprivate_networks = [{networks}]\n")).policy;
        let limits = limits.iter().map(|limit| HttpRule::parse_ceiling(limit).unwrap());
        most.http = limits.map(HttpGrant::of).collect();
        let host = Some(Ceiling { policy: most, ..Ceiling::default() });
        let ceilings = Ceilings { host, ..Ceilings::default() };
        !excesses(&ceilings, &format!("[policy]\nhttp = [\"{rule}\"]\n")).is_empty()
    };
    for rule in [
        "http://169.254.169.254/*",
        "http://127.0.0.1",
        "http://127.0.0.1.",
        "http://LocalHost",
        "http://localhost./x",
        "http://10.0.0.1/x",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
    ] {
        assert!(over(&["http://*"], "", rule), "{rule}");
    }
    for rule in ["http://a.test", "http://8.8.8.8", "http://[2606:4700::1111]/"] {
        assert!(!over(&["http://*"], "", rule), "{rule}");
    }
    assert!(!over(&["http://*"], "\"10.0.0.0/8\"", "http://10.0.0.1/x"));
    assert!(!over(&["http://*"], "\"10.0.0.0/8\"", "http://[::ffff:10.0.0.1]/"));
    assert!(over(&["http://*"], "\"10.0.0.0/8\"", "http://192.168.0.1/x"));
    assert!(!over(&["http://*"], "\"127.0.0.0/8\", \"::1/128\"", "http://localhost"));
    let named = ["http://*", "http://10.0.0.1/v1/*", "http://localhost"];
    assert!(!over(&named, "", "http://10.0.0.1/v1/x"));
    assert!(!over(&named, "", "http://localhost/x"));
    assert!(over(&named, "", "http://10.0.0.1/v2"), "another path of the one that is named");
}

#[test]
fn numbers_and_models_have_ceilings_and_tenants_have_both() {
    let mut ceiling = Ceiling { models: vec!["openai/*".to_owned()], ..Ceiling::default() };
    ceiling.limits.timeout = Duration::from_secs(10);
    ceiling.tokens_per_day = 1000;
    let tenant = TenantName::default_tenant();
    let ceilings = Ceilings {
        host: Some(Ceiling { models: vec!["*".to_owned()], ..Ceiling::default() }),
        tenants: [(tenant, ceiling)].into(),
    };
    let model = "[model]\nprovider = \"openai\"\nname = \"gpt\"\n";
    assert_eq!(excesses(&ceilings, model), ["model.tokens_per_day", "timeout"]);
    let modest =
        "timeout = \"5s\"\n[model]\nprovider = \"openai\"\nname = \"gpt\"\ntokens_per_day = 10\n";
    assert!(excesses(&ceilings, modest).is_empty());
    let other =
        "timeout = \"5s\"\n[model]\nprovider = \"ollama\"\nname = \"gpt\"\ntokens_per_day = 10\n";
    assert_eq!(excesses(&ceilings, other), ["model.name"]);
}

const LARGE: &str = r#"lifetime = "warm"
queue = 100000
log_lines_per_second = 100000
replicas = 10
[warm]
calls_max = 1000000
idle = "1h"
[state]
keys_max = 10000000
size_max = "8GiB"
[handles]
instances_max = 8192
idle = "1day"
lifetime = "7days"
"#;

#[test]
fn what_the_host_holds_for_an_agent_has_ceilings_too() {
    let mut most = Ceiling { table: "ceiling".to_owned(), ..Ceiling::default() };
    let of = |most: &Ceiling| Ceilings { host: Some(most.clone()), ..Ceilings::default() };
    assert!(excesses(&of(&most), LARGE).is_empty(), "a ceiling without numbers");
    most.limits = Limits::default();
    most.warm_calls_max = 1000;
    most.warm_idle = Duration::from_secs(60);
    most.replicas = 9;
    assert_eq!(
        excesses(&of(&most), LARGE),
        [
            "queue",
            "log_lines_per_second",
            "state.keys_max",
            "state.size_max",
            "handles.instances_max",
            "handles.idle",
            "handles.lifetime",
            "warm.calls_max",
            "warm.idle",
            "replicas",
        ]
    );
    assert!(excesses(&of(&most), "lifetime = \"warm\"\nreplicas = 9\n").is_empty());
    most.lines = Lines::in_text("[ceiling.state]\nsize_max = \"16MiB\"\n");
    most.file = "aop.toml".to_owned();
    let found = of(&most).excesses(&TenantName::default_tenant(), &settings(LARGE));
    assert_eq!(
        found[3].to_string(),
        "`state.size_max`: 8GiB is more than `state.size_max` of `[ceiling]` (aop.toml:2) permits"
    );
}

#[test]
fn an_upload_has_no_more_held_for_it_than_others_unless_a_ceiling_says_so() {
    let tenant = TenantName::default_tenant();
    let over = |ceilings: &Ceilings, text: &str| {
        let found = ceilings.excesses_of_upload(&tenant, &settings(text));
        found.into_iter().map(|excess| excess.to_string()).collect::<Vec<_>>()
    };
    let found = over(&Ceilings::default(), LARGE);
    assert_eq!(found.len(), 6, "{found:?}");
    assert_eq!(
        found[2],
        "`state.size_max`: 8GiB is more than the default of uploads (16MiB; `state.size_max` of `[ceiling]` in aop.toml can say more) permits"
    );
    assert!(over(&Ceilings::default(), "").is_empty());
    // A ceiling is what counts where it has a number, be it the host's or the tenant's.
    let mut ceiling = Ceiling::default();
    ceiling.limits.state_max_bytes = 16 << 30;
    let host = Ceilings { host: Some(ceiling.clone()), ..Ceilings::default() };
    let tenants = Ceilings { tenants: [(tenant.clone(), ceiling)].into(), ..Ceilings::default() };
    for ceilings in [host, tenants] {
        let found = over(&ceilings, LARGE);
        assert_eq!(found.len(), 5);
        assert!(found.iter().all(|excess| !excess.contains("state.size_max")), "{found:?}");
    }
}

proptest::proptest! {
    /// Whatever lies within a ceiling permits nothing that the ceiling does not.
    #[test]
    fn within_means_that_every_request_is_permitted_by_both(
        rule in rules(), limit in rules(), host in hosts(), path in paths(),
        get in proptest::bool::ANY, tls in proptest::bool::ANY,
    ) {
        let scheme = if tls { "https" } else { "http" };
        let uri: Uri = format!("{scheme}://{host}{path}").parse().unwrap();
        let method = if get { Method::GET } else { Method::POST };
        let (rule, limit): (HttpRule, HttpRule) = (rule.parse().unwrap(), limit.parse().unwrap());
        if rule.is_within(&limit) && rule.permits(&method, &uri) {
            proptest::prop_assert!(limit.permits(&method, &uri), "{rule} in {limit}: {uri}");
        }
    }
}

fn hosts() -> impl proptest::strategy::Strategy<Value = &'static str> {
    proptest::sample::select(vec!["a.test", "b.a.test", "c.b.a.test", "xa.test", "A.test"])
}

fn paths() -> impl proptest::strategy::Strategy<Value = &'static str> {
    proptest::sample::select(vec!["/", "/v1", "/v1/x", "/v1/../x", "/v1/x/%2e%2e/y", "/v2"])
}

fn rules() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::strategy::Strategy as _;
    let methods = proptest::sample::select(vec!["", "GET ", "POST ", "GET,POST "]);
    let hosts = proptest::sample::select(vec!["a.test", "*.a.test", "*.b.a.test", "b.A.test"]);
    let paths =
        proptest::sample::select(vec!["", "/", "/*", "/v1", "/v1*", "/v1/*", "/v1/../*", "/v1/x"]);
    let schemes = proptest::sample::select(vec!["http", "https"]);
    (methods, schemes, hosts, paths)
        .prop_map(|(method, scheme, host, path)| format!("{method}{scheme}://{host}{path}"))
}
