//! Bodies of responses: bytes in memory, a file, or a stream of bytes.

use std::{
    borrow::Cow,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Component, Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;

use super::RequestBody;
use crate::{
    panic::{contain, drop_payload},
    proto::ws::Utf8Bytes,
};

/// The body of a response, from any source.
///
/// The server sends text, bytes and files with their length, and reads files piece by piece. The server sends a stream
/// in chunks, or with its length if the length is known ([`sized_stream`](Self::sized_stream)). An HTTP/1.0 client does
/// not know chunks, so the end of the connection ends a stream of unknown length. The server polls a stream only as
/// fast as the client reads.
///
/// ```
/// use bytes::Bytes;
/// use hyperlane_core::{Body, Response};
/// use std::path::Path;
///
/// let mut response = Response::default();
/// response.set_body("text");
/// response.set_body(Path::new("assets/index.html"));
/// # struct Numbers;
/// # impl futures_core::Stream for Numbers {
/// #     type Item = Result<Bytes, std::io::Error>;
/// #     fn poll_next(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<Self::Item>> {
/// #         std::task::Poll::Ready(None)
/// #     }
/// # }
/// response.set_body(Body::stream(Numbers));
/// assert!(response.is_body_streamed());
/// ```
#[derive(Clone, Debug)]
pub struct Body(pub(crate) Content);

/// The source of a body.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Bytes(Bytes),
    File(FileBody),
    /// A stream. Clones share the stream, so only one of them can be sent.
    Stream(Arc<StreamBody>),
}

impl Body {
    /// Creates a body from a stream. The content type is `application/octet-stream` if the response has no
    /// `content-type`.
    ///
    /// The server polls the stream once before it sends the head. If this poll returns an error, the server answers
    /// with 500. If an error comes later, the server closes the connection without the last chunk. The missing chunk
    /// tells the client that the body is incomplete; an HTTP/1.0 client cannot notice this. The server logs the error.
    /// The server drops the stream when the client disconnects or the stream ends.
    pub fn stream<S, B, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: fmt::Display,
    {
        Self::of_stream(stream, None)
    }

    /// Creates a body from a stream of `length` bytes. The server sends `content-length` and no chunks. A stream with
    /// fewer or more bytes counts as a stream that failed.
    pub fn sized_stream<S, B, E>(stream: S, length: u64) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: fmt::Display,
    {
        Self::of_stream(stream, Some(length))
    }

    /// Creates the body of a tower service's response. The server adds no `content-type` to such a response: a client
    /// guesses a missing type better than the server.
    #[cfg(feature = "tower")]
    pub(crate) fn of_service<S, E>(stream: S, length: Option<u64>) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: fmt::Display,
    {
        Self::of(stream, length, false)
    }

    fn of_stream<S, B, E>(stream: S, length: Option<u64>) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: fmt::Display,
    {
        Self::of(stream, length, true)
    }

    fn of<S, B, E>(stream: S, length: Option<u64>, has_default_type: bool) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: fmt::Display,
    {
        let pieces: Pieces = Box::pin(Erased {
            stream: Some(stream),
        });
        Self(Content::Stream(Arc::new(StreamBody {
            length,
            has_default_type,
            pieces: Mutex::new(Some(pieces)),
        })))
    }
}

/// The error of a stream, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed(pub(crate) String);

/// A stream with its types erased.
pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Failed>> + Send>>;

pub(crate) struct StreamBody {
    pub(crate) length: Option<u64>,
    /// True if a response without `content-type` gets `application/octet-stream`.
    pub(crate) has_default_type: bool,
    pieces: Mutex<Option<Pieces>>,
}

