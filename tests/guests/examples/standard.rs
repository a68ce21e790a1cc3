//! An agent with the standard interface of `aop:agent`: it gives back what it was asked.

wit_bindgen::generate!({
    path: "../../wit/agent-0.1.0",
    world: "aop:agent/agent",
});

use exports::aop::agent::task::Guest;

struct Standard;

impl Guest for Standard {
    fn run(
        task: String,
        img: Option<String>,
        imgs: Option<Vec<String>>,
        correct_answer: Option<String>,
    ) -> Result<String, String> {
        if task.is_empty() {
            return Err("the task is empty".into());
        }
        let images = img.into_iter().chain(imgs.unwrap_or_default()).count();
        let expected =
            correct_answer.map_or(String::new(), |answer| format!(", expected: {answer}"));
        Ok(format!("{task} ({images} images{expected})"))
    }
}

export!(Standard);
