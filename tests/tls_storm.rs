//! A storm of TLS handshakes beside an open connection, and a reload under load.
//!
//! `STORM_SECONDS=10 cargo test --release --test tls_storm -- --nocapture --test-threads=1` prints the echo times of
//! the open connection without the storm and with it. The clients of the storm compute as much as the server. In
//! production, clients are on other machines. So they run at the lowest priority here, to leave the processor to the
//! server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hyperlane::prelude::*;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use test_support::{Authority, handler};

/// The number of threads of the storm.
const CLIENTS: usize = 8;

handler!(Hello, |_stream, ctx| {
    ctx.get_mut_response().set_body("hello");
});

fn seconds() -> Duration {
    let seconds = std::env::var("STORM_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(0.3))
}

fn connect(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let session = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(session, stream)
}

/// Sends a request and reads the answer.
fn exchange(wire: &mut (impl Read + Write)) {
    wire.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while !answer.ends_with(b"hello") {
        let count = wire.read(&mut piece).unwrap();
        assert!(count > 0, "the server ended the connection");
        answer.extend_from_slice(&piece[..count]);
    }
}

/// Sends requests on an open connection for [`seconds`], and measures the time until each answer. Returns the median
/// and the 99th percentile.
fn echoes(wire: &mut (impl Read + Write)) -> (Duration, Duration) {
    let mut times = Vec::new();
    let end = Instant::now() + seconds();
    while Instant::now() < end {
        let begun = Instant::now();
        exchange(wire);
        times.push(begun.elapsed());
        thread::sleep(Duration::from_millis(1));
    }
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Runs `during` while clients shake hands as fast as they can. Returns its result and the number of handshakes.
fn storm<R>(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    during: impl FnOnce() -> R,
) -> (R, u64) {
    let (over, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (over, count, config) = (over.clone(), count.clone(), config.clone());
            thread::spawn(move || {
                rustix::process::nice(19).unwrap();
                while !over.load(Ordering::Relaxed) {
                    exchange(&mut connect(address, &config));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let result = during();
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("every handshake succeeds");
    }
    (result, count.load(Ordering::Relaxed))
}

/// A client that resumes no session.
fn forgetful(authority: &Authority) -> Arc<ClientConfig> {
    let mut config = authority.client(None);
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_connection_is_served_during_a_storm() {
    let authority = Authority::new();
    let mut server = Server::new();
    server
        .bind_tls("127.0.0.1:0", authority.issue(&["localhost"]).tls())
        .route::<Hello>("/");
    let control = server.run().await.unwrap();
    let address = control.tls_addr().unwrap();
    let config = forgetful(&authority);
    let measured = tokio::task::spawn_blocking(move || {
        let mut open = connect(address, &config);
        let calm = echoes(&mut open);
        let (stormy, count) = storm(address, &config, || echoes(&mut open));
        (calm, stormy, count)
    });
    let (calm, stormy, count) = measured.await.unwrap();
    println!(
        "echo p50 {:?} p99 {:?}; during {:.0} handshakes/s p50 {:?} p99 {:?} ({:.1}x)",
        calm.0,
        calm.1,
        count as f64 / seconds().as_secs_f64(),
        stormy.0,
        stormy.1,
        stormy.1.as_secs_f64() / calm.1.as_secs_f64(),
    );
    assert!(count > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_under_load_drops_nothing() {
    let authority = Authority::new();
    let certificates = [
        authority.issue(&["localhost"]),
        authority.issue(&["localhost"]),
    ];
    let mut server = Server::new();
    server
        .bind_tls("127.0.0.1:0", certificates[0].tls())
        .route::<Hello>("/");
    let control = server.run().await.unwrap();
    let address = control.tls_addr().unwrap();
    let config = forgetful(&authority);
    let done = Arc::new(AtomicBool::new(false));
    let loaded = {
        let done = done.clone();
        tokio::task::spawn_blocking(move || {
            let mut open = connect(address, &config);
            // A failed handshake or request is a panic.
            let (echoes, handshakes) = storm(address, &config, || echoes(&mut open));
            done.store(true, Ordering::Relaxed);
            (echoes, handshakes)
        })
    };
    let mut reloads = 0;
    while !done.load(Ordering::Relaxed) {
        reloads += 1;
        control
            .replace_tls(certificates[reloads % 2].tls())
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
    let (_, handshakes) = loaded.await.unwrap();
    println!("{reloads} reloads during {handshakes} handshakes: no failure");
    assert!(reloads > 1 && handshakes > 0);
}
