//! Connections of a channel: they come, go, and come back.

use std::sync::Arc;

use super::{
    Channel, MISSED, RESET, SUPERSEDED,
    end::End,
    line::Line,
    log::ResumeId,
    state::{Claim, Kind, Position, Start},
    timer::Timer,
};
use crate::{conn::Conn, proto::ws::CloseCode};

impl Channel {
    /// Gives the channel to a connection: from here on it gets what it missed and what comes. `None` for one that was
    /// reset and told to come again, or overtaken by its tab's next one.
    ///
    /// # Errors
    /// Why the channel is over.
    pub(crate) fn attach(
        self: &Arc<Self>,
        claim: Claim,
        connection: &Arc<Conn>,
        begin: impl FnOnce(&Start, ResumeId) -> Line,
    ) -> Result<Option<Attached>, End> {
        // Before anyone can find it by the channel's handles.
        connection.set_of_channel();
        let mut inner = self.lock();
        if let Some(end) = &inner.end {
            return Err(end.clone());
        }
        if inner.state.is_overtaken(claim) {
            drop(inner);
            Line::new(connection.clone(), None, claim.number)
                .close(SUPERSEDED, "this tab has connected anew");
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
            self.look_after(&mut inner);
            drop(inner);
            let _ = connection.close_websocket(RESET, MISSED, false);
            for position in &left {
                match claim.tab {
                    Some(_) => close(position, SUPERSEDED, "this tab has connected anew"),
                    None => close(position, RESET, MISSED),
                }
            }
            return Ok(None);
        }
        inner.state.write_on_key(start.key);
        self.look_after(&mut inner);
        let charged = std::mem::take(&mut inner.charged);
        drop(inner);
        self.discharge(charged);
        for position in &left {
            close(position, SUPERSEDED, "this tab has connected anew");
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
            let timer = self.after_grace(move |channel| channel.give_up(key));
            if let Some(position) = inner.state.position(key) {
                position.timer = timer;
            }
        }
        inner.state.tidy(self.settings.limits);
        self.look_after(&mut inner);
        if is_known && inner.is_unattended() {
            self.charge_all(inner);
        }
    }

    /// A position has waited long enough.
    fn give_up(self: &Arc<Self>, key: u64) {
        let mut inner = self.lock();
        let is_last = match inner.state.position(key) {
            Some(position) if position.link().is_none() => {
                inner.state.remove(key);
                !inner.state.has_positions()
            }
            _ => return,
        };
        if is_last {
            self.finish(inner, End::Grace(self.settings.grace));
        } else {
            inner.state.tidy(self.settings.limits);
            self.look_after(&mut inner);
        }
    }

    /// Nobody has been there for long.
    pub(super) fn expire(self: &Arc<Self>) {
        let inner = self.lock();
        if !inner.state.has_positions() {
            self.finish(inner, End::Grace(self.settings.grace));
        }
    }
}

pub(super) fn close(position: &Position<Line, Timer>, code: CloseCode, reason: &str) {
    if let Some(line) = position.link() {
        line.close(code, reason);
    }
}

/// A connection's hold on a channel: when it is dropped, the position waits for the client to come back.
pub(crate) struct Attached {
    channel: Arc<Channel>,
    key: u64,
    is_closed: bool,
}

impl Attached {
    pub(crate) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// The client has said that it will not come back to this place.
    pub(crate) fn closed(mut self) {
        self.is_closed = true;
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.channel.detach(self.key, self.is_closed);
    }
}
