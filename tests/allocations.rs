//! Allocations of a steady server: what a request, a message and a delivery may cost.
//!
//! A binary of its own, because the crate that counts replaces the allocator of its process. It counts per thread, and
//! the server runs on the thread of the test. The clients are threads of their own.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
};

use hyperlane::prelude::*;
use tokio::{runtime, sync::oneshot};

/// Operations before the count, so that buffers, tables and lists have their size.
const WARM: u32 = 50;
const COUNTED: u32 = 200;

/// Allocations of the runtime and the server's clock during a count.
const SLACK: u64 = 20;

#[get("/plaintext")]
async fn plaintext() -> &'static str {
    "Hello, World!"
}

#[get("/echo")]
#[is_ws_upgrade_type]
async fn echo(stream: &mut Stream, ctx: &mut Context) -> Status {
    if let Ok(socket) = ctx.upgrade(stream).await {
        while let Ok(message) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    }
    Status::Continue
}

#[get("/room")]
#[is_ws_upgrade_type]
async fn talk(stream: &mut Stream, ctx: &mut Context) -> Status {
    if let (Ok(socket), Ok(room)) = (ctx.upgrade(stream).await, ctx.room("room"))
        && room.join(&socket).await.is_ok()
    {
        while let Ok(message) = socket.recv().await {
            room.broadcast(message).await.unwrap();
        }
    }
    Status::Continue
}

#[hyperlane(server: Server)]
async fn start() -> ServerControlHook {
    server.bind("127.0.0.1:0").run().await.unwrap()
}

/// Runs a server on this thread and a client on another. Returns the allocations of the server during the counted
/// rounds of the client.
fn count(connect: impl FnOnce(SocketAddr) -> Box<dyn FnMut() + Send> + Send + 'static) -> u64 {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let control = runtime.block_on(start());
    let address = control.local_addr().unwrap();
    let (warm, is_warm) = oneshot::channel();
    let (go, may_go) = std::sync::mpsc::channel();
    let (done, is_done) = oneshot::channel();
    let client = thread::spawn(move || {
        let mut round = connect(address);
        (0..WARM).for_each(|_| round());
        warm.send(()).unwrap();
        may_go.recv().unwrap();
        (0..COUNTED).for_each(|_| round());
        done.send(()).unwrap();
        round
    });
    runtime.block_on(is_warm).unwrap();
    go.send(()).unwrap();
    let counted = allocation_counter::measure(|| runtime.block_on(is_done).unwrap());
    drop(client.join());
    counted.count_total
}

fn read_exact(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read_exact(stream, 1));
    }
    head
}

fn websocket(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert!(read_head(&mut stream).starts_with(b"HTTP/1.1 101"));
    stream
}

/// A masked text frame of 64 bytes, whose masking key is zero.
fn frame() -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | 64, 0, 0, 0, 0];
    frame.resize(6 + 64, b'a');
    frame
}

#[test]
fn a_request_allocates_the_future_of_its_hook() {
    let allocations = count(|address| {
        let mut stream = TcpStream::connect(address).unwrap();
        Box::new(move || {
            let request = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
            stream.write_all(request).unwrap();
            read_head(&mut stream);
            assert_eq!(read_exact(&mut stream, 13), b"Hello, World!");
        })
    });
    assert!(allocations <= u64::from(COUNTED) + SLACK, "{allocations}");
}

#[test]
fn an_echo_allocates_its_message() {
    let allocations = count(|address| {
        let mut stream = websocket(address, "/echo");
        let frame = frame();
        Box::new(move || {
            stream.write_all(&frame).unwrap();
            read_exact(&mut stream, 66);
        })
    });
    assert!(allocations <= u64::from(COUNTED) + SLACK, "{allocations}");
}

#[test]
fn a_delivery_allocates_nothing() {
    let of = |members: usize| {
        count(move |address| {
            let mut streams: Vec<_> = (0..members).map(|_| websocket(address, "/room")).collect();
            let frame = frame();
            Box::new(move || {
                streams[0].write_all(&frame).unwrap();
                for stream in &mut streams {
                    read_exact(stream, 66);
                }
            })
        })
    };
    // All of them are members of one shard.
    let (few, many) = (of(2), of(30));
    assert!(many <= few + SLACK, "{few} with 2 members, {many} with 30");
}
