//! Forms with files (`multipart/form-data`, RFC 7578), part by part.

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

/// What may be read without coming to a part, or on in one: two pieces of a body. It bounds the header of a part and
/// what stands before the first.
const MAX_HEADER: usize = 128 * 1024;

/// A form, part by part; made by [`Context::multipart`](crate::Context::multipart).
///
/// Nothing is read ahead of the part that is asked for; memory stays bounded whatever the client sends, as long as the
/// program does not collect it.
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
    /// Dropped before the next one is asked for.
    field: Option<multer::Field<'static>>,
    /// Of the part that was asked for last.
    disposition: Disposition,
    since_progress: Arc<AtomicUsize>,
}

impl Multipart {
    pub(crate) fn new(content_type: &str, body: BodyStream) -> Result<Self, RequestError> {
        let boundary = multer::parse_boundary(content_type).map_err(|error| match error {
            multer::Error::NoBoundary => {
                RequestError::Multipart("the content type names no boundary".to_owned())
            }
            _ => RequestError::ContentType {
                expected: "multipart/form-data",
            },
        })?;
        let since_progress = Arc::new(AtomicUsize::new(0));
        let paced = Paced {
            body,
            since_progress: since_progress.clone(),
            rests: false,
        };
        Ok(Self {
            form: multer::Multipart::new(paced, boundary),
            field: None,
            disposition: Disposition::default(),
            since_progress,
        })
    }

    /// Waits for the next part; what is left of the one before is skipped. `None` after the last.
    ///
    /// # Errors
    /// [`RequestError::Multipart`] if the form is malformed or breaks off, [`RequestError::BodyTooLarge`] and others as
    /// for [`BodyStream::next_chunk`].
    ///
    /// # Cancel safety
    /// Cancel safe: asked again, it goes on.
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

/// One part of a form.
#[derive(Debug)]
pub struct Field<'f> {
    form: &'f mut Multipart,
}

impl Field<'_> {
    fn inner(&self) -> Option<&multer::Field<'static>> {
        self.form.field.as_ref()
    }

    /// The name of the input that it comes from, with U+FFFD for what is not UTF-8.
    pub fn name(&self) -> Option<&str> {
        self.form.disposition.name.as_deref()
    }

    /// The name of the file as the client has it, with U+FFFD for what is not UTF-8; from `filename`, else from
    /// `filename*` (RFC 8187). Never a path to write to: it says what the client likes.
    ///
    /// `None` for a part that is no file. Empty, with an empty content, where a browser's form has an input for files
    /// and none was chosen.
    pub fn file_name(&self) -> Option<&str> {
        self.form.disposition.file_name.as_deref()
    }

    /// The type as the client says it.
    pub fn content_type(&self) -> Option<&str> {
        self.inner()?.headers().get("content-type")?.to_str().ok()
    }

    /// Waits for the next piece of its content; `None` after the last.
    ///
    /// # Errors
    /// As for [`Multipart::next_field`].
    ///
    /// # Cancel safety
    /// Cancel safe: no byte is lost.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, RequestError> {
        self.form.next_chunk().await
    }

    /// Reads all that is left of its content.
    ///
    /// # Errors
    /// [`RequestError::FieldTooLarge`] beyond `limit` bytes, else as for [`Multipart::next_field`].
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

    /// Reads all that is left of its content as text.
    ///
    /// # Errors
    /// [`RequestError::Multipart`] if it is not UTF-8, else as for [`read_to_end`](Self::read_to_end).
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

/// The parser reads as long as something is there, and keeps all of it: this gives one piece a time, and no more
/// than a header may have.
struct Paced {
    body: BodyStream,
    since_progress: Arc<AtomicUsize>,
    rests: bool,
}

impl Stream for Paced {
    type Item = Result<Bytes, RequestError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rests) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = ready!(Pin::new(&mut self.body).poll_next(cx));
        if let Some(Ok(piece)) = &piece {
            self.rests = true;
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
