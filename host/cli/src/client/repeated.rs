//! Headers that repeat arguments (`x-mcp-header`, 2026-07-28).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

/// The headers that a call of a tool needs, from what `aop_describe` answered and the arguments as JSON text.
pub(super) fn headers(described: &str, arguments: &str) -> Vec<(String, String)> {
    let described: Value = serde_json::from_str(described).unwrap_or_default();
    let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
    let schema = &described["structuredContent"]["result"]["inputSchema"];
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .filter_map(|(name, property)| {
            let header = property["x-mcp-header"].as_str()?;
            let value = match arguments.get(name)? {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            };
            Some((format!("mcp-param-{header}"), encoded(&value)))
        })
        .collect()
}

/// A value as HTTP can carry it.
fn encoded(value: &str) -> String {
    let is_plain = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && value.trim_matches(' ').len() == value.len()
        && !value.starts_with("=?base64?");
    if is_plain { value.to_owned() } else { format!("=?base64?{}?=", BASE64.encode(value)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_schema_marks_is_repeated() {
        let described = json!({ "structuredContent": { "result": { "inputSchema": { "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "count": { "type": "integer", "x-mcp-header": "Count" },
            "flag": { "type": "boolean", "x-mcp-header": "Flag" },
            "absent": { "type": "string", "x-mcp-header": "Absent" },
            "query": { "type": "string" },
        } } } } });
        let found =
            headers(&described.to_string(), r#"{"region":"é","count":7,"flag":true,"query":"q"}"#);
        let expected = [
            ("mcp-param-Count", "7"),
            ("mcp-param-Flag", "true"),
            ("mcp-param-Region", "=?base64?w6k=?="),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(headers("nonsense", "{}").is_empty());
    }

    #[test]
    fn what_http_would_change_is_encoded() {
        for value in ["eu", "a b", ""] {
            assert_eq!(encoded(value), value);
        }
        for value in [" a", "a ", "a\nb", "é", "=?base64?ZXU=?="] {
            assert!(encoded(value).starts_with("=?base64?"), "{value}");
        }
    }
}
