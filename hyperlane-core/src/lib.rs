//! The server under hyperlane.
