use aop_core::AgentName;
use aop_core::client::Question;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::form::Form;
use super::formats::fits;
use super::{attributed, legal, named, page};
use crate::binding::agent_0_1_0::elicit::{
    Choice, ChoiceField, Field, FieldKind, NumberField, TextField, TextFormat,
};

fn field(name: &str, kind: FieldKind) -> Field {
    Field { name: name.to_owned(), title: None, description: None, required: true, kind }
}

fn text() -> TextField {
    TextField { format: None, min_length: None, max_length: None, initial: None }
}

fn number(integer: bool) -> NumberField {
    NumberField { integer, minimum: None, maximum: None, initial: None }
}

fn choice(values: &[&str], title: Option<&str>) -> ChoiceField {
    let choice = |value: &&str| Choice {
        value: (*value).to_owned(),
        title: title.map(|title| format!("{title} {value}")),
    };
    ChoiceField { choices: values.iter().map(choice).collect(), multiple: false, initial: vec![] }
}

/// The schema of one field.
fn schema(kind: FieldKind) -> Value {
    let form = Form::new(vec![field("x", kind)]).unwrap();
    let schema: Value = serde_json::from_str(form.schema().unwrap().get()).unwrap();
    assert_eq!(schema["required"], json!(["x"]));
    schema["properties"]["x"].clone()
}

fn check(kind: FieldKind, value: &Value) -> Result<String, String> {
    let answer = RawValue::from_string(json!({ "x": value }).to_string()).unwrap();
    Form::new(vec![field("x", kind)]).unwrap().check(&answer)
}

#[test]
fn a_form_becomes_the_schema_that_mcp_allows() {
    let email = TextField {
        format: Some(TextFormat::Email),
        max_length: Some(99),
        initial: Some("a@b".into()),
        ..text()
    };
    let expected =
        json!({ "type": "string", "format": "email", "maxLength": 99, "default": "a@b" });
    assert_eq!(schema(FieldKind::Text(email)), expected);
    let whole = NumberField { minimum: Some(1.0), initial: Some(2.0), ..number(true) };
    let expected = json!({ "type": "integer", "minimum": 1, "default": 2 });
    assert_eq!(schema(FieldKind::Number(whole)), expected);
    let real = NumberField { maximum: Some(1.5), ..number(false) };
    assert_eq!(schema(FieldKind::Number(real)), json!({ "type": "number", "maximum": 1.5 }));
    let expected = json!({ "type": "boolean", "default": true });
    assert_eq!(schema(FieldKind::YesNo(Some(true))), expected);

    let plain = ChoiceField { initial: vec!["b".into()], ..choice(&["a", "b"], None) };
    let expected = json!({ "type": "string", "enum": ["a", "b"], "default": "b" });
    assert_eq!(schema(FieldKind::Choice(plain)), expected);
    let titled = json!([{ "const": "a", "title": "The a" }, { "const": "b", "title": "The b" }]);
    let expected = json!({ "type": "string", "oneOf": titled });
    assert_eq!(schema(FieldKind::Choice(choice(&["a", "b"], Some("The")))), expected);
    let several = |title| ChoiceField { multiple: true, ..choice(&["a", "b"], title) };
    let expected = json!({ "type": "array", "items": { "type": "string", "enum": ["a", "b"] } });
    assert_eq!(schema(FieldKind::Choice(several(None))), expected);
    let chosen = ChoiceField { initial: vec!["a".into(), "b".into()], ..several(Some("The")) };
    let expected = json!({ "type": "array", "items": { "anyOf": titled }, "default": ["a", "b"] });
    assert_eq!(schema(FieldKind::Choice(chosen)), expected);
}

