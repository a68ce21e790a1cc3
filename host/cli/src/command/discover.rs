//! `aop discover`

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::DiscoverArgs;
use crate::client::Client;
use crate::exit::{CommandResult, failure};
use crate::output;

/// What `aop_discover` answers, here or in other zones.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Findings {
    tools: Vec<Hit>,
    #[serde(default)]
    zones: Vec<String>,
    #[serde(default)]
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hit {
    name: String,
    agent: String,
    description: String,
    score: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Failed {
    zone: String,
    reason: String,
}

#[derive(Deserialize)]
struct Envelope {
    success: bool,
    result: Option<Findings>,
    error: Option<String>,
}

pub(crate) async fn run(args: &DiscoverArgs) -> CommandResult {
    let client = Client::of(&args.host)?;
    let mut all = Findings::default();
    let mut zones: Vec<_> = args.zone.iter().map(Some).collect();
    if zones.is_empty() {
        zones.push(None);
    }
    for zone in zones {
        let mut question = json!({ "query": args.query, "limit": args.limit });
        if let Some(zone) = zone {
            question["zone"] = json!(zone);
        }
        let answer = client.call("aop_discover", &question.to_string()).await?;
        let envelope: Envelope = serde_json::from_str(&answer.envelope())?;
        match (envelope.success, envelope.result) {
            (true, Some(found)) => {
                all.tools.extend(found.tools);
                all.zones.extend(found.zones);
                all.failed.extend(found.failed);
            }
            (_, _) => {
                let reason = envelope.error.unwrap_or_else(|| "the host gave no reason".to_owned());
                match zone {
                    // The others may still be searched.
                    Some(zone) => all.failed.push(Failed { zone: zone.to_string(), reason }),
                    None => return Err(failure(reason)),
                }
            }
        }
    }
    let is_lost = all.tools.is_empty() && all.zones.is_empty() && !all.failed.is_empty();
    if args.json {
        output::json(&all)?;
    } else {
        let rows = all
            .tools
            .iter()
            .map(|hit| [hit.name.clone(), hit.agent.clone(), output::summary(&hit.description)]);
        output::line(output::table(["TOOL", "AGENT", "WHAT IT DOES"], rows))?;
        for failed in &all.failed {
            let reason = output::printable(&failed.reason).into_owned();
            output::note(format_args!("not searched: {}: {reason}", failed.zone));
        }
    }
    if is_lost { Err(crate::exit::CommandError::Reported) } else { Ok(()) }
}
