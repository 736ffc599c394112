//! End-to-end tests over real sockets, one module per topic.
//!
//! They register hooks by the methods of `Server`. Tests of hooks that attribute macros register are binaries of their
//! own beside this folder: the macros register per program, and a server takes all hooks of its program. A test that
//! measures or changes its process is a binary of its own too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod access_log;
mod base_path;
mod channels;
mod client_address;
mod close;
mod concurrency;
mod cookies;
mod cross_site;
mod deflate;
mod errors;
mod frames;
mod further_requests;
mod handlers;
mod handshake;
mod heartbeat;
mod hints;
mod hooks;
mod hosts;
mod http;
mod http2;
mod http2_floods;
mod keep_alive;
mod limits;
mod origins;
mod reconnect;
mod request_limits;
mod rfc9112;
mod rfc9113;
mod roll_back;
mod rooms;
mod runtimes;
mod server;
mod sessions;
mod sinks;
mod slow_members;
mod sse;
mod tls;
mod tower;
mod trailers;
mod websocket;

#[test]
fn no_hook_of_this_program_is_registered_by_a_macro() {
    let mut server = hyperlane::Server::new();
    let routes = server.__register_all().routes().expect("valid routes");
    assert_eq!(routes, []);
}
