//! Reading an uploaded agent: `multipart/form-data` with `component` and, if wanted, `settings`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aop_core::Settings;
use axum::extract::Multipart;
use axum::extract::multipart::{Field, MultipartRejection};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use tokio::time::timeout;

use super::body::check_encoding;
use super::problems;
use crate::app::off_the_reactor;
use crate::problem::{Problem, quoted};

/// Settings are a page of text; this is a hundred pages, and refuses a component in the wrong field.
const SETTINGS_MAX_BYTES: usize = 256 << 10;
/// How long an upload may take in total: 72 MiB at 2 Mbit/s. The server itself only notices senders
/// that stop. While others wait for a turn, smaller ones have less ([`Uploads`](crate::uploads::Uploads)).
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);

/// An upload that has not been read yet.
pub(super) struct Request {
    multipart: Result<Multipart, MultipartRejection>,
    content_length: Option<u64>,
}

impl<S: Send + Sync> axum::extract::FromRequest<S> for Request {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        check_encoding(request.headers())?;
        let content_length = request.headers().get(CONTENT_LENGTH);
        let content_length = content_length.and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Self { multipart: Multipart::from_request(request, state).await, content_length })
    }
}

/// An agent to load.
pub(super) struct Upload {
    pub(super) component: Vec<u8>,
    pub(super) settings: Settings,
}

/// Reads an upload to its end, and counts what came. The size is bounded by the route's body limit, `max_bytes`.
pub(super) async fn read(
    request: Request,
    max_bytes: usize,
    received: &AtomicU64,
) -> Result<Upload, Problem> {
    let multipart = request.multipart.map_err(problems::not_multipart)?;
    if request.content_length.is_some_and(|length| length > max_bytes as u64) {
        return Err(problems::too_large(max_bytes));
    }
    let fields = timeout(UPLOAD_TIMEOUT, fields(multipart, max_bytes, received))
        .await
        .map_err(|_| problems::too_slow("upload", UPLOAD_TIMEOUT))??;
    let component = fields.component.ok_or_else(|| {
        problems::invalid("the field `component` is missing: send the .wasm file in it")
    })?;
    let settings = match fields.settings {
        // A quarter of a mebibyte takes milliseconds to read.
        Some(text) => off_the_reactor(move || parse(&text)).await??,
        None => Settings::default(),
    };
    Ok(Upload { component, settings })
}

#[derive(Default)]
struct Fields {
    component: Option<Vec<u8>>,
    settings: Option<String>,
}

async fn fields(
    mut multipart: Multipart,
    max_bytes: usize,
    received: &AtomicU64,
) -> Result<Fields, Problem> {
    let mut fields = Fields::default();
    while let Some(field) =
        multipart.next_field().await.map_err(|error| problems::unreadable(&error, max_bytes))?
    {
        let name = field.name().unwrap_or_default().to_owned();
        let is_repeated = match name.as_str() {
            "component" => {
                let component = component(field, max_bytes, received).await?;
                fields.component.replace(component).is_some()
            }
            "settings" => fields.settings.replace(settings(field, max_bytes).await?).is_some(),
            other => {
                let message = format!(
                    "unknown field `{}`: only `component` and `settings` are known",
                    quoted(other)
                );
                return Err(problems::invalid(message));
            }
        };
        if is_repeated {
            return Err(problems::invalid(format!("the field `{name}` comes twice")));
        }
    }
    Ok(fields)
}

async fn component(
    mut field: Field<'_>,
    max_bytes: usize,
    received: &AtomicU64,
) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) =
        field.chunk().await.map_err(|error| problems::unreadable(&error, max_bytes))?
    {
        received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn settings(mut field: Field<'_>, max_bytes: usize) -> Result<String, Problem> {
    let mut text = Vec::new();
    while let Some(chunk) =
        field.chunk().await.map_err(|error| problems::unreadable(&error, max_bytes))?
    {
        if text.len() + chunk.len() > SETTINGS_MAX_BYTES {
            let message =
                format!("the field `settings` has more than {SETTINGS_MAX_BYTES} bytes of TOML");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
        }
        text.extend_from_slice(&chunk);
    }
    String::from_utf8(text).map_err(|_| problems::invalid("the field `settings` is not UTF-8 text"))
}

/// Every mistake at once, a line each.
fn parse(text: &str) -> Result<Settings, Problem> {
    Settings::from_toml(text).map_err(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        problems::invalid(format!("the settings have mistakes:\n{}", lines.join("\n")))
    })
}