impl StreamBody {
    /// Takes the stream; `None` if the stream was taken before.
    pub(crate) fn take(&self) -> Option<Pieces> {
        self.pieces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl fmt::Debug for StreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBody")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

pin_project_lite::pin_project! {
    struct Erased<S> {
        // The stream; `None` after it was dropped.
        #[pin]
        stream: Option<S>,
    }

    impl<S> PinnedDrop for Erased<S> {
        fn drop(this: Pin<&mut Self>) {
            let mut stream = this.project().stream;
            // A panic of the stream's destructor must not reach the code that drops the body. This code usually serves
            // a connection.
            contain("while a response stream was dropped", || stream.set(None));
        }
    }
}

impl<S, B, E> Stream for Erased<S>
where
    S: Stream<Item = Result<B, E>>,
    B: Into<Bytes>,
    E: fmt::Display,
{
    type Item = Result<Bytes, Failed>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(stream) = self.project().stream.as_pin_mut() else {
            return Poll::Ready(None);
        };
        // Unwind safety: the server drops a stream that panicked, and never polls it again.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let piece = ready!(stream.poll_next(cx));
            Poll::Ready(piece.map(|piece| {
                piece
                    .map(Into::into)
                    .map_err(|error| Failed(format!("response stream failed: {error}")))
            }))
        }));
        polled.unwrap_or_else(|payload| {
            drop_payload(payload);
            Poll::Ready(Some(Err(Failed("panic in a response stream".to_owned()))))
        })
    }
}

/// A file to send. The server reads the file while it sends the response.
///
/// The length and modification time of the file determine `content-length`, `last-modified` and a strong `etag`; the
/// name of the file determines `content-type`. The program may set these fields too, except `content-length`. The
/// server answers a path that is not a regular file with 404, and an unreadable file with 403.
///
/// If the status is 200, the server compares `etag` and `last-modified` with the conditions of a GET or HEAD, and may
/// answer with 304 or 412 (RFC 9110 §13). If the status is 200, the server also answers a GET for a range with 206 or
/// 416 (RFC 9110 §14). A request for several ranges receives the whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileBody {
    path: PathBuf,
}

impl FileBody {
    /// Creates a body from a file's path. If a client can influence the path, use [`within`](Self::within).
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Creates a body from the file with the path `relative` below the directory `root`. `relative` is a decoded path
    /// from a client. Symbolic links are followed.
    ///
    /// Returns `None` if `relative` is empty or absolute, begins with `./`, has a component `..`, or contains NUL, a
    /// backslash or a colon.
    ///
    /// ```
    /// use hyperlane_core::FileBody;
    ///
    /// assert!(FileBody::within("assets", "css/site.css").is_some());
    /// assert!(FileBody::within("assets", "../secret").is_none());
    /// assert!(FileBody::within("assets", "/etc/passwd").is_none());
    /// ```
    pub fn within(root: impl AsRef<Path>, relative: impl AsRef<str>) -> Option<Self> {
        let relative = relative.as_ref();
        // No file name contains NUL. Backslash and colon have a special meaning on systems other than Unix.
        let odd = ['\0', '\\', ':'];
        let is_inside = !relative.is_empty()
            && !relative.contains(odd)
            && Path::new(relative)
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
        is_inside.then(|| Self::new(root.as_ref().join(relative)))
    }

    /// Borrows the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Guesses the media type from the name of the file. For text, the charset is UTF-8.
    pub(crate) fn content_type(&self) -> Cow<'static, str> {
        match mime_guess::from_path(&self.path).first_raw() {
            Some(text) if text.starts_with("text/") => format!("{text}; charset=utf-8").into(),
            Some(known) => known.into(),
            None => "application/octet-stream".into(),
        }
    }
}

/// A value that converts to the body of a response: text, bytes, a [`Path`], a [`FileBody`], a [`Body`], or a reference
/// to one of these. Owned values are not copied, except arrays and `Arc<str>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a body: use text, bytes, a `Path`, or `Body::stream(..)`"
)]
pub trait IntoBody {
    /// Converts the value.
    fn into_body(self) -> Body;
}

/// A value that a body can be made from by reference.
pub trait ToBody {
    /// Converts the reference, with a copy if needed.
    fn to_body(&self) -> Body;
}

impl<T: ToBody + ?Sized> ToBody for &T {
    fn to_body(&self) -> Body {
        (**self).to_body()
    }
}

impl<T: ToBody + ?Sized> ToBody for &mut T {
    fn to_body(&self) -> Body {
        (**self).to_body()
    }
}

impl<T: ToBody + ?Sized> IntoBody for &T {
    fn into_body(self) -> Body {
        self.to_body()
    }
}

