//! Servers of tests.

use std::net::SocketAddr;

use hyperlane::{Server, ServerControlHook};

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

/// Starts a server on a port that the system chooses.
pub async fn start(configure: impl FnOnce(&mut Server)) -> ServerControlHook {
    let mut server = Server::new();
    server.bind("127.0.0.1:0");
    server.get_mut_server_config().allowed_hosts = hosts();
    configure(&mut server);
    server.run().await.expect("the server starts")
}

/// Returns the address of a server.
pub fn address(control: &ServerControlHook) -> SocketAddr {
    control.local_addr().expect("a TCP address")
}
