//! The endpoints of `bench_server` that `cargo xtask http2-cost` measures, on hyper's HTTP/2 and on axum.
//!
//! `http2-peer hyper` answers requests, `http2-peer axum` serves event streams. Both print where they listen.

use std::convert::Infallible;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::sse::{Event, Sse},
    routing::{get, post},
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::broadcast};
use tokio_stream::{Stream, StreamExt, wrappers::BroadcastStream};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    match std::env::args().nth(1).as_deref() {
        Some("hyper") => hyper(listener).await,
        _ => axum(listener).await,
    }
}

async fn hyper(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service_fn(answer)),
        );
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/kilobyte" => Bytes::from_static(&[b'x'; 1024]),
        _ => Bytes::from_static(b"Hello, World!"),
    };
    let mut response = Response::new(Full::new(body));
    let kind = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}

async fn axum(listener: TcpListener) -> std::io::Result<()> {
    let (events, _) = broadcast::channel::<String>(1024);
    let router = Router::new()
        .route("/sse", get(follow))
        .route("/publish", post(publish))
        .with_state(events);
    let listener = axum::serve::ListenerExt::tap_io(listener, |socket| {
        // Small messages are not delayed. A socket that has failed is found by the first read.
        let _ = socket.set_nodelay(true);
    });
    axum::serve(listener, router).await
}

async fn follow(
    State(events): State<broadcast::Sender<String>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = BroadcastStream::new(events.subscribe());
    Sse::new(events.filter_map(|event| Some(Ok(Event::default().data(event.ok()?)))))
}

async fn publish(State(events): State<broadcast::Sender<String>>, text: String) -> StatusCode {
    // Nobody may follow.
    let _ = events.send(text);
    StatusCode::NO_CONTENT
}
