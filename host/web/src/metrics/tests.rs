use std::sync::Arc;

use aop_core::{
    CallRecord, ErrorCode, Measure, Observe as _, Sample, SampleKind, Tenancy as _, Tenant,
    TenantName,
};

use super::Metrics;
use crate::testing::{FakeCatalog, agent, from_api, record};

fn default_tenant() -> TenantName {
    TenantName::default_tenant()
}

fn call(metrics: &Metrics, name: &str, duration_ms: u64, code: Option<ErrorCode>) {
    let (tenant, agent) = (default_tenant(), agent(name));
    metrics.started(&tenant, &agent);
    metrics.finished(&record(&tenant, Some(&agent), duration_ms, code), true);
}

#[track_caller]
fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|candidate| candidate == line), "{line}\n is not in\n{text}");
}

#[test]
fn calls_appear_with_outcome_latency_and_use() {
    let metrics = Metrics::new();
    let catalog = FakeCatalog::with([from_api("echo", 1)]);
    call(&metrics, "echo", 3, None);
    call(&metrics, "echo", 70, None);
    call(&metrics, "echo", 40_000, Some(ErrorCode::GuestTrapped));
    metrics.started(&default_tenant(), &agent("echo"));
    let text = metrics.render(&catalog, None);
    for line in [
        r#"aop_calls_total{tenant="default",agent="echo",code="ok"} 2"#,
        r#"aop_calls_total{tenant="default",agent="echo",code="guest_trapped"} 1"#,
        r#"aop_call_errors_total{tenant="default",agent="echo"} 1.0"#,
        r#"aop_call_duration_seconds_count{tenant="default",agent="echo"} 3"#,
        r#"aop_call_duration_seconds_bucket{le="0.001",tenant="default",agent="echo"} 0"#,
        r#"aop_call_duration_seconds_bucket{le="0.005",tenant="default",agent="echo"} 1"#,
        r#"aop_call_duration_seconds_bucket{le="30.0",tenant="default",agent="echo"} 2"#,
        r#"aop_call_duration_seconds_bucket{le="+Inf",tenant="default",agent="echo"} 3"#,
        r#"aop_in_flight{tenant="default",agent="echo"} 1.0"#,
        r#"aop_in_flight_ratio{tenant="default",agent="echo"} 0.25"#,
        r#"aop_cpu_seconds_total{tenant="default",agent="echo"} 0.006"#,
        r#"aop_input_bytes_total{tenant="default",agent="echo"} 30.0"#,
        r#"aop_output_bytes_total{tenant="default",agent="echo"} 60.0"#,
        r#"aop_memory_peak_bytes{tenant="default",agent="echo"} 65536.0"#,
        r#"aop_attempts_total{tenant="default",agent="echo"} 3.0"#,
        r#"aop_retries_total{tenant="default",agent="echo"} 0.0"#,
        concat!(r#"aop_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
        "# TYPE aop_call_duration_seconds histogram",
        "# EOF",
    ] {
        assert_line(&text, line);
    }
}

#[test]
fn a_call_on_a_bucket_bound_belongs_to_it() {
    let metrics = Metrics::new();
    call(&metrics, "echo", 1, None);
    let text = metrics.render(&FakeCatalog::with([from_api("echo", 1)]), None);
    assert_line(
        &text,
        r#"aop_call_duration_seconds_bucket{le="0.001",tenant="default",agent="echo"} 1"#,
    );
}

#[test]
fn stats_have_percentiles_within_one_percent() {
    let metrics = Metrics::new();
    for duration_ms in 1..=1000 {
        call(
            &metrics,
            "echo",
            duration_ms,
            (duration_ms > 990).then_some(ErrorCode::DeadlineExceeded),
        );
    }
    let stats = metrics.stats(&default_tenant(), "echo");
    assert_eq!((stats.calls, stats.errors, stats.in_flight, stats.attempts), (1000, 10, 0, 1000));
    for (percentile, expected) in
        [(stats.p50_ms, 500.0), (stats.p95_ms, 950.0), (stats.p99_ms, 990.0)]
    {
        let percentile = percentile.unwrap();
        assert!((percentile / expected - 1.0_f64).abs() < 0.012, "{percentile} {expected}");
    }
    assert_eq!(metrics.stats(&default_tenant(), "other"), super::AgentStats::default());
}

#[test]
fn retries_are_executions_after_the_first() {
    let metrics = Metrics::new();
    let (tenant, echo) = (default_tenant(), agent("echo"));
    for attempts in [0, 1, 3] {
        metrics.finished(&CallRecord { attempts, ..record(&tenant, Some(&echo), 1, None) }, false);
    }
    let stats = metrics.stats(&tenant, "echo");
    assert_eq!((stats.attempts, stats.retries), (4, 2));
}

#[test]
fn calls_without_an_agent_never_name_what_was_asked_for() {
    let metrics = Metrics::new();
    let tenant = default_tenant();
    for _ in 0..100 {
        metrics.finished(&record(&tenant, None, 1, Some(ErrorCode::NotFound)), false);
    }
    let text = metrics.render(&FakeCatalog::default(), None);
    assert_line(&text, r#"aop_calls_total{tenant="default",agent="",code="not_found"} 100"#);
}

#[test]
fn series_of_agents_that_are_gone_are_removed_once_their_calls_ended() {
    let metrics = Metrics::new();
    call(&metrics, "gone", 1, None);
    call(&metrics, "busy", 1, None);
    call(&metrics, "kept", 1, None);
    let (tenant, busy) = (default_tenant(), agent("busy"));
    metrics.started(&tenant, &busy);
    let catalog = FakeCatalog::with([from_api("kept", 1)]);
    let text = metrics.render(&catalog, None);
    assert!(!text.contains(r#"agent="gone""#), "{text}");
    assert!(text.contains(r#"agent="busy""#) && text.contains(r#"agent="kept""#), "{text}");

    metrics.finished(&record(&tenant, Some(&busy), 1, None), true);
    let text = metrics.render(&catalog, None);
    assert!(!text.contains(r#"agent="busy""#), "{text}");
    assert_eq!(metrics.stats(&tenant, "gone").calls, 0);
}

#[test]
fn an_unloaded_agent_leaves_no_figures_to_its_successor() {
    let metrics = Metrics::new();
    call(&metrics, "echo", 1, None);
    metrics.unloaded(&default_tenant(), "echo");
    assert_eq!(metrics.stats(&default_tenant(), "echo").calls, 0);
    metrics.unloaded(&default_tenant(), "not a name");
}

#[test]
fn beyond_the_limit_agents_are_counted_together() {
    let metrics = Metrics::with_series_max(2);
    for name in ["a", "b", "c", "d", "c"] {
        call(&metrics, name, 1, None);
    }
    let catalog = FakeCatalog::with(["a", "b", "c", "d"].map(|name| from_api(name, 1)));
    let text = metrics.render(&catalog, None);
    assert_line(&text, r#"aop_calls_total{tenant="default",agent="b",code="ok"} 1"#);
    assert_line(&text, r#"aop_calls_total{tenant="default",agent="",code="ok"} 3"#);
    assert!(!text.contains(r#"agent="c""#), "{text}");
}

#[test]
fn an_agent_without_a_call_costs_nothing() {
    let metrics = Metrics::new();
    let text = metrics.render(&FakeCatalog::with([from_api("idle", 1)]), None);
    assert!(!text.contains("idle"), "{text}");
}

struct Fixed(&'static str, SampleKind, f64);

impl Measure for Fixed {
    fn measure(&self) -> Vec<Sample> {
        vec![Sample { name: self.0, help: "Help.", kind: self.1, value: self.2, label: None }]
    }
}

#[test]
fn what_others_measure_is_included_once_under_each_name() {
    let metrics = Metrics::new();
    metrics.register(Arc::new(Fixed("instances_live", SampleKind::Gauge, 3.0)));
    metrics.register(Arc::new(Fixed("compilations", SampleKind::Counter, 5.0)));
    metrics.register(Arc::new(Fixed("instances_live", SampleKind::Gauge, 4.0)));
    metrics.register(Arc::new(Fixed("in_flight", SampleKind::Gauge, 4.0)));
    let text = metrics.render(&FakeCatalog::default(), None);
    assert_line(&text, "aop_instances_live 3.0");
    assert_line(&text, "aop_compilations_total 5.0");
    for family in ["aop_instances_live", "aop_in_flight"] {
        assert_eq!(text.matches(&format!("# TYPE {family} ")).count(), 1, "{text}");
    }
    #[cfg(target_os = "linux")]
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
}

struct Several;

impl Measure for Several {
    fn measure(&self) -> Vec<Sample> {
        let of = |name, which: &str, value| {
            Sample::counter(name, "Help.", value).of("provider", &Arc::from(which))
        };
        vec![of("asked", "a", 1), of("asked", "b\"", 2), of("said", "a", 3)]
    }
}

#[test]
fn one_of_each_of_several_is_one_family() {
    let metrics = Metrics::new();
    metrics.register(Arc::new(Several));
    metrics.register(Arc::new(Several));
    let text = metrics.render(&FakeCatalog::default(), None);
    assert_line(&text, r#"aop_asked_total{provider="a"} 1.0"#);
    assert_line(&text, r#"aop_asked_total{provider="b\""} 2.0"#);
    assert_line(&text, r#"aop_said_total{provider="a"} 3.0"#);
    assert_eq!(text.matches("# TYPE aop_asked ").count(), 1, "{text}");
    assert_eq!(text.matches("aop_asked_total{").count(), 2, "{text}");
}

#[test]
fn concurrent_calls_are_all_counted() {
    let metrics = Metrics::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| call(&metrics, "echo", 1, None)));
        }
    });
    let stats = metrics.stats(&default_tenant(), "echo");
    assert_eq!((stats.calls, stats.in_flight), (4000, 0));
}

#[test]
fn a_tenant_sees_its_own_figures_only() {
    let metrics = Metrics::new();
    let (acme, other) = (TenantName::new("acme").unwrap(), TenantName::new("other").unwrap());
    for tenant in [&acme, &other] {
        metrics.finished(&record(tenant, Some(&agent("echo")), 5, None), false);
    }
    let text = metrics.render(&FakeCatalog::with([from_api("echo", 1)]), Some(&acme));
    assert!(text.contains("tenant=\"acme\"") && !text.contains("other"), "{text}");
    assert!(!text.contains("process_"), "{text}");
}

#[tokio::test]
async fn the_figures_of_a_tenant_go_with_it() {
    let metrics = Metrics::new();
    let acme = TenantName::new("acme").unwrap();
    metrics.finished(&record(&acme, Some(&agent("echo")), 5, None), false);
    metrics.end(&Tenant { name: acme, created_unix_ms: 1 }).await.unwrap();
    let text = metrics.render(&FakeCatalog::with([from_api("echo", 1)]), None);
    assert!(!text.contains("acme"), "{text}");
}
