//! Work that takes long: every tool of the suite's scenarios about tasks.

use std::thread::sleep;
use std::time::Duration;

use aop_agent::client::{self, Question, Reply};
use aop_agent::elicit::{Answer, Field, Form};
use serde_json::Value;

aop_agent::agent! { agent: Jobs, wit: "wit/jobs.wit" }

struct Jobs;

impl Guest for Jobs {
    fn greet(name: String) -> String {
        format!("Hello, {name}!")
    }

    fn slow_compute(seconds: u32, label: Option<String>) -> String {
        sleep(Duration::from_secs(seconds.into()));
        format!("computed for {seconds} s: {}", label.unwrap_or_default())
    }

    fn failing_job() -> Result<String, String> {
        sleep(Duration::from_secs(1));
        Err("this job always fails".to_owned())
    }

    fn protocol_error_job() -> String {
        panic!("this job always breaks")
    }

    fn confirm_delete(filename: String) -> Result<String, String> {
        let sure = confirm(&format!("Delete {filename}?"))?;
        Ok(format!("{filename} {}", if sure { "would go" } else { "stays" }))
    }

    fn multi_input() -> Result<String, String> {
        let name = Form::new("What is your name?").field(Field::text("name"));
        let questions = [Question::from(&name), Question::from(&confirmation("Are you sure?"))];
        let [name, sure] = client::ask_many(questions).map(|reply| {
            reply.and_then(Reply::filled_in::<Value>).map_err(|error| error.to_string())
        });
        let name = match name? {
            Answer::Accepted(answer) => answer["name"].to_string(),
            Answer::Declined | Answer::Dismissed => "nobody".to_owned(),
        };
        Ok(format!("{name} is {}", if is_yes(&sure?) { "sure" } else { "not sure" }))
    }
}

fn confirm(question: &str) -> Result<bool, String> {
    let answer = confirmation(question).ask().map_err(|error| error.to_string())?;
    Ok(is_yes(&answer))
}

fn confirmation(question: &str) -> Form {
    Form::new(question).field(Field::yes_no("confirm", None))
}

fn is_yes(answer: &Answer<Value>) -> bool {
    matches!(answer, Answer::Accepted(answer) if answer["confirm"] == true)
}
