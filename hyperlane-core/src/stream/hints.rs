//! Early hints (RFC 8297), pushed responses, and tasks of single streams.

#[cfg(feature = "http2")]
use std::future::poll_fn;
use std::io::{self, Read};

use bytes::Bytes;

use super::{Stream, content::blocking};
use crate::{
    Context,
    error::ResponseError,
    exchange::hints::{push, send_hints},
    http::{Content, FileBody, Response, kind_of},
};

/// Maximum length of the body of a pushed response, in bytes.
const MAX_PUSH: u64 = 64 * 1024;

impl Stream {
    /// Sends a 103 (RFC 8297) with a field `link` for each of `links`, so that the client loads these resources while the
    /// handler works. The answer follows later. A client of HTTP/1.0 gets nothing. Text that no field may have is logged and
    /// dropped.
    ///
    /// # Errors
    /// - [`ResponseError::AlreadyComplete`] if the answer has begun
    /// - [`ResponseError::ConnectionClosed`] if the client has disconnected
    ///
    /// ```
    /// use hyperlane_core::{Context, Error, Stream};
    ///
    /// // #[get("/")]
    /// async fn index(stream: &mut Stream, ctx: &mut Context) -> Result<String, Error> {
    ///     stream.early_hints(["</site.css>; rel=preload; as=style"]).await?;
    ///     Ok(render_slowly().await)
    /// }
    /// # async fn render_slowly() -> String { String::new() }
    /// ```
    pub async fn early_hints<L: AsRef<str>>(
        &mut self,
        links: impl IntoIterator<Item = L>,
    ) -> Result<(), ResponseError> {
        let mut hints = Response::new();
        for link in links {
            hints.add_header("link", link);
        }
        send_hints(&self.exchange, hints.get_headers())
    }

    /// Gives the handler of an HTTP/2 stream a task of its own, in which it goes on. The attribute `#[spawned]` calls this
    /// method before the handler.
    ///
    /// One task polls the streams of an HTTP/2 connection, so a handler that computes long without an await holds up the
    /// other streams of its client. In a task of its own it does not, and `tokio::task::block_in_place` holds up its own
    /// stream alone. The price is a wake-up per event of the stream, and a write of its own.
    /// [`ServerConfig::http2_spawned`](crate::ServerConfig) gives each stream its own task.
    ///
    /// Over HTTP/1.1 each connection has a task, and the method does nothing, as in a stream that has its own task already. So
    /// does a server inside another stack.
    ///
    /// # Cancel safety
    /// If the future is dropped, the stream may get its own task later.
    ///
    /// ```
    /// use hyperlane_core::{Context, Stream};
    ///
    /// // #[post("/render")]
    /// async fn render(stream: &mut Stream, ctx: &mut Context) -> String {
    ///     stream.spawned().await;
    ///     compute(ctx.get_request().get_body())
    /// }
    /// # fn compute(_: &[u8]) -> String { String::new() }
    /// ```
    pub async fn spawned(&mut self) {
        #[cfg(feature = "http2")]
        {
            let link = self.connection();
            if link.lane.is_stream {
                poll_fn(|_| link.driver.poll_own_task()).await;
            }
        }
    }
}

/// Sends a 103 with the preloads that middleware has added to the response. Does nothing if there are none.
pub(crate) fn hint_preloads(stream: &Stream, ctx: &Context) {
    let mut hints = Response::new();
    let links = ctx.get_response().get_headers();
    for link in links
        .get_all("link")
        .filter(|link| link.contains("rel=preload"))
    {
        hints.add_header("link", link);
    }
    if hints.has_header("link") {
        // The answer meets the same error.
        let _ = send_hints(&stream.exchange, hints.get_headers());
    }
}

/// Pushes the responses that the response of the context names. For a client that takes no pushed responses, names
/// their paths in a 103 and in the response.
pub(super) async fn push_responses(stream: &mut Stream, ctx: &mut Context) {
    let Some(pushes) = ctx.get_mut_response().take_pushes() else {
        return;
    };
    let mut hints = Response::new();
    for (path, mut response) in pushes.into_each() {
        if let Some(body) = whole_body(&mut response).await
            && push(&stream.exchange, ctx.get_request(), &path, &response, &body)
        {
            continue;
        }
        hints.preload(&path, kind_of(&path));
        ctx.get_mut_response().preload(&path, kind_of(&path));
    }
    if hints.has_header("link") {
        let _ = send_hints(&stream.exchange, hints.get_headers());
    }
}

/// Returns the body of a response that is pushed; `None` if it is a stream, too long, or a file that cannot be read.
async fn whole_body(response: &mut Response) -> Option<Bytes> {
    match response.take_body().0 {
        Content::Bytes(bytes) => (bytes.len() as u64 <= MAX_PUSH).then_some(bytes),
        Content::File(file) => {
            if !response.has_header("content-type") {
                response.set_header("content-type", file.content_type());
            }
            blocking(move || read_whole(&file)).await.ok()
        }
        Content::Stream(_) => None,
    }
}

fn read_whole(body: &FileBody) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(body.path())?;
    file.take(MAX_PUSH + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 <= MAX_PUSH {
        true => Ok(bytes.into()),
        false => Err(io::ErrorKind::FileTooLarge.into()),
    }
}
