//! The server under hyperlane.

pub mod proto;
