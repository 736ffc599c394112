//! The inbox: messages that wait for the program to receive them.

use std::collections::VecDeque;

use crate::proto::ws::Message;

/// Messages in the order of arrival, with their total size. Most inboxes are empty, so an empty inbox takes only one
/// word.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Option<Box<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Inbox {
    /// Returns the size of the waiting messages, in bytes. The limit on the inbox applies to this size, which includes
    /// a fixed overhead per message.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.bytes)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn push(&mut self, message: Message) {
        let waiting = self.0.get_or_insert_default();
        waiting.bytes += weight(&message);
        waiting.messages.push_back(message);
    }

    pub(crate) fn pop(&mut self) -> Option<Message> {
        let waiting = self.0.as_mut()?;
        let message = waiting.messages.pop_front()?;
        waiting.bytes = waiting.bytes.saturating_sub(weight(&message));
        if waiting.messages.is_empty() {
            self.clear();
        }
        Some(message)
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}

/// Returns the size of a waiting message, in bytes.
pub(crate) fn weight(message: &Message) -> usize {
    message.len() + size_of::<Message>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_in_order_and_leave_nothing() {
        let mut inbox = Inbox::default();
        assert_eq!(size_of_val(&inbox), size_of::<usize>());
        inbox.push(Message::text("one"));
        inbox.push(Message::text("three"));
        assert_eq!(inbox.bytes(), 8 + 2 * size_of::<Message>());
        assert_eq!(inbox.pop(), Some(Message::text("one")));
        assert_eq!(inbox.bytes(), 5 + size_of::<Message>());
        assert_eq!(inbox.pop(), Some(Message::text("three")));
        assert_eq!(inbox.pop(), None);
        assert!(inbox.0.is_none());
        inbox.push(Message::text("two"));
        inbox.clear();
        assert_eq!((inbox.bytes(), inbox.pop()), (0, None));
    }
}
