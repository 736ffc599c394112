//! Server-sent events (WHATWG HTML §9.2): [`Event`] writes the stream, [`EventReader`] reads it.
//!
//! ```
//! use hyperlane_core::{Event, proto::sse::{EventReader, HEARTBEAT}};
//!
//! let mut wire = Vec::new();
//! Event::new().id("7").event("joke").data("knock\nknock").encode(&mut wire)?;
//! wire.extend_from_slice(HEARTBEAT);
//! assert_eq!(wire, b"id: 7\nevent: joke\ndata: knock\ndata: knock\n\n:\n\n");
//!
//! let mut events = Vec::new();
//! EventReader::new().push(&wire, &mut events)?;
//! assert_eq!(events[0].data, "knock\nknock");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod event;
mod reader;

pub use event::EventError;
// The crate root is the public path of `Event`.
pub(crate) use event::Event;
pub use reader::{EventReader, ReceivedEvent, StreamTooLong};

/// A comment line and an empty line. A server sends them between two events, to keep an idle connection open. Clients
/// ignore comments, and an empty line has no effect between two events.
pub const HEARTBEAT: &[u8] = b":\n\n";
