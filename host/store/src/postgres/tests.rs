//! Against a real server, which `tests/store/run` starts: without it, these say that they were skipped.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_core::bucket::{Bucket, BucketError, BucketQuota, BucketScope, Buckets, SessionId};
use aop_core::{AgentId, Subject, Tenant, TenantName};
use tokio_postgres::NoTls;
use tokio_postgres::config::SslMode;
use uuid::Uuid;

use super::*;
use crate::conformance::{self, session};

const ROOMY: BucketQuota = BucketQuota {
    keys_max: 1_000,
    bytes_max: 16 << 20,
    agent_bytes_max: None,
    tenant_bytes_max: None,
};

#[expect(clippy::disallowed_methods, reason = "only the script knows where its server is")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The server, with `{}` for the name of a database; none when there is none.
fn server() -> Option<String> {
    let server = variable("AOP_TEST_POSTGRES");
    if server.is_none() {
        eprintln!("skipped: no PostgreSQL here, see tests/store/run");
    }
    server
}

/// A new, empty database.
async fn database(server: &str) -> PostgresConfig {
    let name = format!("t{}", Uuid::now_v7().simple());
    let (client, connection) =
        tokio_postgres::connect(&server.replace("{}", "postgres"), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute(&format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"))
        .await
        .unwrap();
    PostgresConfig {
        url: server.replace("{}", &name),
        password: None,
        connections_max: 8,
        state_max_bytes: 1 << 30,
        agent_state_max_bytes: 256 << 20,
    }
}

/// A tenant that was created at that time.
fn made(name: &str, created_unix_ms: u64) -> Tenant {
    Tenant { name: TenantName::new(name).unwrap(), created_unix_ms }
}

/// A host on which these tenants are.
async fn host(config: &PostgresConfig) -> PostgresBuckets {
    let host = PostgresBuckets::open(config).await.unwrap();
    host.begin_tenant(&made("default", 1));
    host.begin_tenant(&made("elsewhere", 1));
    host
}

fn control(what: &str) {
    let control = variable("AOP_TEST_POSTGRES_CONTROL").expect("the script says how");
    let status = Command::new(control).arg(what).status().unwrap();
    assert!(status.success(), "{what}: {status}");
}

fn entry(key: &str, value: &str) -> (String, Vec<u8>) {
    (key.to_owned(), value.as_bytes().to_vec())
}

async fn sums(buckets: &PostgresBuckets) -> (i64, i64, i64) {
    let connection = connection(&buckets.pool).await.unwrap();
    let one = async |sql: &str| -> i64 { connection.query_one(sql, &[]).await.unwrap().get(0) };
    (
        one("SELECT coalesce(sum(charged_bytes), 0)::bigint FROM aop_tenant_totals").await,
        one("SELECT coalesce(sum(charged_bytes), 0)::bigint FROM aop_owners").await,
        one(
            "SELECT (SELECT coalesce(sum(128 + octet_length(key) + octet_length(value)), 0)::bigint FROM aop_entries)
                  + 512 * (SELECT count(*) FROM aop_buckets)",
        )
        .await,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_does_what_every_store_does() {
    let Some(server) = server() else { return };
    let config = database(&server).await;
    conformance::buckets(async || host(&config).await).await;
    // After all that, what is charged is what is there.
    let (tenants, owners, there) = sums(&PostgresBuckets::open(&config).await.unwrap()).await;
    assert_eq!((tenants, owners), (there, there));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hosts_share_it_and_lose_no_write() {
    let Some(server) = server() else { return };
    let config = database(&server).await;
    // They start together on an empty database.
    let opening = (0..4).map(|_| {
        let config = config.clone();
        tokio::spawn(async move { host(&config).await })
    });
    let mut hosts = Vec::new();
    for host in opening.collect::<Vec<_>>() {
        hosts.push(host.await.unwrap());
    }
    let bucket = session(AgentId(Uuid::now_v7()), "talk");
    let mut counting = Vec::new();
    for host in hosts.clone() {
        let bucket = bucket.clone();
        counting.push(tokio::spawn(async move {
            for _ in 0..25 {
                loop {
                    let now = host.get(&bucket, "n").await.unwrap();
                    let count: u32 =
                        now.as_ref().map_or(0, |n| String::from_utf8_lossy(n).parse().unwrap());
                    let next = (count + 1).to_string().into_bytes();
                    match host.swap(&bucket, ROOMY, "n", now.as_deref(), next).await {
                        Ok(()) => break,
                        Err(BucketError::Conflict) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }));
    }
    for host in counting {
        host.await.unwrap();
    }
    assert_eq!(hosts[0].get(&bucket, "n").await.unwrap().as_deref(), Some(&b"100"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_hold_over_hosts_and_what_is_forgotten_is_free() {
    let Some(server) = server() else { return };
    let config = PostgresConfig { agent_state_max_bytes: 3_000, ..database(&server).await };
    let (one, other) = (host(&config).await, host(&config).await);
    let agent = AgentId(Uuid::now_v7());
    one.set(&session(agent, "a"), ROOMY, &[entry("k", &"x".repeat(1_500))]).await.unwrap();
    let full = other.set(&session(agent, "b"), ROOMY, &[entry("k", &"x".repeat(1_500))]).await;
    assert!(matches!(full, Err(BucketError::Quota(_))), "{full:?}");
    // What was refused left nothing.
    assert_eq!(other.get(&session(agent, "b"), "k").await.unwrap(), None);
    assert_eq!(one.forget_sessions(Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(one.forget_sessions(Duration::ZERO).await.unwrap(), 1);
    other.set(&session(agent, "b"), ROOMY, &[entry("k", &"x".repeat(1_500))]).await.unwrap();
    let (tenants, owners, there) = sums(&one).await;
    assert_eq!((tenants, owners), (there, there));
    one.forget_tenant(&made("default", 1)).await.unwrap();
    assert_eq!(sums(&one).await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_refused_at_the_start() {
    let Some(server) = server() else { return };
    let config = database(&server).await;
    PostgresBuckets::open(&config).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&config.url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("UPDATE aop_schema SET version = 99").await.unwrap();
    let newer = PostgresBuckets::open(&config).await.map(drop).unwrap_err();
    assert!(matches!(newer, PostgresError::Newer { found: 99, .. }), "{newer}");

    let missing = PostgresConfig { url: server.replace("{}", "nowhere"), ..config.clone() };
    let missing = PostgresBuckets::open(&missing).await.map(drop).unwrap_err().to_string();
    assert!(missing.contains("create it"), "{missing}");

    let started = Instant::now();
    let nobody = "postgres://aop:geheim@127.0.0.1:1/aop".to_owned();
    let nobody = PostgresConfig { url: nobody, ..config };
    assert!(!format!("{nobody:?}").contains("geheim"));
    let error = PostgresBuckets::open(&nobody).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("cannot be reached") && !error.contains("geheim"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_whose_connections_all_work_is_no_database_that_is_away() {
    let Some(server) = server() else { return };
    let config = PostgresConfig { connections_max: 1, ..database(&server).await };
    let buckets = host(&config).await;
    let working = connection(&buckets.pool).await.unwrap();
    let bucket = session(AgentId(Uuid::now_v7()), "talk");
    let refused = buckets.get(&bucket, "k").await.unwrap_err().to_string();
    assert!(
        refused.contains("all 1 connections") && refused.contains("connections_max"),
        "{refused}"
    );
    buckets.probe().await.unwrap();
    drop(working);
    assert_eq!(buckets.get(&bucket, "k").await.unwrap(), None);
}

/// What the agents of `acme` share.
fn of_acme() -> Bucket {
    Bucket { tenant: TenantName::new("acme").unwrap(), scope: BucketScope::Tenant }
}

#[track_caller]
fn is_gone(written: Result<(), BucketError>) {
    let refused = written.expect_err("the tenant is gone").to_string();
    assert!(refused.contains("the tenant was deleted"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn late_writes_of_a_tenant_that_was_deleted_leave_nothing() {
    let Some(server) = server() else { return };
    let config = database(&server).await;
    let (one, other, bucket) = (host(&config).await, host(&config).await, of_acme());
    is_gone(one.set(&bucket, ROOMY, &[entry("k", "never began")]).await);
    for host in [&one, &other] {
        host.begin_tenant(&made("acme", 10));
    }
    one.set(&bucket, ROOMY, &[entry("k", "v")]).await.unwrap();
    one.forget_tenant(&made("acme", 10)).await.unwrap();
    // Neither the host that knows nor the one that does not know yet.
    for host in [&one, &other] {
        is_gone(host.set(&bucket, ROOMY, &[entry("k", "late")]).await);
        is_gone(host.swap(&bucket, ROOMY, "k", None, b"late".to_vec()).await);
    }
    assert_eq!(other.get(&bucket, "k").await.unwrap(), None);
    assert_eq!(sums(&one).await, (0, 0, 0));
    // What a host remembers of a tenant that is gone goes, when all know it.
    let connection = connection(&one.pool).await.unwrap();
    connection
        .batch_execute("UPDATE aop_tenant_totals SET forgotten_unix_ms = forgotten_unix_ms - 31 * 86400000::bigint")
        .await
        .unwrap();
    one.forget_sessions(Duration::from_secs(3600)).await.unwrap();
    let rows = connection.query("SELECT 1 FROM aop_tenant_totals", &[]).await.unwrap();
    assert!(rows.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_remembers_more_than_a_statement_can_forget_is_forgotten() {
    let Some(server) = server() else { return };
    let config = database(&server).await;
    let (host, agent) = (host(&config).await, AgentId(Uuid::now_v7()));
    for talk in 0..20 {
        let entries: Vec<_> = (0..100).map(|key| entry(&key.to_string(), "v")).collect();
        host.set(&session(agent, &talk.to_string()), ROOMY, &entries).await.unwrap();
    }
    // A database in which a statement has time for seven rows.
    let connection = connection(&host.pool).await.unwrap();
    connection
        .batch_execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF (SELECT count(*) FROM gone) > 7 THEN
                     RAISE EXCEPTION USING ERRCODE = 'query_canceled';
                 END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER slow AFTER DELETE ON aop_entries REFERENCING OLD TABLE AS gone
                 FOR EACH STATEMENT EXECUTE FUNCTION slow();
             CREATE TRIGGER slow AFTER DELETE ON aop_buckets REFERENCING OLD TABLE AS gone
                 FOR EACH STATEMENT EXECUTE FUNCTION slow();",
        )
        .await
        .unwrap();
    host.forget_tenant(&made("default", 1)).await.unwrap();
    assert_eq!(sums(&host).await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_learnt_late_leaves_what_the_next_tenant_remembers() {
    let Some(server) = server() else { return };
    let config = database(&server).await;
    let (one, other, bucket) = (host(&config).await, host(&config).await, of_acme());
    for host in [&one, &other] {
        host.begin_tenant(&made("acme", 10));
    }
    other.set(&bucket, ROOMY, &[entry("old", "1")]).await.unwrap();
    one.forget_tenant(&made("acme", 10)).await.unwrap();
    one.begin_tenant(&made("acme", 20));
    one.set(&bucket, ROOMY, &[entry("new", "2")]).await.unwrap();
    assert_eq!(one.keys(&bucket, None, 9).await.unwrap().keys, ["new"]);
    // The other host still has the first one, whose calls must not see or change what the second one has.
    assert_eq!(other.get(&bucket, "new").await.unwrap(), None);
    assert!(other.keys(&bucket, None, 9).await.unwrap().keys.is_empty());
    is_gone(other.set(&bucket, ROOMY, &[entry("new", "changed")]).await);
    is_gone(other.delete(&bucket, &["new".to_owned()]).await);
    // Then it learns of it.
    other.forget_tenant(&made("acme", 10)).await.unwrap();
    other.begin_tenant(&made("acme", 20));
    assert_eq!(other.get(&bucket, "new").await.unwrap().as_deref(), Some(&b"2"[..]));
    let (tenants, owners, there) = sums(&one).await;
    assert_eq!((tenants, owners), (there, there));
    other.forget_tenant(&made("acme", 20)).await.unwrap();
    assert_eq!(sums(&one).await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_beside_a_deletion_are_whole_and_then_gone() {
    let Some(server) = server() else { return };
    let config = database(&server).await;
    let (one, other) = (host(&config).await, host(&config).await);
    for round in 1..=10 {
        for host in [&one, &other] {
            host.begin_tenant(&made("acme", round));
        }
        let mut writing = Vec::new();
        for writer in 0..4 {
            let other = other.clone();
            writing.push(tokio::spawn(async move {
                for number in 0..20 {
                    let key = format!("{writer}-{number}");
                    if other.set(&of_acme(), ROOMY, &[entry(&key, "x")]).await.is_err() {
                        return;
                    }
                }
            }));
        }
        // Waits for nothing: each round ends the tenant at another moment of its writers' work.
        tokio::time::sleep(Duration::from_millis(5 * round)).await;
        one.forget_tenant(&made("acme", round)).await.unwrap();
        for writer in writing {
            writer.await.unwrap();
        }
        assert_eq!(sums(&one).await, (0, 0, 0), "in round {round}");
    }
}

/// Alone in its name, so that the script runs it after the others: it stops their server.
#[tokio::test(flavor = "multi_thread")]
async fn outage_fails_what_comes_meanwhile_and_nothing_after_it() {
    let Some(server) = server() else { return };
    if variable("AOP_TEST_POSTGRES_CONTROL").is_none() {
        return;
    }
    let config = database(&server).await;
    let buckets = Arc::new(host(&config).await);
    let scope = BucketScope::Session(
        AgentId(Uuid::now_v7()),
        Subject::Local,
        SessionId::new("talk").unwrap(),
    );
    let bucket = Bucket { tenant: TenantName::default_tenant(), scope };
    buckets.set(&bucket, ROOMY, &[entry("before", "1")]).await.unwrap();
    control("stop");
    let started = Instant::now();
    let lost = buckets.set(&bucket, ROOMY, &[entry("during", "1")]).await;
    assert!(matches!(lost, Err(BucketError::Failed(_))), "{lost:?}");
    assert!(buckets.probe().await.is_err());
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    control("start");
    buckets.set(&bucket, ROOMY, &[entry("after", "1")]).await.unwrap();
    let keys = buckets.keys(&bucket, None, 10).await.unwrap().keys;
    assert_eq!(keys, ["after", "before"]);
}

#[test]
fn urls_are_checked_without_being_repeated() {
    assert!(PostgresConfig::check("postgres://aop@db.example/aop?sslmode=require").is_ok());
    for (bad, expected) in [
        ("http://a/", "begins with"),
        ("postgres://aop:geheim@[/aop", "cannot be read"),
        ("postgres://db.example/aop", "no user"),
        ("postgres://aop@db.example", "no database"),
    ] {
        let error = PostgresConfig::check(bad).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("geheim"), "{bad}: {error}");
    }
}

#[test]
fn what_leaves_this_machine_is_encrypted_unless_the_url_says_otherwise() {
    for (url, expected) in [
        ("postgres://aop@db.example/aop", SslMode::Require),
        ("postgres://aop:sslmode=disable@db.example/aop", SslMode::Require),
        ("postgres://aop:a?sslmode=disable@db.example/aop", SslMode::Require),
        ("postgres://aop@db.example/aop?application_name=sslmode=", SslMode::Require),
        ("postgres://aop@db.example/aop?connect_timeout=1&sslmode=prefer", SslMode::Prefer),
        ("postgres://aop@db.example/aop?sslmode=disable", SslMode::Disable),
        ("postgres://aop@localhost/aop", SslMode::Prefer),
        ("postgres://aop@localhost/aop?hostaddr=127.0.0.1", SslMode::Prefer),
        ("postgres://aop@localhost/aop?hostaddr=192.0.2.1", SslMode::Require),
    ] {
        let found = connect::parse(url).map(|config| config.get_ssl_mode());
        assert_eq!(found.unwrap(), expected, "{url}");
    }
}
