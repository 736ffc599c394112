//! Replaces the module `channel` if the feature `sessions` is off. No value of [`Channel`] can exist then, so each
//! handle of the program belongs to a connection.

use std::{
    convert::Infallible,
    io,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    conn::link::Link,
    proto::{
        sse::Event,
        ws::{CloseCode, Message},
    },
};

/// A channel. The type has no values.
pub(crate) enum Channel {}

impl Channel {
    pub(crate) fn is_open(&self) -> bool {
        match *self {}
    }

    pub(crate) fn name(&self) -> Option<&str> {
        match *self {}
    }

    pub(crate) fn next_offset(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn connection(&self) -> Option<Arc<Link>> {
        match *self {}
    }

    pub(crate) async fn send(&self, _: Message) -> io::Result<()> {
        match *self {}
    }

    pub(crate) async fn send_event(&self, _: Event) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn send_control(&self, _: &Message) {
        match *self {}
    }

    pub(crate) fn send_promised(&self, _: Message) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn poll_room(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }

    pub(crate) fn waiter(&self) -> Infallible {
        match *self {}
    }

    pub(crate) fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: Option<&mut Infallible>,
    ) -> Poll<io::Result<Message>> {
        match *self {}
    }

    pub(crate) fn close(&self, _: CloseCode, _: &str) -> io::Result<()> {
        match *self {}
    }

    pub(crate) async fn over(&self) {
        match *self {}
    }
}
