//! What the fuzz targets `mcp`, `content` and `skill` of `tests/fuzz` run: requests of any shape down both paths, and what agents
//! answer. A panic says that it found
//! something. In no build of the host: only in that of a fuzzer, and in the tests, which repeat every input that was kept.
#![allow(clippy::unwrap_used, reason = "a panic is how a target says that it found something")]

use std::cell::LazyCell;
use std::time::Duration;

use http::Method;
use tokio::runtime::Runtime;

use crate::McpServer;
use crate::message::{outline, plain, scan};
use crate::tests::compared::{Sent, essence, servers};
use crate::tests::requests::Client;
use crate::tests::{Answer, World, send};

/// The headers that mean something here. Others reach no path.
const HEADERS: [&str; 9] = [
    "accept",
    "content-length",
    "content-type",
    "mcp-method",
    "mcp-name",
    "mcp-param-region",
    "mcp-protocol-version",
    "mcp-session-id",
    "traceparent",
];

/// The session that a request names to be sent within one.
const SESSION: &str = "open";

/// Beyond this an answer is a stream that stays open. The clock stands still while anything runs.
const ANSWER_MAX: Duration = Duration::from_secs(1);

struct Both {
    servers: [McpServer; 2],
    runtime: Runtime,
}

impl Both {
    fn new() -> Self {
        let world = World::new();
        world.publish(&[
            "busy", "echo", "fail", "invalid", "liar", "number", "picture", "routed", "steps",
        ]);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        Self { servers: servers(&world), runtime }
    }

    fn answers(&self, sent: &Sent, in_session: bool) -> Option<[Option<Answer>; 2]> {
        self.runtime.block_on(async {
            // Headers that cannot be sent are no request, and nothing may stay open for one.
            sent.request(None)?;
            let mut answers = [None, None];
            for (server, answer) in self.servers.iter().zip(&mut answers) {
                let client = if in_session { Some(Client::open(server).await) } else { None };
                let request = sent.request(client.as_ref().map(|client| &client.session))?;
                *answer = tokio::time::timeout(ANSWER_MAX, send(server, request)).await.ok();
                // One that the request opened stays open, too, and sooner or later there is no place for another.
                let opened =
                    answer.as_ref().and_then(|answer| answer.headers.get("mcp-session-id"));
                let opened = opened.map(|session| Client { server, session: session.clone() });
                for client in client.into_iter().chain(opened) {
                    send(server, client.bare(Method::DELETE)).await;
                }
            }
            Some(answers)
        })
    }
}

thread_local! {
    static BOTH: LazyCell<Both> = const { LazyCell::new(Both::new) };
}

/// A request: headers, a line each, an empty line, and the body. Both paths answer alike, and nothing is a fault of the
/// host.
pub fn mcp(text: &str) {
    let (head, body) = text.split_once("\n\n").unwrap_or(("", text));
    let mut headers = Vec::new();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        let known = HEADERS.iter().find(|known| **known == name);
        headers.extend(known.map(|name| (*name, value.to_owned())));
    }
    let is_own = |(name, value): &(&str, String)| *name == "mcp-session-id" && value == SESSION;
    let in_session = headers.iter().any(is_own);
    headers.retain(|header| !is_own(header));
    parsed(body);
    let sent = Sent { headers, body: body.to_owned() };
    BOTH.with(|both| {
        let Some([quick, slow]) = both.answers(&sent, in_session) else { return };
        let essence = |answer: &Answer| essence(answer, !in_session);
        assert_eq!(quick.as_ref().map(essence), slow.as_ref().map(essence), "{sent:?}");
        assert!(quick.is_none_or(|answer| answer.status.as_u16() != 500), "{sent:?}");
    });
}

/// What an agent answers as content: refused, or content of MCP that a client reads as the same.
pub fn content(json: &str) {
    let Ok(blocks) = crate::content::blocks(json) else { return };
    let text = serde_json::to_string(&blocks).unwrap();
    let read: Vec<rmcp::model::ContentBlock> = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
}

/// A skill that an agent hands out, or its `SKILL.md`.
pub fn skill(text: &str) {
    crate::features::skills::fuzz::skill(text);
}

/// What is read of a message without `rmcp` is what `serde_json` reads of it.
fn parsed(body: &str) {
    let Ok(scanned) = scan(body.as_bytes(), 64) else { return };
    let whole = serde_json::from_str::<serde_json::Value>(body);
    if let Ok(whole) = &whole {
        let outline = outline(body);
        assert_eq!(outline.is_ok(), whole.is_object(), "{body}");
        let method = outline.ok().and_then(|outline| outline.method);
        assert!(method.is_none_or(|method| *method == whole["method"]), "{body}");
    }
    if let (Some(request), Ok(whole)) = (plain(scanned), whole) {
        assert_eq!(whole["method"], request.method.name());
        assert!(whole["id"].is_string() || whole["id"].is_i64(), "{body}");
    }
}

#[cfg(test)]
mod tests;
