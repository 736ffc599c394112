//! The border to the tower ecosystem: services under a path of ours, and our server inside other stacks.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use axum::{Extension, Json, Router, extract::Path, routing};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderValue, Request as HttpRequest, Response as HttpResponse, StatusCode, Version};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use hyperlane::{
    __private::{Guard, GuardKind},
    BodyStream, RouteParams,
    prelude::*,
    service::{ClientAddr, HyperlaneService, OriginalUri, PeerAddr},
};
use test_support::{CLOSE, Client, PATIENCE, address, eventually, hook, start};
use tokio::{sync::Notify, time::timeout};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::{
    compression::CompressionLayer, cors::CorsLayer, limit::RequestBodyLimitLayer,
    services::ServeDir,
};

mod hosted;
mod mounted;

const MIB: usize = 1024 * 1024;

/// Size of one piece of a test's body.
const PIECE: usize = 64 * 1024;

/// A body of pieces that counts the pieces that were asked for.
struct Counted {
    left: usize,
    length: Option<u64>,
    given: Arc<AtomicUsize>,
}

impl Counted {
    fn new(total: usize, given: &Arc<AtomicUsize>) -> Self {
        Self {
            left: total,
            length: None,
            given: given.clone(),
        }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let count = self.left.min(PIECE);
        self.left -= count;
        self.given.fetch_add(count, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(vec![b'x'; count].into()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A body that never yields anything.
struct Silent;

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

type Answer = HttpResponse<Full<Bytes>>;

fn answer(text: impl Into<String>) -> Answer {
    HttpResponse::new(Full::from(text.into()))
}

/// Answers with the parts of the request.
async fn tell(request: HttpRequest<BodyStream>) -> Result<Answer, Infallible> {
    let original = &request.extensions().get::<OriginalUri>().unwrap().0;
    let client = request.extensions().get::<ClientAddr>().unwrap().0;
    let peer = request.extensions().get::<PeerAddr>().unwrap().0;
    assert!(client.is_loopback() && peer.ip() == client);
    assert_eq!(request.headers()["host"], "localhost");
    Ok(answer(format!(
        "{} {} of {original}",
        request.method(),
        request.uri()
    )))
}

/// Runs every task of this runtime that is ready.
async fn settle() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}

hook! {
    Hello |_, ctx| { ctx.get_mut_response().set_body("hello"); }
    Before |_, ctx| { ctx.get_mut_response().set_header("x-before", "ours").set_header("vary", "a").set_header("x-both", "ours"); }
    After |_, ctx| { ctx.get_mut_response().set_header("x-after", "ours"); }
}

/// Checks CORS and compression, on either side of the border.
async fn check_layers(client: &mut Client, target: &str, text: &str) {
    client
        .request(
            "OPTIONS",
            target,
            "origin: https://example.org\r\naccess-control-request-method: GET\r\n",
        )
        .await;
    let preflight = client.reply().await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("*"));
    client
        .request(
            "GET",
            target,
            "origin: https://example.org\r\naccept-encoding: gzip\r\n",
        )
        .await;
    let packed = client.reply().await;
    assert_eq!(packed.header("access-control-allow-origin"), Some("*"));
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.header("content-length"), None);
    assert!(packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() < text.len() / 4);
    assert_eq!(client.get(target).await.text(), text);
}
