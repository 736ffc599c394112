//! [`BodyStream`] as a body of the crate `http-body`.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{BodyStream, Rest, stream::Source};
use crate::error::RequestError;

/// All frames are data frames. Services of other stacks get no trailers.
impl http_body::Body for BodyStream {
    type Data = Bytes;
    type Error = RequestError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        futures_core::Stream::poll_next(self, cx).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
            || match &self.source {
                Source::Buffered(bytes, _) => bytes.is_empty(),
                Source::Incoming(reader) => {
                    let state = reader.0.lock();
                    state.is_done() && state.failed.is_none() && !state.request_over
                }
            }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            _ if self.ended => SizeHint::with_exact(0),
            Source::Buffered(bytes, _) => SizeHint::with_exact(bytes.len() as u64),
            Source::Incoming(reader) => match reader.0.lock().rest {
                Rest::Length(rest) => SizeHint::with_exact(rest),
                Rest::Chunked(_) | Rest::UntilEnd => SizeHint::default(),
                Rest::Done => SizeHint::with_exact(0),
            },
        }
    }
}
