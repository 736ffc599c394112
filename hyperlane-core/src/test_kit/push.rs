//! Assertions about what a server pushes to a WebSocket or an event stream.

use std::{collections::VecDeque, fmt::Debug, time::Duration};

use super::TestError;

/// The maximum number of messages that a client keeps because no assertion has matched them.
const MAX_KEPT: usize = 4096;

/// The time for which `refute_push!` waits.
const QUIET: Duration = Duration::from_millis(100);

/// A client to which a server pushes messages.
pub(super) trait Pushes {
    type Item: Debug;

    /// Returns the messages that arrived and that no assertion has matched, in their order.
    fn kept(&mut self) -> &mut VecDeque<Self::Item>;

    /// Waits for the next message, at most for the patience of the client.
    async fn arrival(&mut self) -> Result<Self::Item, TestError>;

    /// Returns the next message: the first kept one, or the next one that arrives.
    async fn next(&mut self) -> Result<Self::Item, TestError> {
        match self.kept().pop_front() {
            Some(item) => Ok(item),
            None => self.arrival().await,
        }
    }

    /// Waits for a message that matches, and returns it. Keeps the other messages. Returns the text of the failed
    /// assertion if the wait fails.
    async fn find(
        &mut self,
        mut matches: impl FnMut(&Self::Item) -> bool,
    ) -> Result<Self::Item, String> {
        if let Some(at) = self.kept().iter().position(&mut matches) {
            // The position exists, so the default is not used.
            return self.kept().remove(at).ok_or_else(String::new);
        }
        loop {
            match self.arrival().await {
                Ok(item) if matches(&item) => return Ok(item),
                Ok(item) if self.kept().len() < MAX_KEPT => self.kept().push_back(item),
                Ok(_) => return Err(format!("{MAX_KEPT} messages arrived, and none matches")),
                Err(error) => return Err(format!("{error}{}", other(self.kept()))),
            }
        }
    }

    /// Waits for a while that no message matches. Keeps the messages. Returns the text of the failed assertion if a
    /// message matches.
    async fn refute(&mut self, mut matches: impl FnMut(&Self::Item) -> bool) -> Result<(), String> {
        let until = tokio::time::Instant::now() + QUIET;
        let mut checked = 0;
        loop {
            let found = self.kept().iter().skip(checked).find(|item| matches(item));
            if let Some(found) = found {
                return Err(format!("arrived: {found:?}"));
            }
            checked = self.kept().len();
            match tokio::time::timeout_at(until, self.arrival()).await {
                Ok(Ok(_)) if checked >= MAX_KEPT => {
                    return Err(format!("more than {MAX_KEPT} messages arrived"));
                }
                Ok(Ok(item)) => self.kept().push_back(item),
                Ok(Err(_)) | Err(_) => return Ok(()),
            }
        }
    }
}

/// Names the kept messages in the text of a failed assertion.
fn other(kept: &VecDeque<impl Debug>) -> String {
    match kept.is_empty() {
        true => String::new(),
        false => format!("; other messages arrived: {kept:?}"),
    }
}

