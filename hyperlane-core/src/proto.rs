//! Pure protocol codecs, without runtime, clock or sockets.
//!
//! The module is public and usable alone: a client, a proxy or a test harness can run the codecs over any transport.

pub mod http;
#[cfg(feature = "proxy-protocol")]
pub mod proxy;
pub mod sse;
pub mod ws;
