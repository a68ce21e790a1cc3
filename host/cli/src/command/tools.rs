//! `aop tools`

use serde::Serialize;

use crate::args::ToolsArgs;
use crate::client::{Client, ToolEntry};
use crate::exit::CommandResult;
use crate::output;

#[derive(Serialize)]
struct Tools {
    tools: Vec<ToolEntry>,
}

pub(crate) async fn run(args: &ToolsArgs) -> CommandResult {
    let tools = Client::of(&args.host)?.tools().await?;
    if args.json {
        return output::json(&Tools { tools });
    }
    output::line(output::table(
        ["TOOL", "WHAT IT DOES"],
        tools.iter().map(|tool| {
            let text = tool
                .title
                .as_deref()
                .filter(|_| tool.description.is_empty())
                .unwrap_or(&tool.description);
            [tool.name.clone(), output::summary(text)]
        }),
    ))?;
    Ok(())
}
