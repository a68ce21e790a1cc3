//! What a completion took, where nobody says so.
//!
//! It is an estimate for budgets and not for bills: models differ in how they count, and an agent should find its
//! budget used up a little early rather than never.

use aop_core::model::{CompletionRequest, Message, Part, ToolOffer};

/// Bytes of text that make a token: what English takes on average; most other text takes fewer.
const BYTES_PER_TOKEN: usize = 4;
/// Tokens of an image: what providers count at most for one that they do not scale down.
const TOKENS_PER_IMAGE: u64 = 1600;

/// Tokens that a model reads with a request.
pub(super) fn of_request(request: &CompletionRequest) -> u64 {
    let messages = request.messages.iter().flat_map(|Message { parts, .. }| parts);
    let tool = |ToolOffer { name, description, input_schema }: &ToolOffer| {
        let schema = serde_json::to_string(input_schema).map_or(0, |text| text.len());
        name.len() + description.len() + schema
    };
    of(messages, request.tools.iter().map(tool).sum())
}

/// Tokens that a model wrote.
pub(super) fn of_parts(parts: &[Part]) -> u64 {
    of(parts, 0)
}

fn of<'a>(parts: impl IntoIterator<Item = &'a Part>, mut bytes: usize) -> u64 {
    let mut images = 0;
    for part in parts {
        match part {
            Part::Text(text) => bytes += text.len(),
            Part::Image { .. } => images += 1,
            Part::ToolCall { id, name, arguments } => {
                bytes += id.len() + name.len() + arguments.len();
            }
            Part::ToolResult { id, text, .. } => bytes += id.len() + text.len(),
        }
    }
    bytes.div_ceil(BYTES_PER_TOKEN) as u64 + images * TOKENS_PER_IMAGE
}
