use aop_agent::testing::Script;
use serde_json::json;

use super::*;

fn definition(schema: Value) -> Definition {
    Definition {
        name: "a_b".to_owned(),
        agent: "a".to_owned(),
        title: None,
        description: String::new(),
        input_schema: schema.to_string(),
        output_schema: None,
    }
}

#[test]
fn named_arguments_are_taken_out_of_a_goal() {
    let (words, named) = arguments_in(r#"find keywords limit=3 in="the text" 1+1=2 now"#);
    assert_eq!(words, "find keywords 1+1=2 now");
    let named: Vec<_> = named.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(named, [("limit", "3"), ("in", "the text")]);
    assert_eq!(arguments_in("a=").1, [("a".to_owned(), String::new())]);
    assert_eq!(arguments_in(r#"a="open"#).1, [("a".to_owned(), "\"open".to_owned())]);
}

#[test]
fn the_subject_fills_the_one_text_that_is_left() {
    let text = json!({
        "type": "object",
        "properties": { "text": { "type": "string" }, "limit": { "type": "integer" } },
        "required": ["text"],
    });
    let named = [("limit".to_owned(), "3".to_owned())];
    let arguments = fill_in(&definition(text.clone()), &named, "$material").unwrap();
    assert_eq!(Value::from(arguments), json!({ "text": "$material", "limit": 3 }));
    let unknown = [("language".to_owned(), "en".to_owned())];
    assert!(fill_in(&definition(text), &unknown, "").unwrap_err().contains("language"));

    let dates = json!({
        "properties": { "start": { "type": "string" }, "end": { "type": "string" } },
        "required": ["start", "end"],
    });
    assert_eq!(fill_in(&definition(dates), &[], "").unwrap_err(), "needs start and end");
    let number = json!({ "properties": { "n": { "type": "number" } }, "required": ["n"] });
    assert_eq!(fill_in(&definition(number), &[], "").unwrap_err(), "needs n");
}

#[test]
fn nobody_is_assigned_what_nobody_does() {
    let host = Script::new().tool("dates_add", "Adds days.", |_| Ok(json!(null)));
    host.run(|| {
        assert!(assign("paint a picture", "").unwrap_err().contains("no agent"));
        assert_eq!(assign("add days", "").unwrap().tool, "dates_add");
    });
}
