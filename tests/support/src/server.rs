//! Servers of tests.

use std::{net::SocketAddr, sync::LazyLock};

use hyperlane::{Server, ServerControlHook, TlsConfig};

use crate::{Authority, bridge::Over};

/// Hosts that tests name in requests: a server on a loopback address answers to no other host by itself.
pub const HOSTS: [&str; 9] = [
    "a",
    "b",
    "h",
    "x",
    "home",
    "*.example",
    "*.com",
    "192.0.2.1",
    "[2001:db8::1]",
];

/// Returns [`HOSTS`] in the form that a configuration takes.
pub fn hosts() -> Vec<String> {
    HOSTS.map(str::to_owned).to_vec()
}

/// Binding over the protocol of this run ([`Over`]).
pub trait BindLocal {
    /// Binds a port that the system chooses, with TLS if the clients of this run use it.
    fn bind_local(&mut self) -> &mut Self;
}

impl BindLocal for Server {
    fn bind_local(&mut self) -> &mut Self {
        static TLS: LazyLock<TlsConfig> = LazyLock::new(|| authority().issue(&["127.0.0.1"]).tls());
        match Over::of_this_run().is_tls() {
            true => self.bind_tls("127.0.0.1:0", TLS.clone()),
            false => self.bind("127.0.0.1:0"),
        }
    }
}

/// The authority of the servers of this program.
pub(crate) fn authority() -> &'static Authority {
    static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);
    &AUTHORITY
}

/// Starts a server on a port that the system chooses.
pub async fn start(configure: impl FnOnce(&mut Server)) -> ServerControlHook {
    let mut server = Server::new();
    server.bind_local();
    server.get_mut_server_config().allowed_hosts = hosts();
    configure(&mut server);
    server.run().await.expect("the server starts")
}

/// Returns the address of a server.
pub fn address(control: &ServerControlHook) -> SocketAddr {
    control.local_addr().expect("a TCP address")
}
