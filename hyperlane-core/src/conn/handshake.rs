//! The answer to a WebSocket handshake that was accepted, until its 101 goes out.
//!
//! A route's guard accepts the handshake before the handler runs, so that the handler may still refuse with an HTTP
//! answer. The 101 goes out with the first read, send or `upgrade`; if none comes in time, by itself.

use std::{borrow::Cow, sync::Arc};

use super::{
    extensions::Extensions,
    input::{Input, Mode},
    link::Link,
    send::{Limit, Order, Payload},
};
use crate::{
    config::ServerConfig,
    env::timers::Tick,
    http::{Headers, SessionFields, write_switching},
};

/// The subprotocol of a WebSocket (RFC 6455 §1.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subprotocol {
    /// The place in [`ServerConfig::subprotocols`].
    Configured(usize),
    Named(Cow<'static, str>),
}

impl Subprotocol {
    pub(crate) fn name<'a>(&'a self, config: &'a ServerConfig) -> Option<&'a str> {
        match self {
            Self::Configured(at) => config.subprotocols.get(*at).map(String::as_str),
            Self::Named(name) => Some(name),
        }
    }
}

/// An accepted handshake, and what its answer says.
pub(crate) struct Handshake {
    /// `Sec-WebSocket-Accept` (RFC 6455 §4.2.2).
    pub(crate) accept_key: [u8; 28],
    pub(crate) extensions: Extensions,
    pub(crate) subprotocol: Option<Subprotocol>,
    /// Fields that the program has set so far.
    pub(crate) headers: Headers,
    pub(crate) session: Option<Arc<SessionFields>>,
    /// What was asked for, for the log.
    pub(crate) path: Box<str>,
    pub(crate) since: Tick,
}

impl Handshake {
    /// Writes the 101, with further fields.
    pub(crate) fn head(&self, link: &Link, added: &Headers) -> Vec<u8> {
        let config = &link.env.config;
        let subprotocol = self.subprotocol.as_ref();
        let extensions = self.extensions.answer();
        let fields = [
            ("upgrade", Some("websocket")),
            ("connection", Some("upgrade")),
            (
                "sec-websocket-accept",
                std::str::from_utf8(&self.accept_key).ok(),
            ),
            ("sec-websocket-extensions", extensions.as_deref()),
            (
                "sec-websocket-protocol",
                subprotocol.and_then(|subprotocol| subprotocol.name(config)),
            ),
        ];
        let fields = fields
            .iter()
            .filter_map(|(name, value)| Some((*name, (*value)?.as_bytes())));
        let mut head = Vec::with_capacity(192);
        write_switching(
            &mut head,
            fields,
            [&self.headers, added],
            self.session.as_ref(),
            config.title_case_headers,
        );
        head
    }
}

impl Link {
    /// Keeps an accepted handshake; its 101 goes out by itself after the configured time.
    pub(crate) fn keep_handshake(&self, handshake: Box<Handshake>) {
        let by = handshake.since.after(self.env.config.handshake_timeout);
        self.lock_input().mode = Mode::Handshake(handshake);
        self.arm(by);
    }

    /// Sends the 101 of a handshake that waits for its handler, which is not here to say more.
    pub(crate) fn answer_handshake(&self) {
        let handshake = self.lock_input().take_handshake();
        if let Some(handshake) = handshake {
            let head = handshake.head(self, &Headers::new());
            self.lane.set_handshake(false);
            // Errors show in the handler's next look.
            let _ = self
                .lane()
                .send(Payload::Copied(&head), Order::Now, Limit::None);
            self.begin_websocket(handshake.extensions, handshake.subprotocol);
        }
    }
}

impl Input {
    /// Takes the handshake whose 101 is not out yet, if there is one.
    pub(crate) fn take_handshake(&mut self) -> Option<Box<Handshake>> {
        match std::mem::replace(&mut self.mode, Mode::Http) {
            Mode::Handshake(handshake) => Some(handshake),
            other => {
                self.mode = other;
                None
            }
        }
    }

    /// Adds the cookie of a session that was begun since the handshake was accepted to its 101.
    pub(crate) fn set_session(&mut self, session: &Arc<SessionFields>) {
        if let Mode::Handshake(handshake) = &mut self.mode {
            handshake.session = Some(session.clone());
        }
    }
}

/// Answers as [`Link::answer_handshake`], since the handler has taken too long.
pub(super) fn answer_late_handshake(link: &Link) {
    if let Mode::Handshake(handshake) = &link.lock_input().mode {
        tracing::warn!(
            peer = %link.peer(),
            path = &*handshake.path,
            "the handler has left a WebSocket handshake without an answer for {:?}: accepted now; call `ctx.upgrade(stream)`, \
             read or send before work that takes long, or raise `handshake_timeout`",
            link.env.config.handshake_timeout
        );
    }
    link.answer_handshake();
}
