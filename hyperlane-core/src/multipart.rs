//! Multipart forms (`multipart/form-data`, RFC 7578), part by part.

mod disposition;

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;

use self::disposition::Disposition;
use crate::{BodyStream, RequestError};

/// Maximum number of bytes that the parser may read without producing a part or a piece of content. The limit applies
/// to the header of a part and to the preamble (the bytes before the first part). The value is twice the size of the
/// connection's read buffer (64 KiB).
const MAX_HEADER: usize = 128 * 1024;

/// A multipart form, read part by part. [`Context::multipart`](crate::Context::multipart) creates it.
///
/// The form reads the body only up to the requested part. As long as the program does not collect the parts, a client
/// cannot make the server use unbounded memory.
///
/// ```
/// use hyperlane_core::{Context, RequestError};
///
/// async fn upload(ctx: &mut Context) -> Result<String, RequestError> {
///     let mut form = ctx.multipart()?;
///     let mut size = 0;
///     while let Some(mut field) = form.next_field().await? {
///         if field.name() == Some("file") {
///             while let Some(piece) = field.next_chunk().await? {
///                 size += piece.len();
///             }
///         }
///     }
///     Ok(format!("{size} bytes"))
/// }
/// ```
pub struct Multipart {
    form: multer::Multipart<'static>,
    /// The current part. It is dropped before the form reads the next part.
    field: Option<multer::Field<'static>>,
    /// The `Content-Disposition` of the current part.
    disposition: Disposition,
    since_progress: Arc<AtomicUsize>,
}

impl crate::Context {
    /// Returns a reader of the body as a form with files (`multipart/form-data`, RFC 7578), part by part. If the route
    /// reads its body as a stream, parts of any size arrive piece by piece. Otherwise the server has already read the
    /// whole body.
    ///
    /// # Errors
    /// Returns [`RequestError::ContentType`] (415) if the body has another or no media type, and
    /// [`RequestError::Multipart`] (400) if the media type names no boundary.
    pub fn multipart(&self) -> Result<Multipart, RequestError> {
        let content_type = self
            .get_request()
            .header("content-type")
            .unwrap_or_default();
        Multipart::new(content_type, self.body_stream())
    }
}

impl Multipart {
    pub(crate) fn new(content_type: &str, body: BodyStream) -> Result<Self, RequestError> {
        let boundary = multer::parse_boundary(content_type).map_err(|error| match error {
            multer::Error::NoBoundary => {
                RequestError::Multipart("the content type has no boundary".to_owned())
            }
            _ => RequestError::ContentType {
                expected: "multipart/form-data",
            },
        })?;
        let since_progress = Arc::new(AtomicUsize::new(0));
        let paced = Paced {
            body,
            since_progress: since_progress.clone(),
            is_paused: false,
        };
        Ok(Self {
            form: multer::Multipart::new(paced, boundary),
            field: None,
            disposition: Disposition::default(),
            since_progress,
        })
    }

    /// Waits for the next part. Skips the unread content of the previous part. Returns `None` after the last part.
    ///
    /// # Errors
    /// Returns [`RequestError::Multipart`] if the form is malformed or incomplete, [`RequestError::BodyTooLarge`] if
    /// the body exceeds its limit, and the other errors of [`BodyStream::next_chunk`].
    ///
    /// # Cancel safety
    /// Cancel safe: the next call continues where the cancelled call stopped.
    pub async fn next_field(&mut self) -> Result<Option<Field<'_>>, RequestError> {
        while self.next_chunk().await?.is_some() {}
        self.field = None;
        match self.form.next_field().await.map_err(to_request_error)? {
            None => Ok(None),
            Some(field) => {
                self.since_progress.store(0, Ordering::Relaxed);
                let said = field.headers().get("content-disposition");
                self.disposition = said
                    .map(|said| Disposition::parse(said.as_bytes()))
                    .unwrap_or_default();
                self.field = Some(field);
                Ok(Some(Field { form: self }))
            }
        }
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, RequestError> {
        let Some(field) = &mut self.field else {
            return Ok(None);
        };
        let piece = field.chunk().await.map_err(to_request_error)?;
        self.since_progress.store(0, Ordering::Relaxed);
        Ok(piece)
    }
}

