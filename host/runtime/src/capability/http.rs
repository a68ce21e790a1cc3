//! `wasi:http` outgoing requests, as far as the policy lets them: 0.2 and 0.3 through the same hook.
//!
//! What a request may reach is decided twice: here by its method and URL, and by the host's
//! [`Egress`](aop_core::egress::Egress) for every address that its name leads to. A refused guest gets
//! `internal-error` with the rule; the operator's log has it, too, and the setting. Bodies pass through piece by piece, so the
//! host holds a piece of each and no more, and few requests are on their way at one time.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use aop_core::Asked;
use aop_core::egress::{EgressBody, EgressError, EgressTimeouts, Sender};
use aop_core::quota::Payer;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::guest::{Bounded, Guest, services};
use crate::state::{State, Voice};

/// What a guest may write into an outgoing body at once, which the host buffers until it is sent. It is
/// kept small because nothing is: a guest can fill bodies without end and never send one.
const BODY_WRITE_MAX_BYTES: usize = 16 << 10;
/// Until a connection stands, unless the guest wants less.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// What it can want at least: a lookup that was begun goes on when nobody waits for it, so a loop of requests that
/// give up at once would begin them without end.
const CONNECT_MIN: Duration = Duration::from_millis(100);
/// Until the answer begins, and between its pieces, unless the guest says otherwise. The call's deadline
/// bounds everything anyhow.
const ANSWER_DEFAULT: Duration = Duration::from_secs(30);

/// What a guest learns of a secret that cannot be had: it shall neither know its name nor how the host keeps it.
const NO_HEADER: &str = "the host cannot make a header that it adds to such requests; whoever runs it finds the reason in its log";

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(http::Response<WasiBody>, Io), Error>;

impl WasiHttpHooks for Guest {
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        1
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_WRITE_MAX_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_WRITE_MAX_BYTES
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _io: Io,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let sending = self.sending(request, options);
        Box::new(async move {
            let response = sending?.await?;
            // Whoever sends it also drives its connection.
            Ok((response, Box::new(std::future::ready(Ok(()))) as Io))
        })
    }
}

impl Guest {
    /// The request on its way, if it may go.
    fn sending(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<impl Future<Output = Result<http::Response<WasiBody>, Error>> + Send + 'static, Error>
    {
        let policy = Arc::clone(&self.grants.policy);
        let permit = policy.permits_request(request.method(), request.uri());
        self.voice.saw(Asked::Request(request.method(), request.uri()), permit.is_ok());
        permit.map_err(|rule| denied(&self.voice, &rule))?;
        let place = self.place(Bounded::Requests).map_err(|_| Error::ConnectionLimitReached)?;
        let context = self.peek().cloned().ok_or(Error::HttpRequestDenied)?;
        context
            .payer
            .may_use_egress(Instant::now())
            .map_err(|refusal| Error::InternalError(Some(refusal.message)))?;
        let services =
            services(&context).map_err(|failure| Error::InternalError(Some(failure.message)))?;
        let left = context.deadline.saturating_duration_since(Instant::now());
        let timeouts = timeouts(options.unwrap_or_default(), left);
        let place = Arc::new(place);
        let (sent, payer) = (Arc::clone(&place), Arc::clone(&context.payer));
        let request = request.map(|body| -> EgressBody {
            let over = |message: String| EgressError::Protocol(message).into();
            Box::pin(Placed { body: body.map_err(Into::into), payer, over, _place: sent })
        });
        let asked = self.voice.is_witnessed().then(|| request.uri().clone());
        let payer = Arc::clone(&context.payer);
        let agent = Sender { tenant: context.owner.clone(), policy, payer };
        let sending = services.egress.send(agent, request, timeouts);
        let (voice, payer) = (Arc::clone(&self.voice), Arc::clone(&context.payer));
        Ok(async move {
            let response = sending.await.map_err(|error| {
                if let (EgressError::PrivateAddress(_), Some(uri)) = (&error, &asked) {
                    voice.saw(Asked::PrivateAddress(uri), false);
                }
                refused(&voice, error)
            })?;
            Ok(response.map(|body| {
                let over = |message| Error::InternalError(Some(message));
                Placed { body: body.map_err(broken), payer, over, _place: place }.boxed_unsync()
            }))
        })
    }
}

fn timeouts(options: RequestOptions, left: Duration) -> EgressTimeouts {
    let within = |wanted: Option<Duration>, default: Duration| wanted.unwrap_or(default).min(left);
    EgressTimeouts {
        connect: within(options.connect_timeout, CONNECT_MAX).clamp(CONNECT_MIN, CONNECT_MAX),
        first_byte: within(options.first_byte_timeout, ANSWER_DEFAULT),
        between_bytes: within(options.between_bytes_timeout, ANSWER_DEFAULT),
    }
}

fn denied(voice: &Voice, rule: &str) -> Error {
    voice.refuse(rule, &["policy.http"]);
    with_the_rule(rule)
}

/// `HTTP-request-denied` has no words, and an agent that does not know why asks again: the code that has some.
fn with_the_rule(rule: &str) -> Error {
    Error::InternalError(Some(format!("denied: {rule}")))
}

/// The nearest of `wasi:http`'s own codes.
fn refused(voice: &Voice, error: EgressError) -> Error {
    match error {
        EgressError::Denied(rule) => denied(voice, &rule),
        EgressError::PrivateAddress(rule) => {
            voice.refuse(&rule, &["policy.private_networks", "policy.http"]);
            with_the_rule(&rule)
        }
        EgressError::Header(why) => {
            voice.refuse(&why, &["policy.http"]);
            with_the_rule(NO_HEADER)
        }
        EgressError::Resolve(why) => Error::DnsError { rcode: Some(why), info_code: None },
        EgressError::Connect(_) => Error::ConnectionRefused,
        EgressError::Timeout(_) => Error::HttpResponseTimeout,
        EgressError::Protocol(_) => Error::HttpProtocolError,
    }
}

/// A body of an exchange, which keeps its place until both bodies are read or dropped, and is paid for piece by piece.
struct Placed<B: Body> {
    body: B,
    payer: Arc<Payer>,
    /// How its reader is told that nothing is left to pay with.
    over: fn(String) -> B::Error,
    _place: Arc<OwnedSemaphorePermit>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Placed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let now = Instant::now();
            if let Err(refusal) = self.payer.may_use_egress(now) {
                return Poll::Ready(Some(Err((self.over)(refusal.message))));
            }
            self.payer.used_egress(data.len() as u64, now);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer that ended in its middle.
fn broken(error: Box<dyn StdError + Send + Sync>) -> Error {
    match error.downcast_ref::<EgressError>() {
        Some(EgressError::Timeout(_)) => Error::ConnectionReadTimeout,
        _ => Error::HttpResponseIncomplete,
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.guest, table: &mut self.table, ctx: &mut self.http }
    }
}

#[cfg(test)]
mod tests;
