//! Connections whose clients begin to speak HTTP/2.

use super::app::App;
use crate::{Stream, conn::end::Ending, error::RequestError};
#[cfg(feature = "http2")]
use crate::{conn::link::Link, proto::http::head::HeadError};

/// Hands the socket of a connection over to a task that speaks HTTP/2. Returns false if the socket is closed.
#[cfg(feature = "http2")]
pub(crate) type HandOver = Box<dyn Fn(&Link) -> bool + Send + Sync>;

impl App {
    /// Returns whether an error means that a client begins to speak HTTP/2, and the server speaks it too.
    pub(crate) fn is_http2(&self, stream: &Stream, error: &RequestError) -> bool {
        #[cfg(feature = "http2")]
        return *error == RequestError::Head(HeadError::Http2Preface)
            && stream.exchange.wire.is_first()
            && self.http2.get().is_some();
        #[cfg(not(feature = "http2"))]
        {
            let _ = (stream, error);
            false
        }
    }

    /// Hands a connection over to a task that speaks HTTP/2, and returns the end of the connection's own task.
    pub(crate) fn hand_over(&self, stream: &Stream) -> Ending {
        #[cfg(feature = "http2")]
        if let Some(hand_over) = self.http2.get()
            && hand_over(stream.connection())
        {
            return Ending::HandedOver;
        }
        let _ = stream;
        Ending::Abort
    }
}