impl<T: ToBody + ?Sized> IntoBody for &mut T {
    fn into_body(self) -> Body {
        (*self).to_body()
    }
}

/// Implements the conversions of one type per row: by reference and, for owned types, by value.
macro_rules! bodies {
    ($($type:ty: |$copied:ident| $copy:expr $(, |$owned:ident| $take:expr)?;)*) => {$(
        impl ToBody for $type {
            fn to_body(&self) -> Body {
                let $copied = self;
                Body($copy)
            }
        }

        $(
            impl IntoBody for $type {
                fn into_body(self) -> Body {
                    let $owned = self;
                    Body($take)
                }
            }
        )?
    )*};
}

fn copy(bytes: &[u8]) -> Content {
    Content::Bytes(Bytes::copy_from_slice(bytes))
}

bodies! {
    [u8]: |bytes| copy(bytes);
    str: |text| copy(text.as_bytes());
    Path: |path| Content::File(FileBody::new(path));
    Vec<u8>: |bytes| copy(bytes), |bytes| Content::Bytes(bytes.into());
    Box<[u8]>: |bytes| copy(bytes), |bytes| Content::Bytes(bytes.into());
    String: |text| copy(text.as_bytes()), |text| Content::Bytes(text.into());
    Box<str>: |text| copy(text.as_bytes()), |text| Content::Bytes(String::from(text).into());
    Arc<str>: |text| copy(text.as_bytes()), |text| copy(text.as_bytes());
    Cow<'_, str>: |text| copy(text.as_bytes()), |text| Content::Bytes(text.into_owned().into());
    Cow<'_, [u8]>: |bytes| copy(bytes), |bytes| Content::Bytes(bytes.into_owned().into());
    Bytes: |bytes| Content::Bytes(bytes.clone()), |bytes| Content::Bytes(bytes);
    Utf8Bytes: |text| copy(text.as_bytes()), |text| Content::Bytes(text.into_bytes());
    RequestBody: |body| Content::Bytes(body.clone().into()), |body| Content::Bytes(body.into());
    PathBuf: |path| Content::File(FileBody::new(path)), |path| Content::File(FileBody::new(path));
    FileBody: |file| Content::File(file.clone()), |file| Content::File(file);
    Body: |body| body.0.clone(), |body| body.0;
}

impl<const N: usize> ToBody for [u8; N] {
    fn to_body(&self) -> Body {
        Body(copy(self))
    }
}

impl<const N: usize> IntoBody for [u8; N] {
    fn into_body(self) -> Body {
        Body(copy(&self))
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Content::Bytes(left), Content::Bytes(right)) => left == right,
            (Content::File(left), Content::File(right)) => left == right,
            // A stream is equal only to itself.
            (Content::Stream(left), Content::Stream(right)) => Arc::ptr_eq(left, right),
            _ => false,
        }
    }
}

impl Eq for Body {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_clients_stay_below_the_root() {
        for inside in ["a", "a/b.txt", "a//b", "a/./b", "..a", "a..", "ä"] {
            assert!(FileBody::within("root", inside).is_some(), "{inside}");
        }
        for outside in [
            "", "..", "../a", "a/../b", "a/..", "/a", "//a", "./a", "a\0b", "a\\b", "..\\a", "C:",
            "a:b",
        ] {
            assert!(FileBody::within("root", outside).is_none(), "{outside}");
        }
    }

    #[test]
    fn types_follow_names() {
        for (name, expected) in [
            ("a.html", "text/html; charset=utf-8"),
            ("a.PNG", "image/png"),
            ("a.json", "application/json"),
            ("a.unheard-of", "application/octet-stream"),
            ("a", "application/octet-stream"),
        ] {
            assert_eq!(FileBody::new(name).content_type(), expected);
        }
    }

    #[test]
    fn owned_bytes_are_not_copied() {
        let bytes = vec![1_u8, 2];
        let start = bytes.as_ptr();
        let Body(Content::Bytes(body)) = bytes.into_body() else {
            panic!("bytes stay bytes");
        };
        assert_eq!(body.as_ptr(), start);
    }
}
