//! What `tools/call` answered, as an envelope for programs and as text for people.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::output;

/// The result of a call.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    structured_content: Option<Box<RawValue>>,
    #[serde(default)]
    content: Vec<Box<RawValue>>,
    #[serde(default)]
    is_error: bool,
}

/// A content block, as far as it is told in a line.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Block {
    r#type: String,
    text: Option<String>,
    data: Option<String>,
    mime_type: Option<String>,
    uri: Option<String>,
    resource: Option<Resource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Resource {
    uri: String,
    mime_type: Option<String>,
    text: Option<String>,
    blob: Option<String>,
}

#[derive(Deserialize)]
struct Success {
    #[serde(rename = "success")]
    _success: bool,
}

impl Answer {
    /// The result envelope. Without one, the result is the text, or all blocks when some are no text.
    pub(crate) fn envelope(&self) -> String {
        if let Some(structured) = &self.structured_content
            && serde_json::from_str::<Success>(structured.get()).is_ok()
        {
            return structured.get().to_owned();
        }
        let blocks = self.blocks();
        let texts: Vec<_> = blocks.iter().filter_map(|block| block.text.as_deref()).collect();
        let text = texts.join("\n");
        match &self.structured_content {
            _ if self.is_error => json!({ "success": false, "error": text }).to_string(),
            Some(structured) => format!(r#"{{"success":true,"result":{structured}}}"#),
            None if texts.len() < blocks.len() => {
                json!({ "success": true, "result": self.content }).to_string()
            }
            None => json!({ "success": true, "result": text }).to_string(),
        }
    }

    /// For people, what came when some of it is no text.
    pub(crate) fn shown(&self) -> Option<String> {
        let blocks = self.blocks();
        let is_told = self.structured_content.is_some() || self.is_error;
        if is_told || blocks.iter().all(|block| block.text.is_some()) {
            return None;
        }
        Some(blocks.iter().map(Block::line).collect::<Vec<_>>().join("\n"))
    }

    fn blocks(&self) -> Vec<Block> {
        let block = |raw: &RawValue| serde_json::from_str(raw.get()).unwrap_or_default();
        self.content.iter().map(|raw| block(raw)).collect()
    }
}

impl Block {
    fn line(&self) -> String {
        if let Some(text) = &self.text {
            return text.clone();
        }
        let size = |data: &Option<String>| data.as_deref().map(decoded_bytes);
        let (mut words, bytes) = match &self.resource {
            Some(Resource { uri, mime_type, text, blob }) => {
                let bytes = text.as_ref().map(|text| text.len() as u64).or_else(|| size(blob));
                (vec![self.r#type.as_str(), uri, mime_type.as_deref().unwrap_or_default()], bytes)
            }
            None => {
                let [uri, kind] = [&self.uri, &self.mime_type];
                let words = [Some(&self.r#type), uri.as_ref(), kind.as_ref()];
                (words.into_iter().flatten().map(String::as_str).collect(), size(&self.data))
            }
        };
        words.retain(|word| !word.is_empty());
        let bytes = bytes.map(|bytes| format!(", {}", output::rounded(bytes))).unwrap_or_default();
        format!("[{}{bytes}]", words.join(" "))
    }
}

/// The bytes behind base64.
fn decoded_bytes(base64: &str) -> u64 {
    base64.trim_end_matches('=').len() as u64 * 3 / 4
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn answer(json: &str) -> Answer {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_envelope_is_passed_on_unchanged_or_made_of_the_content() {
        let envelope = |json: &str| answer(json).envelope();
        let exact = r#"{"success":true,"result":{"n":1.0,"b":[ 2 ]}}"#;
        assert_eq!(envelope(&format!(r#"{{"structuredContent":{exact},"content":[]}}"#)), exact);
        assert_eq!(
            envelope(r#"{"structuredContent":{"n":1},"content":[]}"#),
            r#"{"success":true,"result":{"n":1}}"#
        );
        assert_eq!(
            envelope(r#"{"content":[{"type":"text","text":"no"}],"isError":true}"#),
            r#"{"error":"no","success":false}"#
        );
        assert_eq!(
            envelope(r#"{"content":[{"type":"text","text":"yes"}]}"#),
            r#"{"result":"yes","success":true}"#
        );
        let blocks = r#"[{"type":"image","data":"AAE="},{"type":"text","text":"yes"}]"#;
        let made: Value =
            serde_json::from_str(&envelope(&format!(r#"{{"content":{blocks}}}"#))).unwrap();
        assert_eq!(made["result"], serde_json::from_str::<Value>(blocks).unwrap());
    }

    #[test]
    fn blocks_that_are_no_text_are_named() {
        let data = "A".repeat(16 << 10);
        let blocks = json!({ "content": [
            { "type": "text", "text": "Look:" },
            { "type": "image", "data": data, "mimeType": "image/png" },
            { "type": "audio", "data": "AAE=", "mimeType": "audio/wav" },
            { "type": "resource_link", "uri": "notes://a", "name": "a", "mimeType": "text/plain" },
            { "type": "resource", "resource": { "uri": "notes://b", "text": "abc" } },
            { "type": "resource", "resource": { "uri": "notes://c", "mimeType": "x/y", "blob": "AAE=" } },
            7,
        ] });
        let shown = answer(&blocks.to_string()).shown().unwrap();
        let expected = "Look:\n[image image/png, 12KiB]\n[audio audio/wav, 2B]\n\
                        [resource_link notes://a text/plain]\n[resource notes://b, 3B]\n\
                        [resource notes://c x/y, 2B]\n[]";
        assert_eq!(shown, expected);
        assert_eq!(answer(r#"{"content":[{"type":"text","text":"yes"}]}"#).shown(), None);
        let failed = r#"{"content":[{"type":"image"}],"isError":true}"#;
        assert_eq!(answer(failed).shown(), None);
    }
}
