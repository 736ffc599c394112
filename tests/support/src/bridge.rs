//! A bridge from HTTP/1.1 to HTTP/2: the tests, which are clients of HTTP/1.1 at byte level, run over HTTP/2 and TLS
//! through it.
//!
//! A connection of the client has a connection to the server of its own. Each request becomes a stream, one after the
//! other. A WebSocket handshake becomes an extended CONNECT (RFC 8441), and then bytes pass both ways. An answer comes
//! back with its length, in chunks, or until the close. A stream that the server resets is a cut of the connection.

mod body;
mod exchange;
mod input;
mod request;
mod tunnel;

use std::{
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use self::{
    exchange::exchange,
    input::{End, Input},
    request::Head,
};
use crate::server::authority;

/// The protocol over which the clients of a run reach their servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// HTTP/1.1, without a bridge.
    Http1,
    /// HTTP/2 with prior knowledge, through the bridge.
    H2c,
    /// HTTP/1.1 over TLS: the bridge adds TLS to the bytes of the client.
    Tls,
    /// HTTP/2 over TLS, chosen in the handshake.
    TlsH2,
}

impl Over {
    /// Returns the protocol that the variable `HYPERLANE_TEST_OVER` names: `http1`, which is also the default, `h2c`,
    /// `tls` or `tls-h2`.
    ///
    /// # Panics
    /// If the variable names another protocol.
    pub fn of_this_run() -> Self {
        static OVER: LazyLock<Over> =
            LazyLock::new(|| match std::env::var("HYPERLANE_TEST_OVER").as_deref() {
                Err(_) | Ok("" | "http1") => Over::Http1,
                Ok("h2c") => Over::H2c,
                Ok("tls") => Over::Tls,
                Ok("tls-h2") => Over::TlsH2,
                Ok(other) => panic!(
                    "HYPERLANE_TEST_OVER is `http1`, `h2c`, `tls` or `tls-h2`, not `{other}`"
                ),
            });
        *OVER
    }

    /// Tells whether servers have to speak TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::TlsH2)
    }

    /// The scheme of addresses.
    fn scheme(self) -> &'static str {
        match self.is_tls() {
            true => "https",
            false => "http",
        }
    }
}

/// The next step of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Wait for another request.
    Request,
    /// End the connection in order.
    Close,
    /// End the connection so that the client sees no regular end of an answer.
    Cut,
}

/// Connects to a server over a protocol, and returns the client's socket. All protocols but HTTP/1.1 need a bridge, which
/// runs in this process.
///
/// # Errors
/// If a connection cannot be opened.
pub async fn connect(address: SocketAddr, over: Over) -> io::Result<TcpStream> {
    match over {
        Over::Http1 => TcpStream::connect(address).await,
        Over::H2c => through(address, serve).await,
        Over::Tls => {
            through(address, |client, server| {
                pass_over_tls(client, server, b"http/1.1")
            })
            .await
        }
        Over::TlsH2 => through(address, serve_over_tls).await,
    }
}

/// Connects for a client that speaks HTTP/2 itself: with prior knowledge, or over TLS if servers of this run speak it.
///
/// # Errors
/// If a connection cannot be opened.
pub async fn http2_socket(address: SocketAddr) -> io::Result<TcpStream> {
    match Over::of_this_run().is_tls() {
        true => {
            through(address, |client, server| {
                pass_over_tls(client, server, b"h2")
            })
            .await
        }
        false => TcpStream::connect(address).await,
    }
}

/// Connects to a server through a task, and returns the client's socket.
async fn through<F>(
    address: SocketAddr,
    task: impl FnOnce(TcpStream, TcpStream) -> F,
) -> io::Result<TcpStream>
where
    F: Future<Output = ()> + Send + 'static,
{
    let server = TcpStream::connect(address).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (client, bridge) = tokio::join!(
        TcpStream::connect(listener.local_addr()?),
        listener.accept()
    );
    tokio::spawn(task(bridge?.0, server));
    client
}

/// Shakes hands with a server of this program ([`BindLocal`](crate::BindLocal)).
async fn tls(server: TcpStream, alpn: &[u8]) -> io::Result<TlsStream<TcpStream>> {
    // Small messages are not delayed. A socket that has failed is found by the handshake.
    let _ = server.set_nodelay(true);
    let mut config = authority().client(None);
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::from(Ipv4Addr::LOCALHOST);
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, server).await
}

/// Passes the bytes of a client on over TLS, both ways. The end of a direction is passed on as one, and so is a reset.
async fn pass_over_tls(mut client: TcpStream, server: TcpStream, alpn: &'static [u8]) {
    let _ = client.set_nodelay(true);
    // Without TLS there is no server for the client.
    let Ok(mut server) = tls(server, alpn).await else {
        return;
    };
    if copy_bidirectional(&mut client, &mut server).await.is_err() {
        // One of both may have gone already.
        let _ = client.set_zero_linger();
        let _ = server.get_ref().0.set_zero_linger();
    }
}

