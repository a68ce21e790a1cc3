//! `aop inspect`: what a component offers, what it needs, and what its settings allow it.

use std::collections::BTreeMap;
use std::sync::Arc;

use aop_core::interface::{Feature, Refusal};
use aop_core::{Digest, Tool};
use serde::Serialize;

use crate::allowed::Allowed;
use crate::args::InspectArgs;
use crate::exit::CommandResult;
use crate::local::Local;
use crate::output;

/// What `--json` prints.
#[derive(Serialize)]
pub(crate) struct Inspection<'a> {
    digest: Digest,
    size_bytes: u64,
    imports: &'a [String],
    tools: &'a [Arc<Tool>],
    /// What the agent offers besides tools: `resources`, `prompts`, `completion`, `skills`.
    offers: Vec<&'static str>,
    refused: &'a [Refusal],
    allowed: Allowed<'a>,
}

impl<'a> Inspection<'a> {
    pub(crate) fn of(local: &'a Local) -> Self {
        let imports = &local.prepared.interface.imports;
        Self {
            digest: local.digest,
            size_bytes: local.size_bytes,
            imports,
            tools: &local.tools.tools,
            offers: offers(&local.tools.features),
            refused: &local.tools.refused,
            allowed: Allowed::of(imports, &local.settings, &local.providers),
        }
    }
}

pub(crate) async fn run(args: &InspectArgs) -> CommandResult {
    let local = Local::prepare(&args.file, &args.local).await?;
    let inspection = Inspection::of(&local);
    if args.json {
        return output::json(&inspection);
    }
    output::line(show(&local, &inspection))?;
    warn(&local);
    Ok(())
}

/// Says what works here but may not everywhere.
pub(crate) fn warn(local: &Local) {
    for warning in &local.tools.warnings {
        output::note(format_args!("warning: {}", output::printable(warning)));
    }
}

fn show(local: &Local, inspection: &Inspection<'_>) -> String {
    let mut text = format!(
        "agent    {}\ndigest   {}\nsize     {} ({} bytes)\n",
        local.name,
        inspection.digest,
        output::rounded(inspection.size_bytes),
        inspection.size_bytes
    );
    let imports = if inspection.imports.is_empty() {
        "nothing".to_owned()
    } else {
        inspection.imports.join("\n         ")
    };
    text.push_str(&format!("imports  {}\n\n", output::printable(&imports)));
    text.push_str(&tools_table(inspection));
    text.push_str(&format!("\n\n{}", inspection.allowed.table()));
    text
}

/// The interfaces by which an agent offers more than tools.
fn offers(features: &BTreeMap<Feature, usize>) -> Vec<&'static str> {
    let offered = Feature::ALL.iter().filter(|(feature, ..)| features.contains_key(feature));
    let mut names: Vec<_> =
        offered.filter_map(|(_, interface, _)| Some(interface.rsplit_once('/')?.1)).collect();
    names.dedup();
    names
}

/// The tools, what else is offered, and the functions that cannot be tools.
pub(crate) fn tools_table(inspection: &Inspection<'_>) -> String {
    let mut text = output::table(
        ["TOOL", "SIGNATURE", "WHAT IT DOES"],
        inspection.tools.iter().map(|tool| {
            [tool.name.to_string(), tool.signature.clone(), output::summary(&tool.description)]
        }),
    );
    if !inspection.offers.is_empty() {
        text.push_str(&format!("\noffers   {}", inspection.offers.join(", ")));
    }
    for refusal in inspection.refused {
        text.push_str(&format!(
            "\nrefused  {}: {}",
            output::printable(&refusal.function),
            output::printable(&refusal.reason)
        ));
    }
    text
}
