//! What a running host says of its zone, and of names.

use serde_json::Value;

use crate::args::{ResolveArgs, ZoneStatusArgs};
use crate::client::Client;
use crate::exit::{CommandError, CommandResult};
use crate::output;

pub(super) async fn status(args: &ZoneStatusArgs) -> CommandResult {
    let status = Client::of(&args.host)?.zone().await?;
    if args.json {
        return output::json(&status);
    }
    let list = |value: &Value| {
        let texts = value.as_array().into_iter().flatten().map(text);
        texts.collect::<Vec<_>>().join(" ")
    };
    output::line(format_args!("zone       {}", text(&status["zone"])))?;
    output::line(format_args!("serial     {}", text(&status["serial"])))?;
    output::line(format_args!("keys       {}", list(&status["keys"])))?;
    let urls = entries(&status["endpoints"]).map(|endpoint| text(&endpoint["url"]));
    output::line(format_args!("endpoints  {}\n", urls.collect::<Vec<_>>().join(" ")))?;
    if !status["uplink"].is_null() {
        let parent = text(&status["uplink"]["parent"]);
        let stands = match status["uplink"]["connected"].as_bool() {
            Some(true) => "connected".to_owned(),
            _ => format!("not connected: {}", text(&status["uplink"]["reason"])),
        };
        output::line(format_args!("through    {parent}, {}\n", output::printable(&stands)))?;
    }
    let tokens = |peer: &Value| match (&peer["shows_token"], &peer["accepts_token"]) {
        (Value::Bool(true), Value::Bool(true)) => "both ways",
        (Value::Bool(true), _) => "calls it",
        (_, Value::Bool(true)) => "it calls",
        _ => "-",
    };
    let peers = entries(&status["peers"]).map(|peer| {
        let urls = entries(&peer["endpoints"]).map(|endpoint| text(&endpoint["url"]));
        let urls = match peer["connections"].as_u64() {
            None => urls.collect::<Vec<_>>().join(" "),
            Some(0) => "not connected".to_owned(),
            Some(count) => format!("its own connections: {count}"),
        };
        [text(&peer["zone"]), text(&peer["relation"]), urls, tokens(peer).to_owned()]
    });
    output::line(output::table(["PEER", "RELATION", "AT", "TOKENS"], peers))?;
    let exports = entries(&status["exports"]).map(|export| {
        [text(&export["name"]), text(&export["agent"]), list(&export["to"]), list(&export["tools"])]
    });
    output::line(format_args!("\n{}", output::table(["EXPORT", "AGENT", "TO", "TOOLS"], exports)))?;
    for refused in entries(&status["refused_exports"]) {
        let (agent, reason) = (text(&refused["agent"]), text(&refused["reason"]));
        output::note(format_args!("not exported: {agent}: {}", output::printable(&reason)));
    }
    let levels = entries(&status["cache"]).map(|level| {
        let count = |name: &str| level[name].as_u64().unwrap_or_default();
        let (hits, misses) = (count("hits"), count("misses"));
        #[expect(clippy::cast_precision_loss, reason = "a share is shown to a percent")]
        let rate = match hits + misses {
            0 => "-".to_owned(),
            all => format!("{:.0} %", hits as f64 * 100.0 / all as f64),
        };
        [text(&level["level"]), hits.to_string(), misses.to_string(), rate, text(&level["stale"])]
    });
    let header = ["CACHE", "HITS", "MISSES", "HIT RATE", "STALE"];
    output::line(format_args!("\n{}", output::table(header, levels)))?;
    Ok(())
}

pub(super) async fn resolve(args: &ResolveArgs) -> CommandResult {
    let mut outcome = Client::of(&args.host)?.resolve_name(&args.name).await?;
    let found =
        outcome["found"].as_str() == Some("agent") || outcome["found"].as_str() == Some("zone");
    if args.json {
        if !args.trace
            && let Some(outcome) = outcome.as_object_mut()
        {
            outcome.remove("steps");
        }
        output::json(&outcome)?;
        return if found { Ok(()) } else { Err(CommandError::Reported) };
    }
    if args.trace {
        for step in entries(&outcome["steps"]) {
            output::line(output::printable(&sentence(step)))?;
        }
        output::line("")?;
    }
    conclude(&outcome)?;
    if found { Ok(()) } else { Err(CommandError::Reported) }
}