impl fmt::Debug for Multipart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multipart").finish_non_exhaustive()
    }
}

/// One part of a multipart form.
#[derive(Debug)]
pub struct Field<'f> {
    form: &'f mut Multipart,
}

impl Field<'_> {
    fn inner(&self) -> Option<&multer::Field<'static>> {
        self.form.field.as_ref()
    }

    /// Returns the name of the form input to which the part belongs. Invalid UTF-8 becomes U+FFFD.
    pub fn name(&self) -> Option<&str> {
        self.form.disposition.name.as_deref()
    }

    /// Returns the name of the file on the client. The name comes from the parameter `filename`, or from `filename*`
    /// (RFC 8187) if `filename` is missing or empty. Invalid UTF-8 becomes U+FFFD. The client chooses the name freely,
    /// so do not use it as a path.
    ///
    /// Returns `None` for a part that is not a file. If the user chose no file for a file input, browsers send an empty
    /// name and an empty content.
    pub fn file_name(&self) -> Option<&str> {
        self.form.disposition.file_name.as_deref()
    }

    /// Returns the media type that the client declared.
    pub fn content_type(&self) -> Option<&str> {
        self.inner()?.headers().get("content-type")?.to_str().ok()
    }

    /// Waits for the next piece of the content. Returns `None` after the last piece.
    ///
    /// # Errors
    /// Returns the same errors as [`Multipart::next_field`].
    ///
    /// # Cancel safety
    /// Cancel safe: no bytes are lost.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, RequestError> {
        self.form.next_chunk().await
    }

    /// Reads the content from the current position to its end.
    ///
    /// # Errors
    /// Returns [`RequestError::FieldTooLarge`] if more than `limit` bytes are left from the current position, or an
    /// error of [`Multipart::next_field`].
    pub async fn read_to_end(&mut self, limit: usize) -> Result<Bytes, RequestError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next_chunk().await? {
            if whole.len() + piece.len() > limit {
                let name = self.name().map(str::to_owned);
                return Err(RequestError::FieldTooLarge { name, limit });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Reads the content from the current position to its end, as text.
    ///
    /// # Errors
    /// Returns [`RequestError::Multipart`] if the read content is not UTF-8, or an error of
    /// [`read_to_end`](Self::read_to_end).
    pub async fn text(&mut self, limit: usize) -> Result<String, RequestError> {
        let bytes = self.read_to_end(limit).await?;
        String::from_utf8(bytes.into()).map_err(|_| {
            RequestError::Multipart(match self.name() {
                Some(name) => format!("`{name}`: it is not UTF-8 text"),
                None => "a part is not UTF-8 text".to_owned(),
            })
        })
    }
}

/// The body of the request, in steps for the parser. After each piece, the body returns `Pending` once: without this
/// pause, the parser would read and keep all available bytes. The body fails after more than `MAX_HEADER` bytes without
/// a new part or a new piece of content.
struct Paced {
    body: BodyStream,
    since_progress: Arc<AtomicUsize>,
    is_paused: bool,
}

impl Stream for Paced {
    type Item = Result<Bytes, RequestError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.is_paused) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = ready!(Pin::new(&mut self.body).poll_next(cx));
        if let Some(Ok(piece)) = &piece {
            self.is_paused = true;
            let known = self
                .since_progress
                .fetch_add(piece.len(), Ordering::Relaxed);
            if known > MAX_HEADER {
                let error = RequestError::Multipart("the header of a part is too large".to_owned());
                return Poll::Ready(Some(Err(error)));
            }
        }
        Poll::Ready(piece)
    }
}

fn to_request_error(error: multer::Error) -> RequestError {
    match error {
        multer::Error::StreamReadFailed(error) => match error.downcast::<RequestError>() {
            Ok(error) => *error,
            Err(error) => RequestError::Multipart(error.to_string()),
        },
        error => RequestError::Multipart(error.to_string()),
    }
}