/// Waits until the server pushes a message that matches, and returns the message.
///
/// The first argument is a [`TestSocket`](crate::test_kit::TestSocket) or a
/// [`TestEvents`](crate::test_kit::TestEvents). The second one is:
/// - a literal: the text of the message or the data of the event;
/// - a pattern, perhaps with `if` and a condition: it is matched against a reference to the
///   [`Message`](crate::Message) or the [`ReceivedEvent`](crate::proto::sse::ReceivedEvent);
/// - `json` and a pattern: it is matched against the text of the message as JSON, parsed into the type of the pattern.
///
/// Messages that arrived earlier count, unless an assertion or `recv` has taken them. Messages that do not match are
/// kept for later assertions.
///
/// # Panics
/// Panics if no message matches within the patience of the client, or if the connection ends before.
///
/// ```
/// use hyperlane_core::{Context, Message, Server, Status, Stream, assert_push, test_kit::TestServer};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Point {
///     x: i32,
///     y: i32,
/// }
///
/// async fn talk(stream: &mut Stream, ctx: &mut Context) -> Status {
///     let Ok(socket) = ctx.upgrade(stream).await else { return Status::Reject };
///     for text in ["welcome", "news of today", "{\"x\": 1, \"y\": 2}"] {
///         let _ = socket.send(text).await;
///     }
///     Status::Continue
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hyperlane_core::ServerError> {
/// let mut server = Server::new();
/// server.at("/talk").get(talk);
/// let mut socket = TestServer::start(&server)?.client().socket("/talk").await;
/// assert_push!(socket, json Point { x: 1, y } if y > 1);
/// assert_push!(socket, "welcome");
/// let news = assert_push!(socket, Message::Text(text) if text.starts_with("news"));
/// assert_eq!(news.to_str(), Ok("news of today"));
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! assert_push {
    ($client:expr, json $pattern:pat $(if $guard:expr)? $(,)?) => {
        match $client
            .__find_text(|text| match $crate::serde_json::from_str(text) {
                ::core::result::Result::Ok($pattern) $(if $guard)? => true,
                _ => false,
            })
            .await
        {
            ::core::result::Result::Ok(message) => message,
            ::core::result::Result::Err(why) => ::core::panic!(
                "no push matches `json {}`: {why}",
                ::core::stringify!($pattern $(if $guard)?)
            ),
        }
    };
    ($client:expr, $text:literal $(,)?) => {
        match $client.__find_text(|text| text == $text).await {
            ::core::result::Result::Ok(message) => message,
            ::core::result::Result::Err(why) => {
                ::core::panic!("no push is {:?}: {why}", $text)
            }
        }
    };
    ($client:expr, $pattern:pat $(if $guard:expr)? $(,)?) => {
        match $client
            .__find(|message| ::core::matches!(message, $pattern $(if $guard)?))
            .await
        {
            ::core::result::Result::Ok(message) => message,
            ::core::result::Result::Err(why) => ::core::panic!(
                "no push matches `{}`: {why}",
                ::core::stringify!($pattern $(if $guard)?)
            ),
        }
    };
}

/// Waits 100 ms of tokio's clock, and checks that no message matches meanwhile. The arguments are those of
/// [`assert_push!`](crate::assert_push).
///
/// Messages that arrived earlier count, unless an assertion or `recv` has taken them. All messages are kept for later
/// assertions. The end of the connection ends the wait.
///
/// # Panics
/// Panics if a message matches.
///
/// ```
/// use hyperlane_core::{Context, Server, Status, Stream, assert_push, refute_push, test_kit::TestServer};
///
/// async fn talk(stream: &mut Stream, ctx: &mut Context) -> Status {
///     let Ok(socket) = ctx.upgrade(stream).await else { return Status::Reject };
///     let _ = socket.send("welcome").await;
///     Status::Continue
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), hyperlane_core::ServerError> {
/// let mut server = Server::new();
/// server.at("/talk").get(talk);
/// let mut socket = TestServer::start(&server)?.client().socket("/talk").await;
/// refute_push!(socket, "farewell");
/// assert_push!(socket, "welcome");
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! refute_push {
    ($client:expr, json $pattern:pat $(if $guard:expr)? $(,)?) => {
        if let ::core::result::Result::Err(why) = $client
            .__refute_text(|text| match $crate::serde_json::from_str(text) {
                ::core::result::Result::Ok($pattern) $(if $guard)? => true,
                _ => false,
            })
            .await
        {
            ::core::panic!(
                "a push matches `json {}`: {why}",
                ::core::stringify!($pattern $(if $guard)?)
            )
        }
    };
    ($client:expr, $text:literal $(,)?) => {
        if let ::core::result::Result::Err(why) = $client.__refute_text(|text| text == $text).await
        {
            ::core::panic!("a push is {:?}: {why}", $text)
        }
    };
    ($client:expr, $pattern:pat $(if $guard:expr)? $(,)?) => {
        if let ::core::result::Result::Err(why) = $client
            .__refute(|message| ::core::matches!(message, $pattern $(if $guard)?))
            .await
        {
            ::core::panic!(
                "a push matches `{}`: {why}",
                ::core::stringify!($pattern $(if $guard)?)
            )
        }
    };
}

/// Waits until the server closes the WebSocket, and checks the code of its close frame. `assert_closed!(events)` waits
/// for the end of an event stream, which has no code.
///
/// Messages that arrive before are dropped. Code 1005 stands for a close frame without a code, and 1006 for an end of the
/// connection without a close frame.
///
/// # Panics
/// Panics if the connection does not end within the patience of the client, or if the code is another one.
///
/// ```
/// use hyperlane_core::{CloseCode, Context, Server, Status, Stream, assert_closed, test_kit::TestServer};
///
/// async fn refuse(stream: &mut Stream, ctx: &mut Context) -> Status {
///     let Ok(socket) = ctx.upgrade(stream).await else { return Status::Reject };
///     let _ = socket.close(CloseCode::POLICY_VIOLATION, "members only");
///     Status::Continue
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hyperlane_core::ServerError> {
/// let mut server = Server::new();
/// server.at("/talk").get(refuse);
/// let mut socket = TestServer::start(&server)?.client().socket("/talk").await;
/// assert_closed!(socket, 1008);
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! assert_closed {
    ($client:expr, $code:expr $(,)?) => {
        if let ::core::result::Result::Err(why) = $client.__closed($code).await {
            ::core::panic!("{why}")
        }
    };
    ($client:expr $(,)?) => {
        if let ::core::result::Result::Err(why) = $client.__ended().await {
            ::core::panic!("{why}")
        }
    };
}

/// Implements the methods that the macros call. The macros cannot call the methods of a private trait.
macro_rules! macro_methods {
    ($client:ty, $item:ty, $text:expr) => {
        #[doc(hidden)]
        impl $client {
            pub async fn __find(
                &mut self,
                matches: impl FnMut(&$item) -> bool,
            ) -> Result<$item, String> {
                self.find(matches).await
            }

            pub async fn __find_text(
                &mut self,
                mut matches: impl FnMut(&str) -> bool,
            ) -> Result<$item, String> {
                let text: fn(&$item) -> Option<&str> = $text;
                self.find(|item| text(item).is_some_and(&mut matches)).await
            }

            pub async fn __refute(
                &mut self,
                matches: impl FnMut(&$item) -> bool,
            ) -> Result<(), String> {
                self.refute(matches).await
            }

            pub async fn __refute_text(
                &mut self,
                mut matches: impl FnMut(&str) -> bool,
            ) -> Result<(), String> {
                let text: fn(&$item) -> Option<&str> = $text;
                self.refute(|item| text(item).is_some_and(&mut matches))
                    .await
            }
        }
    };
}

pub(super) use macro_methods;
