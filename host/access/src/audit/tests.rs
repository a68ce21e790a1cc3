use std::fs;
use std::path::PathBuf;

use aop_core::audit::Actor;
use aop_core::{AgentName, Subject, TenantName};
use tempfile::TempDir;

use super::*;

const SMALL: AuditConfig = AuditConfig { file_max_bytes: 4 << 10, files_max: 4 };

/// A log with some lines, and where it is.
fn log(config: AuditConfig, events: usize) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let log = AuditLog::open(directory.path(), config, None).unwrap();
    (0..events).for_each(|index| log.note(load(&format!("sha256:{index}"))));
    directory
}

fn load(subject: &str) -> AuditEvent<'_> {
    AuditEvent::of_host(Action::AgentLoad, subject)
}

fn files(directory: &TempDir) -> Vec<PathBuf> {
    files::list(directory.path()).unwrap()
}

fn text(directory: &TempDir) -> String {
    files(directory).iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Replaces the only file's text.
fn tamper(directory: &TempDir, change: impl FnOnce(Vec<String>) -> Vec<String>) {
    let path = files(directory).remove(0);
    let lines = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    fs::write(path, change(lines).iter().map(|line| format!("{line}\n")).collect::<String>())
        .unwrap();
}

fn findings(directory: &TempDir) -> Vec<String> {
    let verdict = verify(directory.path(), None, None).unwrap();
    assert_eq!(verdict.intact, verdict.findings.is_empty());
    verdict.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_log_verifies_and_continues_after_a_restart() {
    let directory = log(AuditConfig::default(), 3);
    {
        let log = AuditLog::open(directory.path(), AuditConfig::default(), None).unwrap();
        let (tenant, agent) = (TenantName::default_tenant(), AgentName::new("textkit").unwrap());
        log.note(AuditEvent {
            who: Actor::Caller(&Subject::Key { id: "ab12".into() }),
            tenant: Some(&tenant),
            agent: Some(&agent),
            detail: "a \"quoted\"\nline",
            ..load("sha256:x")
        });
    }
    let verdict = verify(directory.path(), None, None).unwrap();
    assert!(verdict.intact, "{verdict:?}");
    assert_eq!((verdict.lines, verdict.first, verdict.files), (4, Some(1), 1));
    let mut lines = Vec::new();
    read(directory.path(), |line| lines.push(line)).unwrap();
    assert_eq!(lines[3].who, "key:ab12");
    assert_eq!(lines[3].detail, "a \"quoted\"\nline");
    assert_eq!((lines[3].tenant.as_deref(), lines[3].seq), (Some("default"), 4));
    assert_eq!(verdict.last.unwrap().hash, lines[3].hash);
}

#[test]
fn every_deed_is_found() {
    type Deed = fn(Vec<String>) -> Vec<String>;
    let deeds: [(&str, Deed, &str); 7] = [
        (
            "a change",
            |mut l| {
                l[2] = l[2].replace("sha256:2", "sha256:9");
                l
            },
            "changed",
        ),
        (
            "a gap",
            |mut l| {
                l.remove(2);
                l
            },
            "lines 3 to 3 are missing",
        ),
        (
            "the beginning",
            |mut l| {
                l.remove(0);
                l
            },
            "does not say that older files",
        ),
        (
            "the end",
            |mut l| {
                l.pop();
                l
            },
            "the end is missing",
        ),
        (
            "a repetition",
            |mut l| {
                l.insert(2, l[1].clone());
                l
            },
            "repeated or moved",
        ),
        (
            "a move",
            |mut l| {
                l.swap(1, 2);
                l
            },
            "repeated or moved",
        ),
        (
            "noise",
            |mut l| {
                l.insert(2, "{}".to_owned());
                l
            },
            "not a line",
        ),
    ];
    for (deed, change, expected) in deeds {
        let directory = log(AuditConfig::default(), 5);
        assert!(findings(&directory).is_empty());
        tamper(&directory, change);
        let found = findings(&directory);
        assert!(found.iter().any(|finding| finding.contains(expected)), "{deed}: {found:?}");
    }
}

#[test]
fn a_line_that_was_replaced_with_a_fresh_hash_is_found_by_the_next() {
    let directory = log(AuditConfig::default(), 5);
    tamper(&directory, |mut lines| {
        let above = line::open(lines[1].as_bytes()).unwrap();
        let record = Record::new(load("sha256:forged"), SystemTime::now());
        let place = ChainPlace { seq: above.seq, hash: above.hash };
        lines[2] = line::seal(&record, &place).unwrap().0.trim_end().to_owned();
        lines
    });
    let found = findings(&directory);
    assert!(found[0].contains(":4: it does not follow the line above"), "{found:?}");
    assert_eq!(found.len(), 1);
}

#[test]
fn a_checkpoint_finds_a_log_that_was_written_anew() {
    let (kept, anew) = (log(AuditConfig::default(), 5), tempfile::tempdir().unwrap());
    // Other lines: those of two logs that are written within a millisecond would be the same.
    let other = AuditLog::open(anew.path(), AuditConfig::default(), None).unwrap();
    (5..10).for_each(|index| other.note(load(&format!("sha256:{index}"))));
    drop(other);
    let checkpoint = verify(kept.path(), None, None).unwrap().last.unwrap();
    assert_eq!(checkpoint.to_string().parse::<ChainPlace>().unwrap(), checkpoint);
    assert!(verify(kept.path(), Some(&checkpoint), None).unwrap().intact);
    assert!(verify(anew.path(), None, None).unwrap().intact);
    let verdict = verify(anew.path(), Some(&checkpoint), None).unwrap();
    assert!(verdict.findings[0].message.contains("written anew"), "{verdict:?}");
    let short = log(AuditConfig::default(), 2);
    let verdict = verify(short.path(), Some(&checkpoint), None).unwrap();
    assert!(verdict.findings[0].message.contains("the end is missing"), "{verdict:?}");
}

#[test]
fn a_crash_in_the_middle_of_a_line_leaves_a_log_that_verifies() {
    let directory = log(AuditConfig::default(), 3);
    let path = files(&directory).remove(0);
    let whole = fs::read(&path).unwrap();
    let torn = [whole.as_slice(), &whole[..100]].concat();
    fs::write(&path, torn).unwrap();
    let verdict = verify(directory.path(), None, None).unwrap();
    assert!(verdict.intact && verdict.unfinished_bytes == 100, "{verdict:?}");
    drop(AuditLog::open(directory.path(), AuditConfig::default(), None).unwrap());
    let verdict = verify(directory.path(), None, None).unwrap();
    assert!(verdict.intact && verdict.unfinished_bytes == 0 && verdict.lines == 4, "{verdict:?}");
    assert!(text(&directory).contains("cut off an unfinished line of 100 bytes"));
}

#[test]
fn a_log_whose_end_was_taken_stays_damaged_for_ever() {
    let directory = log(AuditConfig::default(), 5);
    tamper(&directory, |mut lines| {
        lines.truncate(2);
        lines
    });
    let log = AuditLog::open(directory.path(), AuditConfig::default(), None).unwrap();
    log.note(load("sha256:later"));
    drop(log);
    let found = findings(&directory);
    assert!(found[0].contains("lines 3 to 5 are missing"), "{found:?}");
    assert_eq!(found.len(), 1);
}

#[test]
fn a_log_that_is_gone_or_was_written_anew_stays_damaged_for_ever() {
    let mut places = Vec::new();
    for deed in ["gone", "anew", "anew and longer", "nothing"] {
        let directory = log(AuditConfig::default(), 5);
        let kept = verify(directory.path(), None, None).unwrap().last.unwrap();
        if deed != "nothing" {
            fs::remove_dir_all(directory.path()).unwrap();
        }
        if deed.starts_with("anew") {
            let lines = if deed == "anew" { 5 } else { 7 };
            let log = AuditLog::open(directory.path(), AuditConfig::default(), None).unwrap();
            (0..lines).for_each(|_| log.note(load("sha256:forged")));
        }
        let before = verify(directory.path(), None, Some(&kept)).unwrap();
        assert!(before.end_is_checked);
        let log = AuditLog::open(directory.path(), AuditConfig::default(), Some(&kept)).unwrap();
        log.note(load("sha256:later"));
        log.close();
        let place = log.place().unwrap();
        // What is kept from now on is of the log as it goes on.
        let after = verify(directory.path(), None, Some(&place)).unwrap();
        assert_eq!(after.last.as_ref(), Some(&place), "{deed}");
        let is_fine = deed == "nothing";
        assert_eq!((before.intact, after.intact), (is_fine, is_fine), "{deed}: {after:?}");
        assert_eq!(text(&directory).contains("audit.recover"), !is_fine, "{deed}");
        places.push(place.seq);
    }
    assert_eq!(places, [7, 7, 9, 6]);
}

#[test]
fn a_log_that_ends_in_nonsense_is_continued_in_another_file() {
    let directory = log(AuditConfig::default(), 3);
    let path = files(&directory).remove(0);
    fs::write(&path, [fs::read(&path).unwrap().as_slice(), b"nonsense\n"].concat()).unwrap();
    drop(AuditLog::open(directory.path(), AuditConfig::default(), None).unwrap());
    let log = AuditLog::open(directory.path(), AuditConfig::default(), None).unwrap();
    log.note(load("sha256:later"));
    drop(log);
    let found = findings(&directory);
    assert!(found[0].contains("not a line of an audit log"), "{found:?}");
    assert_eq!((found.len(), files(&directory).len()), (1, 2));
}

#[test]
fn files_are_bounded_and_the_chain_goes_on_over_them() {
    let directory = log(SMALL, 200);
    let sizes: Vec<_> =
        files(&directory).iter().map(|path| fs::metadata(path).unwrap().len()).collect();
    assert_eq!(sizes.len(), SMALL.files_max);
    assert!(sizes.iter().all(|size| *size <= SMALL.file_max_bytes), "{sizes:?}");
    let verdict = verify(directory.path(), None, None).unwrap();
    assert!(verdict.intact && verdict.first.unwrap() > 1, "{verdict:?}");
    fs::remove_file(files(&directory).remove(0)).unwrap();
    let found = findings(&directory);
    assert!(found[0].contains("does not say that older files were removed"), "{found:?}");
}

#[test]
fn a_flood_of_refusals_is_two_lines() {
    let directory = tempfile::tempdir().unwrap();
    let log = AuditLog::open(directory.path(), AuditConfig::default(), None).unwrap();
    let agent = AgentName::new("greedy").unwrap();
    for index in 0..100_000 {
        log.note(AuditEvent {
            who: Actor::Agent(&agent),
            outcome: Outcome::Refused,
            detail: &format!("no rule permits GET to host-{index}.test"),
            ..AuditEvent::of_host(Action::PolicyRefuse, "policy.http")
        });
    }
    let lost = shared_lost(&log);
    drop(log);
    let mut lines = Vec::new();
    read(directory.path(), |line| lines.push(line)).unwrap();
    assert_eq!(lost, 0);
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0].count, lines[1].count), (1, 99_999));
    assert!(lines[1].detail.contains("host-99999.test"), "{}", lines[1].detail);
}

