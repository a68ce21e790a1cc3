//! Tools that ask the client while they run.

use std::fmt::Display;

use aop_agent::client::{self, Question, Reply};
use aop_agent::elicit::{Answer, ChoiceField, Field, Form, NumberField, TextField, TextFormat};
use aop_agent::model::Request;
use serde_json::Value;

use crate::exports::conformance::test::asking::Guest;

/// What the suite's scenarios about sampling ask for.
const MAX_TOKENS: u32 = 100;

impl Guest for crate::Test {
    fn sampling(prompt: String) -> Result<String, String> {
        Ok(format!("LLM response: {}", sample(&prompt)?))
    }

    fn elicitation(message: String) -> Result<String, String> {
        let email = TextField::formatted(TextFormat::Email);
        let form = Form::new(message)
            .field(Field::text("username").description("User's response").required())
            .field(Field::new("email", email).description("User's email address").required());
        Ok(format!("User response: {}", outcome(&form)?))
    }

    fn elicitation_sep1034_defaults() -> Result<String, String> {
        let status = ChoiceField::of(["active", "inactive", "pending"]).initial(["active"]);
        let form = Form::new("Please check what is filled in.")
            .field(Field::new("name", TextField::any().initial("John Doe")))
            .field(Field::new("age", NumberField::integer().initial(30.0)))
            .field(Field::new("score", NumberField::any().initial(95.5)))
            .field(Field::new("status", status))
            .field(Field::yes_no("verified", true));
        Ok(format!("Elicitation completed: {}", outcome(&form)?))
    }

    fn elicitation_sep1330_enums() -> Result<String, String> {
        let options = ["option1", "option2", "option3"];
        let titled = [("value1", "First"), ("value2", "Second"), ("value3", "Third")];
        // The older way to write titles is deprecated; the host writes these the new way.
        let legacy = [("opt1", "Option One"), ("opt2", "Option Two"), ("opt3", "Option Three")];
        let form = Form::new("Please choose.")
            .field(Field::new("untitledSingle", ChoiceField::of(options)))
            .field(Field::new("titledSingle", ChoiceField::titled(titled)))
            .field(Field::new("legacyEnum", ChoiceField::titled(legacy)))
            .field(Field::new("untitledMulti", ChoiceField::of(options).multiple()))
            .field(Field::new("titledMulti", ChoiceField::titled(titled).multiple()));
        Ok(format!("Elicitation completed: {}", outcome(&form)?))
    }

    fn streaming_elicitation() -> Result<String, String> {
        outcome(&Form::new("Which word?").field(Field::text("word").required()))
    }

    fn missing_capability() -> Result<String, String> {
        sample("Say anything.")
    }

    fn input_required_result_elicitation() -> Result<String, String> {
        Ok(format!("Hello, {}!", ask_name("What is your name?")?))
    }

    fn input_required_result_sampling() -> Result<String, String> {
        sample("What is the capital of France?")
    }

    fn input_required_result_request_state() -> Result<String, String> {
        outcome(&confirmation()).map(|outcome| format!("state-ok, {outcome}"))
    }

    fn input_required_result_tampered_state() -> Result<String, String> {
        outcome(&confirmation())
    }

    fn input_required_result_list_roots() -> Result<String, String> {
        let roots = client::roots().map_err(words)?;
        let uris: Vec<_> = roots.into_iter().map(|root| root.uri).collect();
        Ok(format!("The roots are {}", uris.join(", ")))
    }

    fn input_required_result_multiple_inputs() -> Result<String, String> {
        let greeting = Request::new().user("Generate a greeting").max_tokens(MAX_TOKENS);
        let [name, greeting, roots] = client::ask_many([
            Question::form("user_name", &name_form("What is your name?")),
            Question::from(greeting),
            Question::Roots,
        ]);
        let name = name_in(name.and_then(Reply::filled_in).map_err(words)?);
        let (Reply::Completion(greeting), Reply::Roots(roots)) =
            (greeting.map_err(words)?, roots.map_err(words)?)
        else {
            return Err("the host mixed up its answers".to_owned());
        };
        Ok(format!("{} {name}, with {} roots", greeting.text(), roots.len()))
    }

    fn input_required_result_multi_round() -> Result<String, String> {
        let name = ask_name("Step 1: What is your name?")?;
        let form = Form::new("Step 2: What is your favorite color?")
            .field(Field::text("color").required());
        Ok(format!("{name}: {}", outcome(&form)?))
    }

    fn input_required_result_capabilities() -> Result<String, String> {
        ask_name("What is your name?").or_else(|_| sample("Invent a name."))
    }

    fn tool_with_task() -> Result<String, String> {
        Ok(format!("Done for {}.", ask_name("What is your name?")?))
    }
}

/// Asks for a name, under the name that the suite expects.
pub fn ask_name(message: &str) -> Result<String, String> {
    let [name] = client::ask_many([Question::form("user_name", &name_form(message))]);
    name.and_then(Reply::filled_in).map(name_in).map_err(words)
}

fn name_form(message: &str) -> Form {
    Form::new(message).field(Field::text("name").required())
}

fn name_in(answer: Answer<Value>) -> String {
    match answer {
        Answer::Accepted(answer) => answer["name"].as_str().unwrap_or_default().to_owned(),
        Answer::Declined | Answer::Dismissed => "stranger".to_owned(),
    }
}

fn confirmation() -> Form {
    Form::new("Please confirm").field(Field::yes_no("ok", None).required())
}

/// Asks, and says what the person did.
pub fn outcome(form: &Form) -> Result<String, String> {
    Ok(match form.ask::<Value>().map_err(words)? {
        Answer::Accepted(answer) => format!("action=accept, content={answer}"),
        Answer::Declined => "action=decline".to_owned(),
        Answer::Dismissed => "action=cancel".to_owned(),
    })
}

fn sample(prompt: &str) -> Result<String, String> {
    let completion = Request::new().user(prompt).max_tokens(MAX_TOKENS).complete();
    completion.map(|completion| completion.text()).map_err(words)
}

fn words(error: impl Display) -> String {
    error.to_string()
}
