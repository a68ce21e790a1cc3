//! `aop call`

use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::CallArgs;
use crate::client::Client;
use crate::exit::{CommandError, CommandResult, misuse};
use crate::{arguments, output};

pub(crate) async fn run(args: &CallArgs) -> CommandResult {
    let client = Client::of(&args.host)?;
    let arguments = match args.arguments.as_slice() {
        [] => "{}".to_owned(),
        words if arguments::are_pairs(words) => {
            let schema = input_schema(&client, &args.tool).await?;
            arguments::from_pairs(words, &schema)?
        }
        [one] => arguments::read_json(one)?,
        _ => return Err(misuse("give either one JSON object or `key=value` pairs")),
    };
    let answer = client.call(&args.tool, &arguments).await?;
    match answer.shown() {
        Some(shown) if !args.json => Ok(output::line(output::for_people(shown))?),
        _ => output::envelope(&answer.envelope(), args.json),
    }
}

/// What a tool takes, for telling text from numbers. A server without the built-in tools leaves the
/// values to guess by their form.
async fn input_schema(client: &Client, tool: &str) -> Result<Value, CommandError> {
    #[derive(Deserialize)]
    struct Description {
        result: Option<Definition>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Definition {
        input_schema: Value,
    }
    let question = json!({ "tool": tool }).to_string();
    let described = match client.call("aop_describe", &question).await {
        Ok(answer) => serde_json::from_str::<Description>(&answer.envelope()).ok(),
        Err(CommandError::Usage(_)) => None,
        Err(error) => return Err(error),
    };
    Ok(described
        .and_then(|described| described.result)
        .map_or(Value::Null, |tool| tool.input_schema))
}