/// As many requests as a tenant sends: for an agent that is broken, and to load one anew and again.
#[test]
fn no_tenant_rolls_over_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let log = AuditLog::open(directory.path(), AuditConfig::default(), None).unwrap();
    let [evil, acme] = ["evil", "acme"].map(|name| TenantName::new(name).unwrap());
    let subject = Subject::Key { id: "k".into() };
    let who = Actor::Caller(&subject);
    for index in 0..20_000 {
        let event = AuditEvent { who, tenant: Some(&evil), ..load("sha256:0") };
        log.note(AuditEvent { outcome: Outcome::Failed, detail: &format!("{index}"), ..event });
        log.note(event);
    }
    log.note(AuditEvent { who, tenant: Some(&acme), ..load("sha256:1") });
    drop(log);
    let mut lines = Vec::new();
    read(directory.path(), |line| lines.push(line)).unwrap();
    assert!(lines.len() < 1100, "{}", lines.len());
    let events = |outcome: &str| {
        let of = lines.iter().filter(|line| line.outcome == outcome);
        of.map(|line| line.count).sum::<u64>()
    };
    assert_eq!((events("done"), events("failed")), (20_001, 20_000), "every one is counted");
    assert!(lines.iter().any(|line| line.tenant.as_deref() == Some("acme") && line.count == 1));
}