#[test]
fn a_form_has_the_words_and_the_order_of_its_fields() {
    let mut first = field("zeta", FieldKind::YesNo(None));
    first.title = Some("Z \"quoted\"".into());
    first.description = Some("Say\nso.".into());
    let second = Field { required: false, ..field("a\"b", FieldKind::YesNo(None)) };
    let form = Form::new(vec![first, second]).unwrap();
    let schema = form.schema().unwrap();
    let (zeta, a) = (schema.get().find("zeta").unwrap(), schema.get().find("a\\\"b").unwrap());
    assert!(zeta < a, "{schema}");
    let schema: Value = serde_json::from_str(schema.get()).unwrap();
    assert_eq!(schema["properties"]["zeta"]["title"], "Z \"quoted\"");
    assert_eq!(schema["properties"]["zeta"]["description"], "Say\nso.");
    assert_eq!(schema["required"], json!(["zeta"]));
    let empty = Form::new(vec![]).unwrap();
    let expected = r#"{"type":"object","properties":{},"required":[]}"#;
    assert_eq!(empty.schema().unwrap().get(), expected);
}

#[test]
fn forms_that_break_a_rule_are_not_asked() {
    let long = "x".repeat(129);
    let many: Vec<String> = (0..257).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let forms = [
        vec![field("", FieldKind::YesNo(None))],
        vec![field(&long, FieldKind::YesNo(None))],
        vec![field("x", FieldKind::YesNo(None)), field("x", FieldKind::YesNo(None))],
        (0..65).map(|n| field(&n.to_string(), FieldKind::YesNo(None))).collect(),
        vec![Field { title: Some("x".repeat(1025)), ..field("x", FieldKind::YesNo(None)) }],
    ];
    for form in forms {
        assert!(Form::new(form.clone()).is_err(), "{form:?}");
    }
    let texts = [
        TextField { min_length: Some(2), max_length: Some(1), ..text() },
        TextField { max_length: Some(1), initial: Some("ab".into()), ..text() },
        TextField { min_length: Some(3), initial: Some("ab".into()), ..text() },
        TextField { format: Some(TextFormat::Date), initial: Some("soon".into()), ..text() },
    ];
    let numbers = [
        NumberField { minimum: Some(f64::NAN), ..number(false) },
        NumberField { maximum: Some(f64::INFINITY), ..number(false) },
        NumberField { minimum: Some(2.0), maximum: Some(1.0), ..number(false) },
        NumberField { initial: Some(0.5), ..number(true) },
        NumberField { maximum: Some(1.0), initial: Some(2.0), ..number(false) },
    ];
    let choices = [
        choice(&[], None),
        choice(&many, None),
        choice(&[""], None),
        choice(&["a", "a"], None),
        choice(&["a"], Some(&"x".repeat(1024))),
        ChoiceField { initial: vec!["b".into()], ..choice(&["a"], None) },
        ChoiceField { initial: vec!["a".into(), "b".into()], ..choice(&["a", "b"], None) },
        ChoiceField {
            multiple: true,
            initial: vec!["a".into(), "a".into()],
            ..choice(&["a"], None)
        },
    ];
    let kinds = texts.map(FieldKind::Text).into_iter();
    let kinds = kinds.chain(numbers.map(FieldKind::Number)).chain(choices.map(FieldKind::Choice));
    for kind in kinds {
        assert!(Form::new(vec![field("x", kind.clone())]).is_err(), "{kind:?}");
    }
}

