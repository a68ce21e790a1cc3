use aop_core::{Asked, Witness as _};

use super::super::recorder::Recorder;
use super::*;

/// What is proposed after an agent asked for something, under settings; the proposal must grant it.
fn propose(settings: &str, ask: impl Fn(&Recorder, &Policy)) -> (Proposal, Settings) {
    let settings = Settings::from_toml(settings).unwrap();
    let recorder = Recorder::default();
    recorder.begin(1);
    ask(&recorder, &settings.policy);
    let proposal = Proposal::of(&recorder.seen(), &settings);
    let text = proposal.toml();
    assert!(text.is_ascii(), "{text}");
    let read = Settings::from_toml(&text).unwrap_or_else(|wrong| panic!("{wrong:?}\n{text}"));
    (proposal, read)
}

fn request(recorder: &Recorder, policy: &Policy, method: &str, url: &str) {
    let (method, uri) = (method.parse().unwrap(), url.parse().unwrap());
    let is_granted = policy.permits_request(&method, &uri).is_ok();
    recorder.saw(Asked::Request(&method, &uri), is_granted);
}

fn rules(settings: &Settings) -> Vec<String> {
    settings.policy.http.iter().map(ToString::to_string).collect()
}

#[test]
fn a_few_paths_have_rules_of_their_own_and_many_one_for_all() {
    let (proposal, read) = propose("", |recorder, policy| {
        request(recorder, policy, "GET", "https://a.test/v1/x?key=secret");
        request(recorder, policy, "POST", "https://a.test/v1/x");
        request(recorder, policy, "GET", "http://[::1]:8080/");
        for number in 0..20 {
            let url = format!("https://b.test:8443/users/{number}/name");
            request(recorder, policy, "GET", &url);
        }
    });
    assert_eq!(
        rules(&read),
        [
            "GET http://[::1]:8080/",
            "GET,POST https://a.test/v1/x",
            "GET https://b.test:8443/users/*"
        ]
    );
    assert!(!proposal.is_complete, "it was refused");
    let text = proposal.toml();
    assert!(text.contains("# call 1: 20 paths, such as /users/0/name, and refused"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn a_method_that_was_seen_at_one_path_is_permitted_there_only() {
    let (_, read) = propose("", |recorder, policy| {
        for number in 0..20 {
            let url = format!("https://a.test/items/{number}");
            request(recorder, policy, "GET", &url);
        }
        request(recorder, policy, "DELETE", "https://a.test/items/7");
        request(recorder, policy, "PROPFIND", "https://a.test/items/dav");
    });
    assert_eq!(
        rules(&read),
        ["GET https://a.test/items/*", "DELETE https://a.test/items/7", "https://a.test/items/dav"]
    );
}

#[test]
fn whatever_a_guest_writes_into_a_path_stays_in_its_rule() {
    let odd = [
        "https://a.test/a*b",
        "https://a.test/x/../y",
        "https://a.test/\"quoted\"",
        "https://a.test/%0a%22",
        "https://a.test/{brace}",
    ];
    for url in odd {
        let (_, read) = propose("", |recorder, policy| request(recorder, policy, "GET", url));
        let uri = url.parse().unwrap();
        assert!(
            read.policy.permits_request(&Method::GET, &uri).is_ok(),
            "{url} {:?}",
            rules(&read)
        );
        assert!(read.policy.permits_request(&Method::PUT, &uri).is_err(), "{url}");
        let other = "https://b.test/".parse().unwrap();
        assert!(read.policy.permits_request(&Method::GET, &other).is_err(), "{url}");
    }
    let long = format!("https://a.test/files/{}/end", "x".repeat(4000));
    let (_, read) = propose("", |recorder, policy| request(recorder, policy, "GET", &long));
    assert_eq!(rules(&read), ["GET https://a.test/files/*"]);
    let (_, read) = propose("", |recorder, policy| {
        request(recorder, policy, "PROPFIND", "https://a.test/dav");
    });
    assert_eq!(rules(&read), ["https://a.test/dav"], "a rule cannot name that method");
}

#[test]
fn what_belongs_to_a_rule_stays_with_its_requests() {
    let settings = "[policy]\nhttp = [\n  { permit = \"https://a.test/*\", headers = { Authorization = \"Bearer {secret:KEY}\" }, request_max = \"1KiB\", timeout = \"3s\", connections_max = 2 },\n  \"https://unused.test\",\n]\n";
    let (proposal, read) = propose(settings, |recorder, policy| {
        request(recorder, policy, "GET", "https://a.test/one");
        request(recorder, policy, "GET", "https://other.test/two");
    });
    let [first, second] = read.policy.http.as_slice() else { panic!("{:?}", rules(&read)) };
    assert_eq!(first.rule.to_string(), "GET https://a.test/one");
    let before = Settings::from_toml(settings).unwrap().policy.http.remove(0);
    assert_eq!((&first.headers, first.limits), (&before.headers, before.limits));
    assert_eq!(second.to_string(), "GET https://other.test/two");
    assert!(!proposal.is_complete);
}

#[test]
fn directories_are_as_they_were_used() {
    let settings = "[policy]\ndirectories = [\n  \"write /srv/a as /a\",\n  { permit = \"write /srv/b as /b\", files_max = 7 },\n  \"read /srv/c as /c\",\n  \"read /srv/d as /d\",\n]\n";
    let (proposal, read) = propose(settings, |recorder, _| {
        recorder.saw(Asked::Read("/a"), true);
        recorder.saw(Asked::Write("/b"), true);
        recorder.saw(Asked::Read("/b"), true);
        recorder.saw(Asked::Write("/c"), false);
    });
    let rules: Vec<_> = read.policy.directories.iter().map(DirectoryGrant::rule).collect();
    assert_eq!(rules, ["read /srv/a as /a", "write /srv/b as /b", "write /srv/c as /c"]);
    assert_eq!(read.policy.directories[1].limits.files_max, 7);
    assert!(proposal.notes.iter().any(|note| note.contains("read /srv/d as /d")));
    assert!(!proposal.is_complete);
}

#[test]
fn names_of_tools_are_names() {
    let (proposal, read) = propose("[policy]\ntools = [\"kit_*\"]\n", |recorder, _| {
        recorder.saw(Asked::Tool("kit_a"), true);
        recorder.saw(Asked::Tool("other_b"), false);
        recorder.saw(Asked::Tool("*"), false);
        recorder.saw(Asked::Tool("bad\n]\nclock = \"\u{202e}"), false);
    });
    let tools: Vec<_> = read.policy.tools.iter().map(ToString::to_string).collect();
    assert_eq!(tools, ["kit_a", "other_b"]);
    assert_eq!(proposal.notes.iter().filter(|note| note.contains("no tool is called")).count(), 2);
    assert_eq!(read.policy.clock, Clock::Real);
    let (_, read) = propose("[policy]\ntools = [\"kit_*\"]\n", |recorder, _| {
        recorder.saw(Asked::Search, true);
    });
    assert_eq!(read.policy.tools[0].to_string(), "kit_*");
}

#[test]
fn what_was_not_asked_for_is_not_proposed() {
    let settings = "[policy]\nenvironment = [\"TZ\"]\nshared_state = true\ntools = [\"a\"]\nhttp = [\"https://a.test\"]\nprivate_networks = [\"10.0.0.0/8\"]\nclock = \"2026-01-01T00:00:00Z\"\n[model]\nprovider = \"openai\"\nname = \"m\"\n";
    let (proposal, read) = propose(settings, |_, _| ());
    let kept = Settings::from_toml("[policy]\nclock = \"2026-01-01T00:00:00Z\"\n").unwrap();
    assert_eq!(read.policy, kept.policy);
    assert!(proposal.is_complete);
    assert!(proposal.notes.iter().any(|note| note.contains("never used its model")));
    let (proposal, read) = propose(settings, |recorder, policy| {
        recorder.saw(Asked::Environment, true);
        recorder.saw(Asked::SharedState, true);
        recorder.saw(Asked::Model, true);
        request(recorder, policy, "GET", "https://a.test/");
    });
    assert_eq!(read.policy.environment, ["TZ"]);
    assert!(proposal.is_complete, "whatever it asked for, it was given");
    assert!(read.policy.shared_state);
    assert_eq!(read.policy.private_networks.len(), 1);
}
