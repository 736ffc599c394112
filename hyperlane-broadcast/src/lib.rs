//! Rooms over connected streams.
