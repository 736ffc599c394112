//! The bridge to the `tower` ecosystem, in both directions (feature `tower`).
//!
//! [`Server::mount`](crate::Server::mount) and [`Server::fallback_service`](crate::Server::fallback_service) pass
//! requests to any `tower::Service` over the types of crate `http`, such as an axum `Router`,
//! `tower_http::services::ServeDir`, or a stack of layers. [`Server::into_service`](crate::Server::into_service)
//! converts a whole server to such a service. Another stack can then contain the server. Bodies are streamed with
//! backpressure in both directions.
//!
//! [`OriginalUri`], [`PeerAddr`] and [`ClientAddr`] are extensions of the requests that a service gets. A converted
//! server reads [`PeerAddr`] from the requests that it gets.

mod hosted;
mod mount;
mod pipe;
mod response;
mod switch;

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use http::{HeaderMap, HeaderName, Uri, header};

pub use self::{
    hosted::{HyperlaneService, ServiceFuture},
    pipe::{ServiceBody, ServiceError},
};
use crate::http::list_items;

/// An error of a service or of a body that another crate implements.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The request's original URI. It still has the prefix that [`mount`](crate::Server::mount) removes from the URI of the
/// request.
///
/// Every request to a mounted service has this extension.
///
/// ```
/// use hyperlane_core::service::OriginalUri;
///
/// fn log<B>(request: &http::Request<B>) {
///     if let Some(OriginalUri(uri)) = request.extensions().get() {
///         println!("{uri}, which is {} to us", request.uri());
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalUri(pub Uri);

/// The address of the peer, the other end of the socket. Behind proxies, this is the last proxy.
///
/// A request to a mounted service has this extension if the peer has an address. In a request to a
/// [`HyperlaneService`], the extension determines the result of [`Context::peer_addr`](crate::Context::peer_addr).
///
/// ```
/// use std::net::SocketAddr;
///
/// use hyperlane_core::service::PeerAddr;
///
/// // Middleware in front of a `HyperlaneService`: other servers use their own types for the address.
/// fn with_peer<B>(mut request: http::Request<B>, peer: SocketAddr) -> http::Request<B> {
///     request.extensions_mut().insert(PeerAddr(peer));
///     request
/// }
/// # with_peer(http::Request::new(()), "192.0.2.1:80".parse().unwrap());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// The address of the client behind trusted proxies, as [`Context::client_addr`](crate::Context::client_addr) returns
/// it.
///
/// A request to a mounted service has this extension if the client's address is known.
///
/// ```
/// use hyperlane_core::service::ClientAddr;
///
/// fn is_local<B>(request: &http::Request<B>) -> bool {
///     let client = request.extensions().get::<ClientAddr>();
///     client.is_some_and(|client| client.0.is_loopback())
/// }
/// # assert!(!is_local(&http::Request::new(())));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddr(pub IpAddr);

/// The names that the field `Connection` of a message lists. The fields with these names concern a single connection
/// and are not forwarded (RFC 9110 §7.6.1). The same holds for the fields in [`is_always_of_connection`].
struct HopByHop(Vec<String>);

impl HopByHop {
    /// Collects the names that the field `Connection` lists.
    fn of(headers: &HeaderMap) -> Self {
        let named = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(list_items)
            .map(str::to_ascii_lowercase)
            .collect();
        Self(named)
    }

    fn names(&self, token: &str) -> bool {
        self.0.iter().any(|named| named == token)
    }

    fn has(&self, name: &HeaderName) -> bool {
        is_always_of_connection(name) || self.names(name.as_str())
    }
}

/// Returns whether a field always concerns a single connection, even if `Connection` does not list it.
fn is_always_of_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "transfer-encoding"
            | "trailer"
            | "upgrade"
    )
}

pin_project_lite::pin_project! {
    /// A stream of the data of a body, without the trailers.
    struct Pieces<B> {
        #[pin]
        body: B,
    }
}

impl<B> Stream for Pieces<B>
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut body = self.project().body;
        loop {
            let frame = match ready!(body.as_mut().poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => frame,
            };
            // In chunked coding, an empty chunk means the end of the body, so empty data is skipped.
            if let Ok(mut data) = frame.into_data()
                && data.has_remaining()
            {
                return Poll::Ready(Some(Ok(data.copy_to_bytes(data.remaining()))));
            }
        }
    }
}

/// Returns the value of `Content-Length`. Returns `None` if the field is missing, repeated or invalid.
fn stated_length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let digits = lengths.next()?.as_bytes();
    if lengths.next().is_some() {
        return None;
    }
    crate::proto::http::decimal(digits).ok()
}
