use aop_core::{
    AccessStore as _, TaskError, TaskRecord, TaskState, Tasks as _, Tenant, TenantName,
};
use tempfile::TempDir;

use crate::{SqliteStore, StoreConfig};

fn open(directory: &TempDir) -> SqliteStore {
    SqliteStore::open(&StoreConfig::new(directory.path())).unwrap()
}

async fn with_other(store: SqliteStore) -> SqliteStore {
    let tenant = Tenant { name: TenantName::new("other").unwrap(), created_unix_ms: 0 };
    store.add_tenant(tenant).await.unwrap();
    store
}

fn task(id: &str, created_unix_ms: u64) -> TaskRecord {
    TaskRecord {
        subject: "local".to_owned(),
        id: id.to_owned(),
        tenant: TenantName::default_tenant(),
        state: TaskState::Working,
        created_unix_ms,
        updated_unix_ms: created_unix_ms,
        expires_unix_ms: created_unix_ms + 1000,
        outcome: None,
    }
}

#[tokio::test]
async fn a_task_is_its_tenants_alone() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let (mine, other) = (TenantName::default_tenant(), TenantName::new("other").unwrap());
    store.begin(task("a", 5), 9).await.unwrap();
    assert_eq!(store.find(&mine, "a").await.unwrap(), Some(task("a", 5)));
    assert_eq!(store.find(&other, "a").await.unwrap(), None);
    assert_eq!(store.find(&mine, "b").await.unwrap(), None);
    store.end(&other, "a", TaskState::Cancelled, None, 6).await.unwrap();
    assert_eq!(store.find(&mine, "a").await.unwrap().unwrap().state, TaskState::Working);
}

#[tokio::test]
async fn a_task_ends_once() {
    let directory = TempDir::new().unwrap();
    let store = with_other(open(&directory)).await;
    let mine = TenantName::default_tenant();
    store.begin(task("a", 5), 9).await.unwrap();
    store.end(&mine, "a", TaskState::Completed, Some("{}".to_owned()), 7).await.unwrap();
    store.end(&mine, "a", TaskState::Cancelled, None, 8).await.unwrap();
    let ended = store.find(&mine, "a").await.unwrap().unwrap();
    assert_eq!((ended.state, ended.updated_unix_ms), (TaskState::Completed, 7));
    assert_eq!(ended.outcome.as_deref(), Some("{}"));
}

#[tokio::test]
async fn what_ran_when_the_host_stopped_has_failed() {
    let directory = TempDir::new().unwrap();
    let mine = TenantName::default_tenant();
    {
        let store = open(&directory);
        store.begin(task("ran", 5), 9).await.unwrap();
        store.begin(task("ended", 5), 9).await.unwrap();
        store.end(&mine, "ended", TaskState::Completed, Some("1".to_owned()), 6).await.unwrap();
    }
    let store = open(&directory);
    let ran = store.find(&mine, "ran").await.unwrap().unwrap();
    assert_eq!((ran.state, ran.outcome), (TaskState::Failed, None));
    let ended = store.find(&mine, "ended").await.unwrap().unwrap();
    assert_eq!((ended.state, ended.outcome.as_deref()), (TaskState::Completed, Some("1")));
}

#[tokio::test]
async fn tasks_are_bounded_and_make_room_when_they_expire() {
    let directory = TempDir::new().unwrap();
    let store = with_other(open(&directory)).await;
    let mine = TenantName::default_tenant();
    // A quarter of eight is what one caller may have.
    store.begin(task("a", 0), 8).await.unwrap();
    store.begin(task("b", 0), 8).await.unwrap();
    assert!(matches!(store.begin(task("c", 998), 8).await, Err(TaskError::Full)));
    store.end(&mine, "a", TaskState::Failed, None, 1).await.unwrap();
    store.begin(task("c", 998), 8).await.unwrap();
    assert_eq!(store.find(&mine, "a").await.unwrap(), None, "the caller's oldest that has ended");
    assert!(matches!(store.begin(task("d", 999), 8).await, Err(TaskError::Full)));
    let somebody = |id: &str| TaskRecord { subject: "key:other".to_owned(), ..task(id, 999) };
    store.begin(somebody("e"), 8).await.unwrap();
    assert!(matches!(store.begin(somebody("f"), 3).await, Err(TaskError::Full)), "three are there");
    store.end(&mine, "c", TaskState::Completed, None, 999).await.unwrap();
    store.begin(task("d", 1000), 8).await.unwrap();
    assert_eq!(store.find(&mine, "c").await.unwrap(), None, "the next to go");
    store.end(&mine, "d", TaskState::Completed, None, 1001).await.unwrap();
    store.begin(task("g", 2000), 80).await.unwrap();
    assert_eq!(store.find(&mine, "d").await.unwrap(), None, "it has expired");
    assert!(store.find(&mine, "b").await.unwrap().is_some(), "one that still works stays");
    let other = TaskRecord { tenant: TenantName::new("other").unwrap(), ..task("d", 1000) };
    store.begin(other, 1).await.unwrap();
}

