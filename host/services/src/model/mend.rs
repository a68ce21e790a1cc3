//! Answers in OpenAI's format whose tool calls are not what the format promises.
//!
//! A model writes the arguments of its tool calls, so they may be no JSON; and servers leave ids out, or give one to
//! two calls. `rig-core` refuses such an answer whole, where an agent would rather see what was written and tell
//! the model. So arguments that are no JSON become a JSON string of them, which [`translate`](super::translate) takes
//! out again, and calls get ids where they have none. In a stream, arguments come in pieces: they are kept back until
//! the last one, which loses nothing, since an agent sees tool calls only when the answer is complete. Answers that a
//! limit of tokens cut off are `rig-core`'s, which drops the call that was cut.
//!
//! A model may also end without a word, which `rig-core` refuses when the answer comes as a whole. It gets [`SILENCE`]
//! for a text then, taken out again in the same place.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

/// What stands for a text that is empty: a code point that is no character, which no model writes.
pub(super) const SILENCE: &str = "\u{fdd0}";

/// Mends an answer that came as a whole. What is none in this format stays as it is.
pub(super) fn whole(body: Bytes) -> Bytes {
    let Ok(mut answer) = serde_json::from_slice::<Value>(&body) else { return body };
    let mut is_changed = false;
    for choice in choices(&mut answer) {
        is_changed |= fill(choice);
        let is_cut = finish(choice) == Some("length");
        let calls = choice.pointer_mut("/message/tool_calls").and_then(Value::as_array_mut);
        let mut ids = Ids::default();
        for call in calls.into_iter().flatten() {
            is_changed |= ids.mend(call);
            if !is_cut && let Some(Value::String(text)) = call.pointer_mut("/function/arguments") {
                let mended = arguments(text);
                is_changed |= mended != *text;
                *text = mended;
            }
        }
    }
    if !is_changed {
        return body;
    }
    serde_json::to_vec(&answer).map_or(body, Bytes::from)
}

/// Mends an answer that comes as server-sent events.
#[derive(Default)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not come.
    begun: BytesMut,
    ids: Ids,
    /// Calls by their index, with their arguments so far.
    calls: BTreeMap<u64, String>,
}