#[test]
fn answers_are_held_against_the_form() {
    let kind = || FieldKind::Choice(ChoiceField { multiple: true, ..choice(&["a", "b"], None) });
    assert_eq!(check(kind(), &json!(["b", "a"])).unwrap(), r#"{"x":["b","a"]}"#);
    assert_eq!(check(kind(), &json!([])).unwrap(), r#"{"x":[]}"#);
    for wrong in [json!(["a", "a"]), json!(["c"]), json!([1]), json!("a")] {
        assert!(check(kind(), &wrong).is_err(), "{wrong}");
    }
    let whole = || FieldKind::Number(number(true));
    assert_eq!(check(whole(), &json!(5.0)).unwrap(), r#"{"x":5.0}"#);
    assert!(check(whole(), &json!(true)).is_err());
    assert!(check(FieldKind::YesNo(None), &json!("true")).is_err());
    assert!(check(FieldKind::Text(text()), &json!("x".repeat((64 << 10) + 1))).is_err());
    assert!(check(FieldKind::Text(text()), &json!("ä".repeat(64 << 10))).is_ok());

    let optional = Field { required: false, ..field("x", FieldKind::YesNo(None)) };
    let form = Form::new(vec![optional]).unwrap();
    for empty in ["{}", r#"{"x":null}"#] {
        let answer = RawValue::from_string(empty.to_owned()).unwrap();
        assert_eq!(form.check(&answer).unwrap(), "{}");
    }
}

#[test]
fn text_has_the_form_that_it_should() {
    use TextFormat::{Date, DateTime, Email, Uri};
    for (format, text) in [
        (Email, "ada@example.com"),
        (Email, "a+b@localhost"),
        (Uri, "https://example.com/x"),
        (Uri, "urn:isbn:1"),
        (Date, "2024-02-29"),
        (Date, "2000-02-29"),
        (DateTime, "2026-01-31T23:59:60Z"),
        (DateTime, "2026-01-31t00:00:00.5+01:00"),
        (DateTime, "2026-01-31T00:00:00-11:30"),
    ] {
        assert!(fits(format, text), "{text}");
    }
    for (format, text) in [
        (Email, "ada"),
        (Email, "@example.com"),
        (Email, "ada@"),
        (Email, "a b@example.com"),
        (Uri, "example.com"),
        (Uri, "1x:y"),
        (Uri, "x:"),
        (Uri, "x:a b"),
        (Date, "2026-02-29"),
        (Date, "1900-02-29"),
        (Date, "2026-13-01"),
        (Date, "2026-00-10"),
        (Date, "2026-1-1"),
        (Date, "2026-01-01-01"),
        (Date, "+026-01-01"),
        (DateTime, "2026-01-31"),
        (DateTime, "2026-01-31T00:00:00"),
        (DateTime, "2026-01-31T24:00:00Z"),
        (DateTime, "2026-01-31T00:00Z"),
        (DateTime, "2026-01-31T00:00:00.Z"),
        (DateTime, "2026-01-31T00:00:00+1"),
        (DateTime, "2026-01-31T00:00:00Zulu"),
    ] {
        assert!(!fits(format, text), "{text}");
    }
}

#[test]
fn what_a_person_reads_is_bounded() {
    assert!(legal("Who?").is_ok());
    assert!(legal(&"ä".repeat(4096)).is_ok());
    for wrong in ["", " \n", &"x".repeat(4097)] {
        assert!(legal(wrong).is_err());
    }
    assert!(page("http://127.0.0.1:8000/x").is_ok());
    assert!(page("HTTPS://example.com").is_ok());
    assert!(page(&format!("https://example.com/{}", "x".repeat(2048))).is_err());
}

#[test]
fn names_of_questions_are_words() {
    let longest = "x".repeat(64);
    for key in ["a", "user_name", "sign-in-2", &longest] {
        assert_eq!(named(Some(key)), Ok(()), "{key}");
    }
    assert_eq!(named(None), Ok(()));
    let long = "x".repeat(65);
    for key in ["", "a b", "a.b", "é", "a\n", &long] {
        assert!(named(Some(key)).is_err(), "{key}");
    }
}

#[test]
fn the_question_of_a_callee_says_who_asks() {
    let agent = AgentName::new("helper").unwrap();
    for (key, expected) in [(None, "helper/url"), (Some("door".to_owned()), "helper/door")] {
        let (message, url) = ("Go\nthere".to_owned(), "https://example.com".to_owned());
        let question = attributed(Question::Url { key, message, url }, &agent);
        let Question::Url { key, message, .. } = question else { panic!("{question:?}") };
        assert_eq!((key.as_deref(), message.as_str()), (Some(expected), "helper asks: Go there"));
    }
}
