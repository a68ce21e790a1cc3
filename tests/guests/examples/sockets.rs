//! Wants connections, through WASI 0.2 and 0.3.

use std::net::{TcpStream, ToSocketAddrs as _, UdpSocket};

wit_bindgen::generate!({
    path: ["wit/sockets.wit"],
    world: "fixture:sockets/fixture",
    generate_all,
});

use exports::fixture::sockets::sockets::{Guest, Wanted};
use wasi::sockets::ip_name_lookup;
use wasi::sockets::types::{IpAddressFamily, TcpSocket, UdpSocket as NewerUdpSocket};

struct Sockets;

impl Guest for Sockets {
    fn standard(wanted: Wanted) -> Result<(), String> {
        let tried = match wanted {
            Wanted::Tcp => TcpStream::connect("127.0.0.1:80").map(drop),
            Wanted::Udp => UdpSocket::bind("127.0.0.1:0").map(drop),
            Wanted::Lookup => "localhost:80".to_socket_addrs().map(drop),
        };
        tried.map_err(|error| error.to_string())
    }

    async fn newer(wanted: Wanted) -> Result<(), String> {
        let family = IpAddressFamily::Ipv4;
        match wanted {
            Wanted::Tcp => TcpSocket::create(family).map(drop).map_err(name),
            Wanted::Udp => NewerUdpSocket::create(family).map(drop).map_err(name),
            Wanted::Lookup => {
                let name_of_host = "localhost".to_owned();
                ip_name_lookup::resolve_addresses(name_of_host).await.map(drop).map_err(name)
            }
        }
    }
}

fn name(code: impl std::fmt::Debug) -> String {
    format!("{code:?}")
}

export!(Sockets);
