//! What TLS costs: CPU time per request, and bytes per idle connection.
//!
//! This is a binary of its own, because the crate `allocation_counter` replaces the allocator of its process. Bytes and
//! CPU time are counted per thread, so the server runs on a thread of its own. The bounds are rough, because they must
//! hold in a debug build too. To measure, run `TLS_REQUESTS=200000 cargo test --release --test tls_cost -- --nocapture
//! --test-threads=1`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, mpsc},
    thread,
};

use hyperlane::{ServerConfig, TlsConfig, prelude::*};
use test_support::handler;
use tokio::{runtime::Builder, sync::oneshot};

/// The most that an idle connection may hold beyond one without TLS, in bytes.
const MOST_BYTES: i64 = 8 * 1024;

const IDLE: usize = 64;

handler!(Hello, |_stream, ctx| {
    ctx.get_mut_response().set_body("Hello, World!");
});

/// Returns the CPU time of this thread, in nanoseconds.
fn cpu_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = stat.split_whitespace().next();
    first.and_then(|text| text.parse().ok()).unwrap_or_default()
}

handler!(Cpu, |_stream, ctx| {
    ctx.get_mut_response().set_body(cpu_time().to_string());
});

/// A certificate for `localhost`, and the configuration of a client that trusts it.
struct Identity {
    tls: TlsConfig,
    client: Arc<rustls::ClientConfig>,
}

fn identity() -> Identity {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Identity {
        tls: TlsConfig::pem(made.cert.pem(), made.signing_key.serialize_pem()),
        client: Arc::new(client),
    }
}

/// A client with TLS or without.
trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

fn connect(address: SocketAddr, tls: Option<Arc<rustls::ClientConfig>>) -> Box<dyn Wire> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    match tls {
        None => Box::new(stream),
        Some(config) => {
            let name = "localhost".try_into().unwrap();
            let session = rustls::ClientConnection::new(config, name).unwrap();
            Box::new(rustls::StreamOwned::new(session, stream))
        }
    }
}

/// Sends a request and returns the body of the answer.
fn get(wire: &mut dyn Wire, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    wire.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let count = wire.read(&mut piece).unwrap();
        assert!(count > 0, "the server ended the connection");
        answer.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if length.and_then(|length| length.parse().ok()) == Some(body.len()) {
                return body.to_owned();
            }
        }
    }
}

/// Runs a server on a thread of its own, and a client on this one. Returns the result of `client`, and the bytes that
/// the server holds when `client` returns. Connections in the result are still open then, so they count.
fn with_server<R>(tls: Option<TlsConfig>, client: impl FnOnce(SocketAddr) -> R) -> (R, i64) {
    let (address, started) = mpsc::channel();
    let (end, ended) = oneshot::channel::<()>();
    let server = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let held = allocation_counter::measure(|| {
            runtime.block_on(async {
                let mut server = Server::new();
                server.server_config(ServerConfig::default().max_connections_per_address(10_000));
                match tls {
                    Some(tls) => server.bind_tls("127.0.0.1:0", tls),
                    None => server.bind("127.0.0.1:0"),
                };
                server.route::<Hello>("/").route::<Cpu>("/cpu");
                let control = server.run().await.unwrap();
                address.send(control.local_addr().unwrap()).unwrap();
                let _ = ended.await;
            });
        });
        held.bytes_current
    });
    let result = client(started.recv().unwrap());
    let _ = end.send(());
    (result, server.join().unwrap())
}

/// Returns the bytes that a server holds with `count` idle connections, each after three requests.
fn idle(identity: Option<&Identity>, count: usize) -> i64 {
    let tls = identity.map(|identity| identity.tls.clone());
    let (clients, held) = with_server(tls, |address| {
        let clients: Vec<_> = (0..count)
            .map(|_| {
                let mut wire = connect(address, identity.map(|identity| identity.client.clone()));
                for _ in 0..3 {
                    assert_eq!(get(&mut *wire, "/"), "Hello, World!");
                }
                wire
            })
            .collect();
        thread::sleep(std::time::Duration::from_millis(300));
        clients
    });
    drop(clients);
    held
}

#[test]
fn an_idle_connection_holds_little_more_with_tls() {
    let identity = identity();
    let per = |identity: Option<&Identity>| {
        // The difference of two runs leaves out what the server itself holds.
        let (few, many) = (idle(identity, IDLE), idle(identity, 2 * IDLE));
        (many - few) / i64::try_from(IDLE).unwrap()
    };
    let (plain, tls) = (per(None), per(Some(&identity)));
    println!("bytes per idle connection: {plain} plain, {tls} over TLS");
    assert!(plain > 0 && tls > plain);
    assert!(tls - plain <= MOST_BYTES, "{} bytes more", tls - plain);
}

/// Returns the CPU time of the server per request, in nanoseconds.
fn per_request(identity: Option<&Identity>, count: u64) -> u64 {
    let tls = identity.map(|identity| identity.tls.clone());
    let (spent, _) = with_server(tls, |address| {
        let mut wire = connect(address, identity.map(|identity| identity.client.clone()));
        for _ in 0..1000 {
            get(&mut *wire, "/");
        }
        let before: u64 = get(&mut *wire, "/cpu").parse().unwrap();
        for _ in 0..count {
            get(&mut *wire, "/");
        }
        let after: u64 = get(&mut *wire, "/cpu").parse().unwrap();
        after - before
    });
    spent / count
}

#[test]
fn a_request_costs_little_more_with_tls() {
    let count = std::env::var("TLS_REQUESTS").ok();
    let count = count.and_then(|count| count.parse().ok()).unwrap_or(1000);
    let identity = identity();
    let mut more = Vec::new();
    for _ in 0..3 {
        let (plain, tls) = (
            per_request(None, count),
            per_request(Some(&identity), count),
        );
        println!("ns of CPU per request: {plain} plain, {tls} over TLS");
        more.push(tls.saturating_sub(plain));
    }
    more.sort_unstable();
    assert!(more[1] <= 100_000, "{more:?} ns more");
}