impl Lines {
    /// What of the answer can be passed on after another piece of it.
    pub(super) fn push(&mut self, piece: &[u8]) -> Bytes {
        self.begun.extend_from_slice(piece);
        let Some(last) = self.begun.iter().rposition(|byte| *byte == b'\n') else {
            return Bytes::new();
        };
        let lines = self.begun.split_to(last + 1);
        let mut out = Vec::with_capacity(lines.len());
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.line(line, &mut out);
        }
        out.into()
    }

    /// What is left at the end, however it came: what was kept back is passed on, so that whoever reads it sees a call
    /// whose arguments are not whole instead of one without any.
    pub(super) fn end(&mut self) -> Bytes {
        let mut out = Vec::new();
        let last = self.begun.split();
        self.line(&last, &mut out);
        if let Some(rest) = self.rest(&json!({}), false) {
            if !out.is_empty() && !out.ends_with(b"\n") {
                out.push(b'\n');
            }
            event(&rest, &mut out);
        }
        out.into()
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let data = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii);
        let chunk = data.and_then(|data| serde_json::from_slice::<Value>(data).ok());
        match chunk {
            Some(mut chunk) => {
                let before = self.chunk(&mut chunk);
                for chunk in before.iter().chain([&chunk]) {
                    event(chunk, out);
                }
            }
            None => {
                if data == Some(b"[DONE]")
                    && let Some(rest) = self.rest(&json!({}), false)
                {
                    event(&rest, out);
                }
                out.extend_from_slice(line);
            }
        }
    }

    /// Keeps the arguments in a chunk back. With the end of the answer, the chunk that holds them all and goes before it.
    fn chunk(&mut self, chunk: &mut Value) -> Option<Value> {
        let mut end = None;
        for choice in choices(chunk) {
            let calls = choice.pointer_mut("/delta/tool_calls").and_then(Value::as_array_mut);
            for (position, call) in calls.into_iter().flatten().enumerate() {
                let index = call.get("index").and_then(Value::as_u64).unwrap_or(position as u64);
                if !self.calls.contains_key(&index) {
                    self.ids.mend(call);
                }
                let kept = self.calls.entry(index).or_default();
                if let Some(Value::String(text)) = call.pointer_mut("/function/arguments") {
                    kept.push_str(&std::mem::take(text));
                }
            }
            end = finish(choice).map(|reason| reason == "length").or(end);
        }
        let is_cut = end?;
        let rest = self.rest(chunk, is_cut)?;
        for choice in choices(chunk) {
            if let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) {
                delta.remove("tool_calls");
            }
        }
        Some(rest)
    }

    /// The arguments of all calls, in a chunk like `chunk`, whose own calls are in it as they are.
    fn rest(&mut self, chunk: &Value, is_cut: bool) -> Option<Value> {
        let kept = std::mem::take(&mut self.calls);
        if kept.is_empty() {
            return None;
        }
        let mut rest = chunk.clone();
        let own = rest.pointer_mut("/choices/0/delta/tool_calls").map(Value::take);
        let mut calls = match own {
            Some(Value::Array(calls)) => calls,
            _ => Vec::new(),
        };
        for (index, text) in kept {
            let text = if is_cut { text } else { arguments(&text) };
            match calls.iter_mut().find(|call| call["index"] == index) {
                Some(call) => {
                    if !call["function"].is_object() {
                        call["function"] = json!({});
                    }
                    call["function"]["arguments"] = text.into();
                }
                None => calls.push(json!({ "index": index, "function": { "arguments": text } })),
            }
        }
        let delta = json!({ "tool_calls": calls });
        rest["choices"] = json!([{ "index": 0, "delta": delta, "finish_reason": null }]);
        rest["usage"] = Value::Null;
        Some(rest)
    }
}

fn event(chunk: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(chunk.to_string().as_bytes());
    out.extend_from_slice(b"\n\n");
}

fn choices(answer: &mut Value) -> impl Iterator<Item = &mut Value> {
    let choices = answer.get_mut("choices").and_then(Value::as_array_mut);
    choices.into_iter().flatten().filter(|choice| choice.is_object())
}

/// Gives a choice a text where the model ended and said nothing at all. Whether it did.
fn fill(choice: &mut Value) -> bool {
    const SAYING: [&str; 6] =
        ["content", "refusal", "tool_calls", "reasoning_content", "reasoning", "reasoning_details"];
    let has_ended = finish(choice) == Some("stop");
    let message = choice.get_mut("message").and_then(Value::as_object_mut);
    let Some(message) = message.filter(|_| has_ended) else { return false };
    let is_silent = |key: &str| match message.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(parts)) => parts.is_empty(),
        Some(_) => false,
    };
    if !SAYING.into_iter().all(is_silent) {
        return false;
    }
    message.insert("content".to_owned(), SILENCE.into());
    true
}

fn finish(choice: &Value) -> Option<&str> {
    choice.get("finish_reason").and_then(Value::as_str)
}

/// Arguments as JSON, whatever was written.
fn arguments(text: &str) -> String {
    if text.trim().is_empty() || serde_json::from_str::<Value>(text).is_ok() {
        return text.to_owned();
    }
    Value::from(text).to_string()
}

/// The ids of the calls of one answer.
#[derive(Default)]
struct Ids(BTreeSet<String>);

impl Ids {
    /// Gives a call an id where it has none of its own. Whether it did.
    fn mend(&mut self, call: &mut Value) -> bool {
        let own = call.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
        if let Some(own) = own
            && self.0.insert(own.to_owned())
        {
            return false;
        }
        let mut number = self.0.len();
        let id = loop {
            let id = format!("call_{number}");
            if self.0.insert(id.clone()) {
                break id;
            }
            number += 1;
        };
        if let Some(call) = call.as_object_mut() {
            call.insert("id".to_owned(), id.into());
        }
        true
    }
}

#[cfg(test)]
mod tests;
