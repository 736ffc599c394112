//! Connections of a channel: attaching, detaching, and waiting for clients to come back. A position is the channel's
//! record of one client. It stays in the channel while the client has no connection.

use std::sync::Arc;

use super::{
    Channel, MISSED, RESET, SUPERSEDED,
    connection::ChannelConnection,
    end::End,
    log::ResumeId,
    state::{Claim, Kind, Position, Start},
    timer::Timer,
};
use crate::{conn::link::Link, proto::ws::CloseCode};

impl Channel {
    /// Attaches a connection. The channel then writes missed and new messages to it.
    ///
    /// Returns `None` if the channel has closed the connection instead. There are two reasons:
    /// - The connection is a WebSocket without resume ids, and the channel no longer has the messages that its client
    ///   has missed.
    /// - The same tab already has a newer connection.
    ///
    /// # Errors
    /// If the channel has ended, returns the reason.
    pub(crate) fn attach(
        self: &Arc<Self>,
        claim: Claim,
        connection: &Arc<Link>,
        begin: impl FnOnce(&Start, ResumeId) -> ChannelConnection,
    ) -> Result<Option<Attached>, End> {
        // This call makes the connection refuse other senders. It must come before the channel's handles can find the
        // connection.
        connection.lane.set_of_channel();
        let mut inner = self.lock();
        if let Some(end) = &inner.end {
            return Err(end.clone());
        }
        if inner.state.is_superseded(claim) {
            drop(inner);
            ChannelConnection::new(connection.clone(), None, claim.number)
                .close(SUPERSEDED, "this tab has connected again");
            return Ok(None);
        }
        let epoch = inner.state.log.epoch;
        let (start, left) = inner.state.attach(claim, |start| {
            begin(
                start,
                ResumeId {
                    epoch,
                    offset: start.next.saturating_sub(1),
                },
            )
        });
        inner.was_connected = true;
        if start.is_reset && claim.kind == Kind::Plain {
            inner.state.remove(start.key);
            self.after_change(&mut inner);
            drop(inner);
            let _ = connection.close_websocket(RESET, MISSED, false);
            for position in &left {
                match claim.tab {
                    Some(_) => close(position, SUPERSEDED, "this tab has connected again"),
                    None => close(position, RESET, MISSED),
                }
            }
            return Ok(None);
        }
        inner.state.catch_up(start.key);
        self.after_change(&mut inner);
        let charged = std::mem::take(&mut inner.charged);
        drop(inner);
        self.discharge(charged);
        for position in &left {
            close(position, SUPERSEDED, "this tab has connected again");
        }
        Ok(Some(Attached {
            channel: self.clone(),
            key: start.key,
            is_closed: false,
        }))
    }

    fn detach(self: &Arc<Self>, key: u64, is_closed: bool) {
        let mut inner = self.lock();
        let is_known = if is_closed {
            inner.state.remove(key).is_some()
        } else {
            inner.state.cut(key)
        };
        if is_known && !is_closed {
            let timer = self.after_grace(move |channel| channel.expire_position(key));
            if let Some(position) = inner.state.position(key) {
                position.timer = timer;
            }
        }
        inner.state.trim_log(self.settings.limits);
        self.after_change(&mut inner);
        if is_known && inner.is_disconnected() {
            self.charge_all(inner);
        }
    }

    /// Removes a position whose client did not come back in time.
    fn expire_position(self: &Arc<Self>, key: u64) {
        let mut inner = self.lock();
        let is_last = match inner.state.position(key) {
            Some(position) if position.connection().is_none() => {
                inner.state.remove(key);
                !inner.state.has_positions()
            }
            _ => return,
        };
        if is_last {
            self.finish(inner, End::Grace(self.settings.grace));
        } else {
            inner.state.trim_log(self.settings.limits);
            self.after_change(&mut inner);
            self.discharge_unused(inner);
        }
    }

    /// Ends the channel if it has no positions: no client has connected in time.
    pub(super) fn expire_unconnected(self: &Arc<Self>) {
        let inner = self.lock();
        if !inner.state.has_positions() {
            self.finish(inner, End::Grace(self.settings.grace));
        }
    }
}

pub(super) fn close(position: &Position<ChannelConnection, Timer>, code: CloseCode, reason: &str) {
    if let Some(connection) = position.connection() {
        connection.close(code, reason);
    }
}

/// The attachment of a connection to a channel. When this value is dropped, the connection leaves its position, and the
/// position waits for the client to come back. [`closed`](Self::closed) removes the position instead.
pub(crate) struct Attached {
    channel: Arc<Channel>,
    key: u64,
    is_closed: bool,
}

impl Attached {
    pub(crate) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// Drops the attachment and removes the position: the client has closed the connection, and will not come back.
    pub(crate) fn closed(mut self) {
        self.is_closed = true;
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.channel.detach(self.key, self.is_closed);
    }
}
