//! `wasi:sockets`: no agent has any, and whoever tries is written down like every refusal of a policy.
//!
//! wasmtime-wasi refuses sockets and lookups of names by itself, and tells nobody. So the functions that every way to a
//! connection begins with are linked once more on top of its own: they make the socket, or look a name up. What comes
//! after needs a socket, and none was ever made. In 0.3 a socket is made by a static function of its type.

use std::future::Future;
use std::pin::Pin;

use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::ResolveAddressStream;
use wasmtime_wasi::p2::bindings::sockets::network as v0_2;
use wasmtime_wasi::p2::{Network, TcpSocket, UdpSocket};
use wasmtime_wasi::p3::bindings::sockets::{ip_name_lookup, types as v0_3};

use crate::engine::Model;
use crate::state::{State, Voice};

/// No setting grants one, so refusals are counted by the table that would.
const SETTINGS: &[&str] = &["policy"];

/// What a guest tried. Where it wanted to go is its own business, and not known yet.
#[derive(Debug, Clone, Copy)]
enum Tried {
    Tcp,
    Udp,
    Lookup,
}

impl Tried {
    /// Writes down that it was refused.
    fn refuse(self, voice: &Voice) {
        let rule = match self {
            Self::Tcp => "agents have no raw connections, and this one wanted a TCP socket",
            Self::Udp => "agents have no raw connections, and this one wanted a UDP socket",
            Self::Lookup => "agents have no raw connections, and this one wanted to look up a name",
        };
        voice.refuse(rule, SETTINGS);
    }
}

type Store<'a> = StoreContextMut<'a, State>;

/// Links it on top of wasmtime-wasi's.
pub(crate) fn add_to_linker(linker: &mut Linker<State>, model: Model) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    link_v0_2(linker)?;
    if model == Model::Concurrent {
        link_v0_3(linker)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

fn link_v0_2(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    type Answer<T> = wasmtime::Result<(Result<Resource<T>, v0_2::ErrorCode>,)>;
    let denied = v0_2::ErrorCode::AccessDenied;
    linker.instance("wasi:sockets/tcp-create-socket@0.2.12")?.func_wrap(
        "create-tcp-socket",
        move |store: Store<'_>, (_,): (v0_2::IpAddressFamily,)| -> Answer<TcpSocket> {
            Tried::Tcp.refuse(&store.data().guest.voice);
            Ok((Err(denied),))
        },
    )?;
    linker.instance("wasi:sockets/udp-create-socket@0.2.12")?.func_wrap(
        "create-udp-socket",
        move |store: Store<'_>, (_,): (v0_2::IpAddressFamily,)| -> Answer<UdpSocket> {
            Tried::Udp.refuse(&store.data().guest.voice);
            Ok((Err(denied),))
        },
    )?;
    linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?.func_wrap(
        "resolve-addresses",
        move |store: Store<'_>,
              (_, _): (Resource<Network>, String)|
              -> Answer<ResolveAddressStream> {
            Tried::Lookup.refuse(&store.data().guest.voice);
            Ok((Err(denied),))
        },
    )
}

fn link_v0_3(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    type Answer<T, E> = wasmtime::Result<(Result<T, E>,)>;
    type Looked = Answer<Vec<v0_3::IpAddress>, ip_name_lookup::ErrorCode>;
    type Looking<'a> = Pin<Box<dyn Future<Output = Looked> + Send + 'a>>;
    let mut types = linker.instance("wasi:sockets/types@0.3.0")?;
    types.func_wrap(
        "[static]tcp-socket.create",
        |store: Store<'_>,
         (_,): (v0_3::IpAddressFamily,)|
         -> Answer<Resource<v0_3::TcpSocket>, v0_3::ErrorCode> {
            Tried::Tcp.refuse(&store.data().guest.voice);
            Ok((Err(v0_3::ErrorCode::AccessDenied),))
        },
    )?;
    types.func_wrap(
        "[static]udp-socket.create",
        |store: Store<'_>,
         (_,): (v0_3::IpAddressFamily,)|
         -> Answer<Resource<v0_3::UdpSocket>, v0_3::ErrorCode> {
            Tried::Udp.refuse(&store.data().guest.voice);
            Ok((Err(v0_3::ErrorCode::AccessDenied),))
        },
    )?;
    linker.instance("wasi:sockets/ip-name-lookup@0.3.0")?.func_wrap_concurrent(
        "resolve-addresses",
        |store: &Accessor<State>, (_,): (String,)| -> Looking<'_> {
            Box::pin(async move {
                store.with(|mut access| Tried::Lookup.refuse(&access.get().guest.voice));
                Ok((Err(ip_name_lookup::ErrorCode::AccessDenied),))
            })
        },
    )
}
