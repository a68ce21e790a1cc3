//! Resources, prompts and completion.

use aop_agent::completion::{Completion, Subject, Suggestions};
use aop_agent::content::{Block, Body, Role};
use aop_agent::elicit::{Field, Form};
use aop_agent::prompts::{self, Arguments, GetError, Prompt, Prompts};
use aop_agent::resources::{Contents, Entry, ReadError, Resources, Template};
use serde_json::json;

use crate::asking::outcome;
use crate::media::PNG;

impl Resources for crate::Test {
    fn list() -> Result<Vec<Entry>, String> {
        Ok(vec![
            Entry::new("test://static-text", "static-text")
                .title("Static text")
                .description("A text that never changes.")
                .mime_type("text/plain"),
            Entry::new("test://static-binary", "static-binary")
                .description("An image that never changes.")
                .mime_type("image/png"),
            Entry::new("test://watched-resource", "watched-resource")
                .description("A text that one can subscribe to.")
                .mime_type("text/plain"),
        ])
    }

    fn templates() -> Result<Vec<Template>, String> {
        Ok(vec![
            Template::new("test://template/{id}/data", "template")
                .description("Data of an id.")
                .mime_type("application/json"),
        ])
    }

    fn read(uri: &str) -> Result<Vec<Contents>, ReadError> {
        let text = |text: &str| Contents::new(uri, Body::text(text)).mime_type("text/plain");
        let contents = match uri {
            "test://static-text" => text("This is the content of the static text resource."),
            "test://static-binary" => Contents::new(uri, Body::bytes(PNG)).mime_type("image/png"),
            "test://watched-resource" => text("Watched resource content"),
            _ => templated(uri).ok_or(ReadError::NotFound)?,
        };
        Ok(vec![contents])
    }
}

/// A member of the family `test://template/{id}/data`.
fn templated(uri: &str) -> Option<Contents> {
    let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
    if id.is_empty() || id.contains('/') {
        return None;
    }
    let data = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
    Some(Contents::new(uri, Body::text(data.to_string())).mime_type("application/json"))
}

impl Prompts for crate::Test {
    fn list() -> Result<Vec<prompts::Entry>, String> {
        Ok(vec![
            prompts::Entry::new("simple_prompt").description("A prompt without parameters."),
            prompts::Entry::new("prompt_with_arguments")
                .description("A prompt that repeats what was filled in.")
                .required("arg1", "First test argument")
                .required("arg2", "Second test argument"),
            prompts::Entry::new("prompt_with_embedded_resource")
                .description("A prompt with a resource.")
                .required("resourceUri", "URI of the resource to embed"),
            prompts::Entry::new("prompt_with_image").description("A prompt with an image."),
            prompts::Entry::new("input_required_result_prompt")
                .description("A prompt that asks the person something first."),
        ])
    }

    fn get(name: &str, arguments: &Arguments) -> Result<Prompt, GetError> {
        let prompt = Prompt::new();
        Ok(match name {
            "simple_prompt" => prompt.user("This is a simple prompt for testing."),
            "prompt_with_arguments" => {
                let (first, second) = (arguments.require("arg1")?, arguments.require("arg2")?);
                prompt.user(format!("Prompt with arguments: arg1='{first}', arg2='{second}'"))
            }
            "prompt_with_embedded_resource" => {
                let uri = arguments.require("resourceUri")?;
                let text = "Embedded resource content for testing.";
                prompt
                    .message(Role::User, Block::document(uri, "text/plain", text))
                    .user("Please process the embedded resource above.")
            }
            "prompt_with_image" => prompt
                .message(Role::User, Block::image(PNG.to_vec(), "image/png"))
                .user("Please analyze the image above."),
            "input_required_result_prompt" => {
                let form = Form::new("What context should the prompt use?")
                    .field(Field::text("context").required());
                prompt.user(outcome(&form).map_err(GetError::Failed)?)
            }
            _ => return Err(GetError::NotFound),
        })
    }
}

impl Completion for crate::Test {
    fn complete(
        _subject: &Subject,
        name: &str,
        value: &str,
        _known: &Arguments,
    ) -> Result<Suggestions, String> {
        Ok(match name {
            "arg1" => Suggestions::beginning_with(value, ["paris", "park", "party", "test"]),
            "id" => Suggestions::beginning_with(value, ["1", "12", "123"]),
            _ => Suggestions::default(),
        })
    }
}