#[tokio::test]
async fn results_are_bounded_per_tenant_and_make_room_when_they_expire() {
    let directory = TempDir::new().unwrap();
    let config =
        StoreConfig { task_outcomes_max_bytes: 12_000, ..StoreConfig::new(directory.path()) };
    let store = with_other(SqliteStore::open(&config).unwrap()).await;
    let (mine, other) = (TenantName::default_tenant(), TenantName::new("other").unwrap());
    for id in ["a", "b", "c"] {
        store.begin(task(id, 0), 99).await.unwrap();
    }
    for id in ["d", "e"] {
        store.begin(TaskRecord { tenant: other.clone(), ..task(id, 0) }, 99).await.unwrap();
    }
    let end = async |tenant: &TenantName, id: &str, bytes: usize, now: u64| {
        // A letter of two bytes: the limit counts bytes.
        let outcome = Some("\u{e9}".repeat(bytes / 2));
        store.end(tenant, id, TaskState::Completed, outcome, now).await
    };
    // Three quarters of 12,000 are one tenant's.
    end(&mine, "a", 6000, 1).await.unwrap();
    let refused = end(&mine, "b", 3002, 1).await.unwrap_err().to_string();
    assert!(refused.contains("3002") && refused.contains("6000"), "{refused}");
    assert_eq!(store.find(&mine, "b").await.unwrap(), Some(task("b", 0)), "it still works");
    end(&mine, "b", 3000, 1).await.unwrap();
    end(&mine, "c", 1026, 1).await.unwrap_err();
    end(&mine, "c", 1024, 1).await.unwrap();

    // The rest is anybody's, and who is refused learns nothing of what others have.
    let refused = end(&other, "d", 2002, 1).await.unwrap_err().to_string();
    assert!(refused.contains("2002") && refused.contains("other tasks have 0 bytes"), "{refused}");
    assert!(["12000", "9000", "10024"].iter().all(|number| !refused.contains(number)), "{refused}");
    end(&other, "d", 1900, 1).await.unwrap();
    end(&other, "e", 1024, 1).await.unwrap();

    let later = TaskRecord { expires_unix_ms: 9000, ..task("f", 0) };
    store.begin(later, 99).await.unwrap();
    end(&mine, "f", 9000, 999).await.unwrap_err();
    end(&mine, "f", 9000, 1000).await.unwrap();
    assert_eq!(store.find(&mine, "a").await.unwrap(), None);
}

#[tokio::test]
async fn a_task_of_a_tenant_that_is_gone_does_not_begin() {
    let directory = TempDir::new().unwrap();
    let store = with_other(open(&directory)).await;
    let other = TenantName::new("other").unwrap();
    let late = || TaskRecord { tenant: other.clone(), ..task("a", 0) };
    store.begin(late(), 9).await.unwrap();
    store.remove_tenant(&other).await.unwrap();
    let refused = store.begin(late(), 9).await;
    assert!(matches!(refused, Err(TaskError::Store(_))), "{refused:?}");
    with_other(store).await.begin(late(), 9).await.unwrap();
}

#[tokio::test]
async fn what_outcomes_take_is_kept_in_step_whatever_becomes_of_their_tasks() {
    let directory = TempDir::new().unwrap();
    let store = with_other(open(&directory)).await;
    let (mine, other) = (TenantName::default_tenant(), TenantName::new("other").unwrap());
    let totals = || {
        let path = directory.path().join("aop.sqlite");
        let raw = rusqlite::Connection::open(path).unwrap();
        let all = |sql: &str| {
            let mut statement = raw.prepare(sql).unwrap();
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let rows = statement.query_map([], row).unwrap();
            rows.collect::<Result<Vec<(String, i64)>, _>>().unwrap()
        };
        let kept = all("SELECT tenant, outcome_bytes FROM task_totals ORDER BY tenant");
        let summed = "SELECT tenant, sum(octet_length(outcome)) FROM tasks WHERE outcome <> ''
                      GROUP BY tenant ORDER BY tenant";
        assert_eq!(kept, all(summed));
        kept.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>()
    };
    for tenant in [&mine, &other] {
        for (id, length) in [("a", 2000), ("b", 3), ("c", 0)] {
            store.begin(TaskRecord { tenant: tenant.clone(), ..task(id, 5) }, 40).await.unwrap();
            let outcome = Some("x".repeat(length));
            store.end(tenant, id, TaskState::Completed, outcome, 6).await.unwrap();
        }
    }
    assert_eq!(totals(), [2003, 2003]);
    store.begin(TaskRecord { outcome: Some("12".to_owned()), ..task("d", 5) }, 40).await.unwrap();
    assert_eq!(totals(), [2005, 2003]);
    store.remove_tenant(&other).await.unwrap();
    assert_eq!(totals(), [2005]);
    // All but the one that works have expired.
    store.begin(task("e", 5000), 40).await.unwrap();
    assert_eq!(totals(), [2]);
}

#[test]
fn tasks_are_counted_without_a_look_at_what_they_left() {
    let directory = TempDir::new().unwrap();
    drop(open(&directory));
    let raw = rusqlite::Connection::open(directory.path().join("aop.sqlite")).unwrap();
    let sql = format!("EXPLAIN QUERY PLAN {}", super::COUNT);
    let plan: String = raw.query_row(&sql, ["default", "local"], |row| row.get(3)).unwrap();
    assert!(plan.contains("COVERING INDEX tasks_by_caller"), "{plan}");
}
