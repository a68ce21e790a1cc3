//! What an agent is told when there is no completion.
//!
//! Texts of providers are shortened, and a key that one repeats is cut out of them: an agent shows its errors to
//! anybody.

use std::time::{Duration, SystemTime};

use aop_core::model::ModelError;
use http::header::{HeaderMap, RETRY_AFTER};
use rig_core::http_client::Error as HttpError;
use rig_core::{ProviderError, ProviderResponseError};

use super::key::Key;
use super::transport::TransportError;

/// The longest text of a provider that is passed on.
const TEXT_CHARS_MAX: usize = 500;

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) error: ModelError,
    /// Whether the same attempt may succeed later.
    pub(super) may_pass: bool,
    /// How long the provider wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// Whether the provider refused before it did any work.
    pub(super) is_free: bool,
}

impl Trouble {
    /// Why an attempt at a provider failed in which a key was sent.
    pub(super) fn of(error: &ProviderError, name: &str, key: &Key, now: SystemTime) -> Self {
        match error {
            ProviderError::Http(error) => Self::of_transport(error, name),
            ProviderError::Request(reason) => {
                Self::free(ModelError::Invalid(shorten(&reason.to_string(), key)))
            }
            _ => match error.provider_response() {
                Some(response) => Self::of_response(response, name, key, now),
                None => Self::late(format!(
                    "the model provider `{name}` sent an answer that cannot be read"
                )),
            },
        }
    }

    pub(super) fn shutting_down() -> Self {
        Self::free(ModelError::Unavailable("the host is shutting down".to_owned()))
    }

    fn free(error: ModelError) -> Self {
        Self { error, may_pass: false, retry_after: None, is_free: true }
    }

    fn late(message: String) -> Self {
        let error = ModelError::Unavailable(message);
        Self { error, may_pass: false, retry_after: None, is_free: false }
    }

    fn of_transport(error: &HttpError, name: &str) -> Self {
        let known = match error {
            HttpError::Instance(error) => error.downcast_ref::<TransportError>(),
            _ => None,
        };
        match known {
            Some(error @ TransportError::Connect(_)) => {
                let message = format!("the model provider `{name}` cannot be reached: {error}");
                Self { may_pass: true, ..Self::free(ModelError::Unavailable(message)) }
            }
            Some(error @ TransportError::Form) => {
                Self::free(ModelError::Invalid(format!("the model provider `{name}`: {error}")))
            }
            Some(error) => Self::late(format!("the model provider `{name}`: {error}")),
            None => Self::late(format!(
                "the model provider `{name}` sent an answer that cannot be read"
            )),
        }
    }

    fn of_response(
        response: &ProviderResponseError,
        name: &str,
        key: &Key,
        now: SystemTime,
    ) -> Self {
        let unavailable = |message: &str| {
            Self::free(ModelError::Unavailable(format!("the model provider `{name}` {message}")))
        };
        let Some(status) = response.status.map(|status| status.as_u16()) else {
            return Self::late(format!(
                "the model provider `{name}` failed: {}",
                text_of(response, key)
            ));
        };
        let retry_after = response.headers.as_ref().and_then(|headers| retry_after(headers, now));
        let passing = |error| Self { retry_after, may_pass: true, ..Self::free(error) };
        match status {
            401 | 403 => unavailable(&format!(
                "refuses {}: its operator has to set another one",
                key.whose()
            )),
            429 if response.machine_code().as_deref() == Some("insufficient_quota") => {
                unavailable(&format!("has no quota left for {}", key.whose()))
            }
            // 529 is Anthropic's for "overloaded".
            429 | 503 | 529 => passing(ModelError::Busy(retry_after)),
            408 | 425 | 500..=599 => passing(ModelError::Unavailable(format!(
                "the model provider `{name}` failed with status {status}"
            ))),
            400..=499 => Self::free(ModelError::Invalid(text_of(response, key))),
            200..=299 => Self::late(format!(
                "the model provider `{name}` failed: {}",
                text_of(response, key)
            )),
            _ => unavailable(&format!("answered with status {status}")),
        }
    }
}

/// What the provider says, as far as it is meant to be read.
fn text_of(response: &ProviderResponseError, key: &Key) -> String {
    let document = serde_json::from_str::<serde_json::Value>(&response.body).unwrap_or_default();
    let message = ["/error/message", "/message", "/error"]
        .iter()
        .find_map(|pointer| document.pointer(pointer)?.as_str())
        .unwrap_or(&response.body);
    match shorten(message, key) {
        text if text.is_empty() => match response.status {
            Some(status) => format!("the provider answered with status {status}"),
            None => "the provider gave no reason".to_owned(),
        },
        text => text,
    }
}

fn shorten(text: &str, key: &Key) -> String {
    let text = key.hide_in(text);
    let words =
        text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
    let text = words.collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The header as seconds or as a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}
