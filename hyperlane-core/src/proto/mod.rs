//! Pure protocol codecs: bytes in, values out; no runtime, no clock, no sockets.
//!
//! Public and usable alone: a client, a proxy or a test harness can drive them over any transport.

pub mod http;
#[cfg(feature = "proxy-protocol")]
pub mod proxy;
pub mod sse;
pub mod ws;
