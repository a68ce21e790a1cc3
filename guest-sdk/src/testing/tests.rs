//! What the wrappers make of the answers of a host.

use serde_json::{Value, json};

use super::*;
use crate::client::{self, Question, Reply};
use crate::elicit::{self, Form};
use crate::state::Bucket;
use crate::{changes, config, log, model, progress, tools};

#[test]
fn without_a_host_everything_is_refused() {
    assert_eq!(tools::discover("", None).unwrap(), []);
    assert_eq!(tools::describe("textkit_measure").unwrap_err().code, "not_found");
    assert_eq!(tools::call::<Value>("x", &json!({})).unwrap_err().code, "not_found");
    assert_eq!(model::bound(), None);
    let refused = model::Request::new().user("hello").complete().unwrap_err();
    assert!(matches!(refused, ModelError::Denied(_)));
    assert!(matches!(Form::new("?").ask::<Value>().unwrap_err(), AskError::Unsupported(_)));
    assert!(matches!(elicit::visit("?", "https://a.b").unwrap_err(), AskError::Unsupported(_)));
    assert!(matches!(Bucket::session().err(), Some(StateError::Denied)));
    assert!(matches!(client::roots().unwrap_err(), AskError::Unsupported(_)));
    assert_eq!(config::get("key"), Ok(None));
}

#[test]
fn several_things_are_asked_for_at_one_time() {
    let root = client::Root { uri: "file:///home/ada".to_owned(), name: None };
    let host = Script::new().answers(Answer::Declined).roots([root.clone()]).says("hello");
    host.run(|| {
        let questions = [
            Question::page("sign-in", "Please sign in.", "https://a.b"),
            Question::Roots,
            Question::from(model::Request::new().user("greet")),
            Question::from(&Form::new("?")),
        ];
        let [page, roots, said, form] = client::ask_many(questions);
        assert_eq!(page.unwrap().filled_in::<()>(), Ok(Answer::Declined));
        assert_eq!(roots.clone().unwrap(), Reply::Roots(vec![root]));
        assert!(matches!(roots.unwrap().filled_in::<()>(), Err(AskError::Failed(_))));
        let Reply::Completion(said) = said.unwrap() else { panic!("no completion") };
        assert_eq!(said.text(), "hello");
        assert!(matches!(form.unwrap_err(), AskError::Unsupported(_)));
    });
}

#[test]
fn a_host_ends_with_its_code() {
    let outer = Script::new().config("whose", "outer");
    outer.run(|| {
        Script::new().config("whose", "inner").run(|| {
            assert_eq!(config::get("whose").unwrap().unwrap(), "inner");
        });
        assert_eq!(config::get("whose").unwrap().unwrap(), "outer");
        let panicked = std::panic::catch_unwind(|| {
            Script::new().config("whose", "panicking").run(|| panic!("on purpose"));
        });
        assert!(panicked.is_err());
        assert_eq!(config::get("whose").unwrap().unwrap(), "outer");
    });
    assert_eq!(config::get("whose"), Ok(None));
}

#[test]
fn answers_of_tools_are_read_as_what_is_expected() {
    let host = Script::new().tool("count_words", "Counts words.", |_| Ok(json!(3))).tool(
        "count_lines",
        "Counts lines.",
        |_| Err(Failure::new("guest_error", "no lines")),
    );
    let (_, seen) = host.run(|| {
        assert_eq!(tools::call::<u32>("count_words", &json!({ "text": "a b c" })), Ok(3));
        let failure = tools::call::<String>("count_words", &json!({})).unwrap_err();
        assert_eq!(failure.code, "bad_output");
        let calls = [
            Invocation::new("count_lines", &json!({})).unwrap(),
            Invocation::new("count_words", &json!({})).unwrap(),
        ];
        let results = tools::call_many::<u32>(&calls);
        assert_eq!(results[0].as_ref().unwrap_err().to_string(), "no lines (guest_error)");
        assert_eq!(results[1], Ok(3));
        let found = tools::discover("lines", 5).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(tools::discover("", None).unwrap().len(), 2);
        let definition = tools::describe("count_words").unwrap();
        assert_eq!(definition.arguments().unwrap(), json!({ "type": "object" }));
    });
    assert_eq!(seen.calls[0].arguments, r#"{"text":"a b c"}"#);
    assert_eq!(seen.calls.len(), 4);
}

#[test]
fn arguments_that_are_no_json_never_leave_the_agent() {
    let keyed_by_numbers = std::collections::BTreeMap::from([((1, 2), 3)]);
    let failure = Invocation::new("x", &keyed_by_numbers).unwrap_err();
    assert_eq!(failure.code, "invalid_arguments");
}

#[test]
fn a_stream_ends_with_the_whole_completion() {
    Script::new().says("Well then.").run(|| {
        let events: Vec<_> =
            model::Request::new().user("?").stream().unwrap().map(Result::unwrap).collect();
        let [model::Event::Text(text), model::Event::Done(done)] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!((text.as_str(), done.text().as_str()), ("Well then.", "Well then."));
    });
}

#[test]
fn a_form_answer_that_does_not_fit_is_an_error() {
    let host = Script::new().answers(Answer::Accepted(json!({ "age": "old" })));
    host.run(|| {
        #[derive(Debug, serde::Deserialize)]
        struct Person {
            #[expect(dead_code, reason = "never read")]
            age: u8,
        }
        assert!(matches!(Form::new("Age?").ask::<Person>(), Err(AskError::Failed(_))));
    });
}

#[test]
fn progress_must_grow() {
    let (_, seen) = Script::new().run(|| {
        progress::report(1.0, 2.0, "half").unwrap();
        progress::report(1.0, 2.0, "").unwrap_err();
        progress::report(-1.0, None, "").unwrap_err();
        log::info("done");
        changes::resource_updated("a://b").unwrap();
    });
    assert_eq!(seen.progress, [(1.0, Some(2.0), "half".to_owned())]);
    assert_eq!(seen.log, ["done"]);
    assert_eq!(seen.updated, ["a://b"]);
}

#[test]
fn buckets_are_apart_and_typed() {
    Script::new().run(|| {
        let (session, agent) = (Bucket::session().unwrap(), Bucket::agent().unwrap());
        session.set("name", "Ada").unwrap();
        assert_eq!(agent.get::<String>("name").unwrap(), None);
        assert_eq!(session.get::<String>("name").unwrap().unwrap(), "Ada");
        session.get::<u32>("name").unwrap_err();
        session.increment("name", 1).unwrap_err();
        session.delete("name").unwrap();
        assert_eq!(session.keys().unwrap(), Vec::<String>::new());
    });
}
