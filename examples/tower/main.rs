//! Both directions of the bridge to tower: a hyperlane server that mounts tower services under its paths, and a
//! hyperlane server as a service in an axum application.
//!
//! ```text
//! cargo run --example tower [-- 127.0.0.1:8080 [127.0.0.1:8081 [folder]]]
//! curl http://127.0.0.1:8080/api/items/7                       # axum, under a path
//! curl --compressed -i -H 'Origin: https://example.org' http://127.0.0.1:8080/api/items
//! curl -r 0-99 http://127.0.0.1:8080/static/Cargo.toml         # tower-http, files of the folder
//! curl -N http://127.0.0.1:8080/clock                          # events, by a route of the server's own
//! curl -N http://127.0.0.1:8081/live/clock                     # the same server, inside axum
//! ```
//!
//! A WebSocket echo is at `ws://127.0.0.1:8080/echo` and at `ws://127.0.0.1:8081/live/echo`.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Path, Request as AxumRequest},
    middleware::Next,
    response::Response as AxumResponse,
    routing,
};
use hyperlane::{prelude::*, service::PeerAddr};
use tower::ServiceBuilder;
use tower_http::{compression::CompressionLayer, cors::CorsLayer, services::ServeDir};

#[get("/clock")]
async fn clock(stream: &mut Stream, ctx: &mut Context) -> Result<(), ResponseError> {
    let events = ctx.event_stream(stream).await?;
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    for second in 0_u64.. {
        tokio::select! {
            _ = seconds.tick() => {}
            // The client has disconnected, or the server shuts down.
            () = events.closed() => break,
        }
        if events.send(second.to_string()).await.is_err() {
            break;
        }
    }
    Ok(())
}

#[get("/echo")]
#[is_ws_upgrade_type]
async fn echo(stream: &mut Stream, ctx: &mut Context) -> Result<(), RequestError> {
    let socket = ctx.upgrade(stream).await?;
    while let Ok(message) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}

#[get("/peer")]
async fn peer(ctx: &mut Context) -> impl IntoResponse {
    format!("{:?}\n", ctx.peer_addr())
}

/// Returns an axum application. It does not depend on hyperlane.
fn api() -> Router {
    Router::new()
        .route(
            "/items",
            routing::get(|| async { Json((0..100).collect::<Vec<u32>>()) }),
        )
        .route(
            "/items/{id}",
            routing::get(|Path(id): Path<u32>| async move { Json([id]) }),
        )
}

/// Passes the client's address to the hyperlane server. axum stores the address as [`ConnectInfo`], and the hyperlane
/// server reads it as [`PeerAddr`].
async fn with_peer(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: AxumRequest,
    next: Next,
) -> AxumResponse {
    request.extensions_mut().insert(PeerAddr(peer));
    next.run(request).await
}

#[hyperlane(server: Server, hosted: Server)]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let mut args = std::env::args().skip(1);
    let outer = args.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let inner = args.next().unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    let folder = args.next().unwrap_or_else(|| ".".to_owned());

    // The first server mounts an axum application and a file service under its paths.
    let layered = ServiceBuilder::new()
        .layer(CorsLayer::permissive())
        .layer(CompressionLayer::new())
        .service(api());
    server
        .bind(&outer)
        .mount("/api", layered)
        .mount("/static", ServeDir::new(folder));
    let control = server.run().await?;

    // The second server is a service under a path of an axum application.
    let hosted = hosted.into_service()?;
    let router = Router::new()
        .route("/", routing::get(|| async { "axum\n" }))
        .nest_service("/live", hosted.clone())
        .layer(axum::middleware::from_fn(with_peer));
    let listener = tokio::net::TcpListener::bind(&inner).await?;
    tracing::info!("http://{outer} and http://{inner}");
    let serving = axum::serve(
        listener,
        router.into_make_service_with_connect_info::<SocketAddr>(),
    );
    serving
        .with_graceful_shutdown(async move {
            // If the signal handler cannot be installed, both servers shut down at once.
            let _ = tokio::signal::ctrl_c().await;
            tokio::join!(control.shutdown(), hosted.shutdown());
        })
        .await?;
    Ok(())
}