fn shared_lost(log: &AuditLog) -> u64 {
    log.shared.lost_in_total.load(Ordering::Relaxed)
}

#[test]
fn texts_are_cut_so_that_every_line_can_be_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let log = AuditLog::open(directory.path(), AuditConfig::default(), None).unwrap();
    let long = "\u{1}é".repeat(100_000);
    log.note(AuditEvent {
        who: Actor::Caller(&Subject::Key { id: long.as_str().into() }),
        detail: &long,
        ..load(&long)
    });
    drop(log);
    assert!(text(&directory).len() <= line::LINE_MAX_BYTES);
    let verdict = verify(directory.path(), None, None).unwrap();
    assert!(verdict.intact && verdict.lines == 1, "{verdict:?}");
}

/// What the disk does not take is told once it takes something again.
#[cfg(target_os = "linux")]
#[test]
fn what_was_lost_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let shared = Shared::default();
    let mut writer = Writer::open(directory.path(), AuditConfig::default(), None).unwrap();
    writer.break_for_test().unwrap();
    let records = [Record::new(load("a"), SystemTime::now()), loss(4)];
    let lost = writer.write(&records).unwrap_err();
    assert_eq!(lost.events, 5);
    shared.lose(lost.events);
    assert_eq!(shared.lost.load(Ordering::Relaxed), 5);
    writer.mend_for_test().unwrap();
    writer.write(&[loss(5)]).unwrap();
    assert!(findings(&directory).is_empty());
    assert!(text(&directory).contains("\"audit.lose\""));
}

#[cfg(unix)]
#[test]
fn nobody_else_reads_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let data = tempfile::tempdir().unwrap();
    let directory = audit_directory(data.path());
    drop(AuditLog::open(&directory, AuditConfig::default(), None).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&files::list(&directory).unwrap()[0]), 0o600);
}
