use std::sync::Mutex;
use std::time::Instant;

use aop_core::{AgentName, Caller, GuestLine, GuestLog, Offer, TenantName, ToolName};

use super::*;

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl GuestLog for Log {
    fn line(&self, line: GuestLine<'_>) {
        self.0.lock().unwrap().push(line.text.to_owned());
    }
}

fn context() -> Arc<CallContext> {
    let caller = Caller::local(TenantName::new("default").unwrap());
    let (agent, tool) = (AgentName::new("a").unwrap(), ToolName::new("a_run").unwrap());
    Arc::new(CallContext::alone(caller, agent, tool, Instant::now()))
}

fn guest(log: &Arc<Log>) -> Guest {
    let settings = Arc::new(Settings::default());
    let voice = Voice::new(log.clone(), &settings, &context());
    Guest::new(Arc::new(Grants::new(settings, &BTreeMap::new(), &Rooms::default())), voice)
}

#[test]
fn few_things_are_held_at_one_time() {
    let mut guest = guest(&Arc::default());
    for (of, max) in [
        (Bounded::Requests, 16),
        (Bounded::Completions, 4),
        (Bounded::Attempts, 8),
        (Bounded::Files, 64),
        (Bounded::Listings, 16),
        (Bounded::FileStreams, 64),
        (Bounded::FileWork, 256),
    ] {
        let mut held: Vec<_> = (0..max).map(|_| guest.place(of).unwrap()).collect();
        assert!(guest.place(of).unwrap_err().contains(&max.to_string()));
        held.pop();
        assert!(guest.place(of).is_ok(), "a place comes back");
    }
}

#[test]
fn a_guest_that_holds_something_is_known() {
    let mut guest = guest(&Arc::default());
    // Open files are known by themselves.
    for of in Bounded::ALL.into_iter().filter(|of| !matches!(of, Bounded::Files)) {
        assert!(guest.is_empty_handed());
        let _held = guest.place(of).unwrap();
        assert!(!guest.is_empty_handed(), "{of:?}");
    }
    assert!(guest.is_empty_handed());
}

#[test]
fn nothing_of_a_call_stays_when_it_ends() {
    let mut guest = guest(&Arc::default());
    assert!(guest.serving().is_err() && guest.peek().is_none());
    let context = context();
    guest.begin(&context, None);
    let serving = guest.serving().unwrap();
    serving.progress = 1.0;
    assert!(Arc::ptr_eq(&serving.lineage(), &serving.lineage()), "one budget");
    guest.end();
    assert_eq!(Arc::strong_count(&context), 1);
    guest.begin(&context, None);
    let serving = guest.serving().unwrap();
    assert!(serving.progress < 0.0, "a call has a progress of its own");
}

#[test]
fn an_agent_tells_no_changes_while_it_is_asked_what_it_offers() {
    let (mut guest, context) = (guest(&Arc::default()), context());
    for (feature, told) in [(None, 1), (Some(Feature::PromptsList), 0), (None, 1)] {
        guest.begin(&context, feature);
        guest.tell(Offer::Prompts).unwrap().unwrap();
        assert_eq!(guest.serving().unwrap().changes, told, "{feature:?}");
    }
}

#[test]
fn a_refusal_names_the_setting_however_long_the_rule() {
    let log = Arc::new(Log::default());
    guest(&log).voice.refuse(&"ä".repeat(10_000), &["policy.tools"]);
    let lines = log.0.lock().unwrap();
    assert!(lines[0].len() < 1000 && lines[0].contains("`tools` under `[policy]`"), "{lines:?}");
}

#[test]
fn an_agent_is_given_the_variables_that_its_policy_names() {
    let mut settings = Settings::default();
    settings.policy.environment = vec!["A".into(), "ABSENT".into()];
    let pair = |name: &str| (name.to_owned(), format!("value of {name}"));
    let grants =
        Grants::new(Arc::new(settings), &BTreeMap::from([pair("A"), pair("B")]), &Rooms::default());
    assert_eq!(grants.environment, [pair("A")]);
}
