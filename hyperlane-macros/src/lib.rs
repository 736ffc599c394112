//! The attribute macros of hyperlane.
