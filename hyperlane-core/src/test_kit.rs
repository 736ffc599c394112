//! The test kit (feature `test-util`): a server in memory, without ports, and its clients.
//!
//! A [`TestServer`] runs a [`Server`](crate::Server) as it is: the same connections, limits and timers. Its clients
//! reach it through pipes in memory instead of sockets. [`TestClient`] sends requests and keeps cookies, [`TestSocket`]
//! is the client of a WebSocket, and [`TestEvents`] is the client of an event stream. [`call`] runs one handler without
//! a server of the program.
//!
//! Under tokio's paused clock, [`advance`] steps all timers of the server without sleeping.
//!
//! The kit is for tests. A failed step panics at the line of the test, unless the step has a variant that returns a
//! [`TestError`].

mod call;
mod client;
mod cookies;
mod error;
mod events;
mod push;
mod request;
mod response;
mod server;
mod socket;
mod time;
mod wire;

pub use self::{
    call::{Call, call},
    client::TestClient,
    error::TestError,
    events::TestEvents,
    request::TestRequest,
    response::TestResponse,
    server::TestServer,
    socket::TestSocket,
    time::advance,
};