/// As [`serve`], over TLS.
async fn serve_over_tls(client: TcpStream, server: TcpStream) {
    let _ = client.set_nodelay(true);
    let Ok(server) = tls(server, b"h2").await else {
        return;
    };
    let addresses = client.peer_addr().ok().zip(client.local_addr().ok());
    let (reader, output) = client.into_split();
    over_http2(Input::new(reader, addresses), output, server).await;
}

/// Serves the connection of a client of HTTP/1.1 by a connection to a server of HTTP/2, until one of both ends.
pub async fn serve(client: TcpStream, server: TcpStream) {
    // Small messages are not delayed. A socket that has failed is found by the first read.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let addresses = client.peer_addr().ok().zip(client.local_addr().ok());
    let (reader, mut output) = client.into_split();
    let mut input = Input::new(reader, addresses);
    let mut server = server;
    if !pass_proxy_header(&mut input, &mut output, &mut server).await {
        return close(input, output).await;
    }
    over_http2(input, output, server).await;
}

/// Serves the requests of a client by streams of a connection.
async fn over_http2<S>(mut input: Input<OwnedReadHalf>, mut output: OwnedWriteHalf, server: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = h2::client::Builder::new()
        .enable_push(false)
        // A client may read late. The crate would end the connection because of some hundred small messages.
        .data_frame_budget(1 << 30)
        .handshake::<_, Bytes>(server)
        .await;
    let Ok((mut send, connection)) = handshake else {
        return;
    };
    let mut connection = tokio::spawn(async move {
        // The streams report an error of the connection.
        let _ = connection.await;
    });
    loop {
        let next = request(&mut input, &mut output, &mut send, &mut connection).await;
        match next {
            Next::Request => {}
            Next::Close => {
                // The connection to the server ends with its last handle.
                drop(send);
                return close(input, output).await;
            }
            // The end of the socket is the cut.
            Next::Cut => return,
        }
    }
}

/// Waits for a request and serves it.
async fn request(
    input: &mut Input<OwnedReadHalf>,
    output: &mut OwnedWriteHalf,
    send: &mut SendRequest<Bytes>,
    connection: &mut JoinHandle<()>,
) -> Next {
    let head = tokio::select! {
        head = input.head() => head,
        // The server has ended the connection between two requests.
        _ = connection => return Next::Close,
    };
    let Some(head) = head else {
        return Next::Close;
    };
    let Some(head) = Head::parse(&head) else {
        let answer = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        // The client may have gone.
        let _ = output.write_all(answer).await;
        return Next::Close;
    };
    if poll_fn(|cx| send.poll_ready(cx)).await.is_err() {
        return Next::Close;
    }
    if head.is_websocket {
        tunnel::handshake(head, input, output, send).await
    } else {
        exchange(head, input, output, send).await
    }
}

/// Ends the bridge's direction, and reads on until the client has ended its own: a socket that is closed with unread
/// bytes takes back what it has sent.
async fn close(mut input: Input<OwnedReadHalf>, mut output: OwnedWriteHalf) {
    let _ = output.shutdown().await;
    while input.fill().await {
        input.buffer.clear();
    }
}

/// Passes on the header of a load balancer (PROXY protocol), which stands before HTTP/2 as it stands before HTTP/1.1.
/// Returns false if the connection is over before: what the server sends by itself is an answer in HTTP/1.1.
async fn pass_proxy_header(
    input: &mut Input<OwnedReadHalf>,
    output: &mut OwnedWriteHalf,
    server: &mut TcpStream,
) -> bool {
    const VERSION_1: &[u8] = b"PROXY ";
    const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    loop {
        let known = &input.buffer[..];
        let could_be = |signature: &[u8]| {
            let length = known.len().min(signature.len());
            known[..length] == signature[..length]
        };
        let length = if known.is_empty() {
            None
        } else if could_be(VERSION_2) {
            match known {
                [_, _, _, _, _, _, _, _, _, _, _, _, _, _, high, low, ..] => {
                    Some(16 + usize::from(u16::from_be_bytes([*high, *low])))
                }
                _ => None,
            }
        } else if could_be(VERSION_1) {
            known
                .iter()
                .position(|byte| *byte == b'\n')
                .map(|at| at + 1)
        } else {
            Some(0)
        };
        match length {
            Some(length) if known.len() >= length => {
                let header = input.buffer.split_to(length);
                return server.write_all(&header).await.is_ok();
            }
            _ => {}
        }
        tokio::select! {
            is_open = input.fill() => if !is_open {
                return input.end == Some(End::Regular) && !input.buffer.is_empty();
            },
            _ = server.readable() => {
                // The server closes after its answer, and so does the bridge.
                let _ = tokio::io::copy(server, output).await;
                return false;
            }
        }
    }
}
