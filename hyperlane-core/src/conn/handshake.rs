//! An accepted WebSocket handshake, until its response (101 Switching Protocols) is sent.
//!
//! A route's guard (a check that runs before the handler) accepts the handshake. Until the 101 is sent, the handler can
//! still refuse the handshake with another HTTP answer. The handler's first read, send or `upgrade` sends the 101. If
//! the handler does none of these in time, a timer sends the 101.

use std::{borrow::Cow, sync::Arc};

use super::{
    extensions::Extensions,
    input::{Input, Mode},
    lane::Awaited,
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
    /// An index into [`ServerConfig::subprotocols`].
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

/// An accepted handshake, with the data for its 101.
pub(crate) struct Handshake {
    /// `Sec-WebSocket-Accept` (RFC 6455 §4.2.2).
    pub(crate) accept_key: [u8; 28],
    pub(crate) extensions: Extensions,
    pub(crate) subprotocol: Option<Subprotocol>,
    /// Header fields that the program set before the handshake was accepted.
    pub(crate) headers: Headers,
    pub(crate) session: Option<Arc<SessionFields>>,
    /// The path of the request, for the log.
    pub(crate) path: Box<str>,
    pub(crate) since: Tick,
}

impl Handshake {
    /// Encodes the 101. `added` has the header fields that the handler has set after the handshake was accepted.
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
    /// Stores an accepted handshake until its 101 is sent. After [`ServerConfig::handshake_timeout`], a timer sends the
    /// 101.
    pub(crate) fn keep_handshake(&self, handshake: Box<Handshake>) {
        let by = handshake.since.after(self.env.config.handshake_timeout);
        self.lock_input().mode = Mode::Handshake(handshake);
        self.arm(by);
    }

    /// Sends the 101 of the pending handshake, without further fields from the handler.
    pub(crate) fn answer_handshake(&self) {
        let handshake = self.lock_input().take_handshake();
        if let Some(handshake) = handshake {
            let head = handshake.head(self, &Headers::new());
            self.lane.set_awaited(Awaited::Nothing);
            // An error is ignored here. The handler's next read or send reports it.
            #[cfg(feature = "http2")]
            let is_sent = super::http2::send_handshake(self, &head);
            #[cfg(not(feature = "http2"))]
            let is_sent = false;
            if !is_sent {
                let _ = self
                    .lane()
                    .send(Payload::Copied(&head), Order::Now, Limit::None);
            }
            self.begin_websocket(handshake.extensions, handshake.subprotocol);
        }
    }
}

impl Input {
    /// Removes and returns the handshake if its 101 is not sent yet; `None` if there is no such handshake.
    pub(crate) fn take_handshake(&mut self) -> Option<Box<Handshake>> {
        match std::mem::replace(&mut self.mode, Mode::Http(None)) {
            Mode::Handshake(handshake) => Some(handshake),
            other => {
                self.mode = other;
                None
            }
        }
    }

    /// Adds a session's cookie to the 101 of a pending handshake. This is for a session that began after the handshake
    /// was accepted.
    pub(crate) fn set_session(&mut self, session: &Arc<SessionFields>) {
        if let Mode::Handshake(handshake) = &mut self.mode {
            handshake.session = Some(session.clone());
        }
    }
}

/// Sends the 101 for a handler that has taken too long, and logs a warning.
pub(super) fn answer_late_handshake(link: &Link) {
    if let Mode::Handshake(handshake) = &link.lock_input().mode {
        tracing::warn!(
            peer = %link.peer(),
            path = &*handshake.path,
            "WebSocket handshake completed by the server: the handler did not answer within {:?}; call \
             `ctx.upgrade(stream)`, read or send before long work, or raise `handshake_timeout`",
            link.env.config.handshake_timeout
        );
    }
    link.answer_handshake();
}
