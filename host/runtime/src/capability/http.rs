//! `wasi:http` outgoing requests, as far as the policy lets them. This release grants none: the guest
//! gets `HTTP-request-denied` and the operator's log names the rule.

use std::future::Future;
use std::sync::Arc;

use aop_core::{GuestLevel, Policy};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::state::{State, Voice};

/// The way out of one instance.
pub(crate) struct Egress {
    policy: Policy,
    voice: Arc<Voice>,
}

impl Egress {
    pub(crate) const fn new(policy: Policy, voice: Arc<Voice>) -> Self {
        Self { policy, voice }
    }
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(http::Response<WasiBody>, Io), Error>;

/// What a guest may write into an outgoing body at once, which the host buffers until it is sent. It is
/// kept small because nothing is: a guest can fill bodies without end and never send one.
const BODY_WRITE_MAX_BYTES: usize = 16 << 10;

impl WasiHttpHooks for Egress {
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        1
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_WRITE_MAX_BYTES
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _io: Io,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let rule = match self.policy.outgoing_http() {
            Err(rule) => rule,
            Ok(()) => "no transport is configured",
        };
        let authority = request.uri().authority().map_or("?", http::uri::Authority::as_str);
        self.voice.say(
            "policy",
            GuestLevel::Warn,
            &format!("refused a request to {authority}: {rule}"),
        );
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.egress, table: &mut self.table, ctx: &mut self.http }
    }
}