fn conclude(outcome: &Value) -> CommandResult {
    let stale = if outcome["stale"] == true { "  STALE: its zone does not answer" } else { "" };
    match outcome["found"].as_str() {
        Some("agent") => {
            let agent = &outcome["agent"];
            let urls = entries(&agent["endpoints"]).map(|endpoint| text(&endpoint["url"]));
            let rows = [
                ("name", text(&agent["name"])),
                ("zone", text(&outcome["zone"])),
                ("version", text(&agent["version"])),
                ("at", urls.collect::<Vec<_>>().join(" ")),
                ("tools", text(&agent["descriptor_sha256"])),
                ("reach", text(&outcome["reach"])),
                ("fresh for", format!("{} s{stale}", text(&outcome["ttl_s"]))),
                ("believed for", format!("{} s", text(&outcome["expires_in_s"]))),
                ("took", format!("{} ms", text(&outcome["ms"]))),
            ];
            for (name, value) in rows {
                output::line(format_args!("{name:<13} {}", output::printable(&value)))?;
            }
        }
        Some("zone") => {
            let urls =
                entries(&outcome["apex"]["endpoints"]).map(|endpoint| text(&endpoint["url"]));
            let urls = urls.collect::<Vec<_>>().join(" ");
            output::line(format_args!("{} is a zone, at {urls}{stale}", text(&outcome["zone"])))?;
        }
        Some("absent") => {
            let zone = text(&outcome["zone"]);
            let name = text(&outcome["name"]);
            output::error(format_args!("{zone} says: there is no {name}, or none for this zone"));
        }
        _ => output::error(text(&outcome["error"])),
    }
    Ok(())
}

/// A step of a trace, for people.
fn sentence(step: &Value) -> String {
    let t = |name: &str| text(&step[name]);
    let short = |name: &str| t(name).chars().take(12).collect::<String>();
    match step["step"].as_str().unwrap_or_default() {
        "cache" if step["stale"] == true => {
            format!(
                "{:<9} {} has an old answer, believed for {} s more: STALE",
                "cache",
                t("level"),
                t("ttl_s")
            )
        }
        "cache" if step["hit"] == true => {
            format!("{:<9} {} hit, fresh for {} s", "cache", t("level"), t("ttl_s"))
        }
        "cache" => format!("{:<9} {} miss", "cache", t("level")),
        "own" => format!("{:<9} this zone, {}, answers itself: {}", "own", t("zone"), t("found")),
        "owner" => {
            let silent = "does not answer in time: asking the zones from here";
            let answers = if step["answered"] == true { "answers" } else { silent };
            format!("{:<9} the node of this zone that has the name {answers}", "owner")
        }
        "start" => format!("{:<9} {} ({})", "start", t("zone"), t("because")),
        "ask" => {
            let token = if step["token"] == true { ", with its token" } else { "" };
            format!("{:<9} {} at {}: {} ms{token}", "ask", t("zone"), t("url"), t("ms"))
        }
        "failed" => format!("{:<9} {}: {}", "failed", t("zone"), t("reason")),
        "apex" => format!(
            "{:<9} {} serial {}, {} key(s), ttl {} s: signature ok, {}…",
            "apex",
            t("zone"),
            t("serial"),
            t("keys"),
            t("ttl_s"),
            short("signed_by")
        ),
        "referral" => format!(
            "{:<9} {} → {}, ttl {} s: signature ok, {}… vouches for {}…",
            "referral",
            t("from"),
            t("to"),
            t("ttl_s"),
            short("signed_by"),
            short("key")
        ),
        "answer" => {
            let cached = if step["cached_there"] == true { ", from a cache" } else { "" };
            format!(
                "{:<9} {} version {}, ttl {} s, for {}: signature ok, {}…{cached}",
                "answer",
                t("name"),
                t("version"),
                t("ttl_s"),
                t("reach"),
                short("signed_by")
            )
        }
        "zone" => format!("{:<9} {} is a zone, ttl {} s", "answer", t("zone"), t("ttl_s")),
        "absent" => format!(
            "{:<9} {} has no such name, ttl {} s: signature ok",
            "absent",
            t("zone"),
            t("ttl_s")
        ),
        "refused" => format!("{:<9} {} is not believed: {}", "REFUSED", t("zone"), t("error")),
        _ => step.to_string(),
    }
}

fn entries(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A scalar without quotes.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_owner_of_a_name_did_is_a_sentence() {
        for (answered, word) in [(true, "answers"), (false, "in time")] {
            let said = sentence(&json!({ "step": "owner", "answered": answered }));
            assert!(said.starts_with("owner ") && said.contains(word), "{said}");
        }
    }
}
