//! Relays the bytes of an upgraded connection. After a 101 response, the outer server (the HTTP server that calls this
//! server as a service) hands the connection over.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    rt::{Read, Write},
    upgrade::{OnUpgrade, Upgraded},
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

/// The maximum time for which the relay still reads from the client after the hooks have ended their side.
const LINGER: Duration = Duration::from_secs(2);

/// An adapter from hyper's traits to tokio's traits.
struct Adapted(Upgraded);

impl AsyncRead for Adapted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffer = hyper::rt::ReadBuf::new(target.initialize_unfilled());
        ready!(Pin::new(&mut self.0).poll_read(cx, buffer.unfilled()))?;
        let count = buffer.filled().len();
        target.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Adapted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Copies bytes between the client and `io`, the in-memory connection to the hooks (the program's functions that handle
/// requests). After the client has ended its side, the relay runs until the hooks end theirs. After the hooks have
/// ended their side, it runs for at most [`LINGER`]. `first` has the bytes after the head of the 101: the hooks had
/// already sent them when the head was read.
pub(super) async fn relay(upgrade: OnUpgrade, io: DuplexStream, first: Bytes) {
    let client = match upgrade.await {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(
                %error,
                "the outer server did not hand the connection over: serve with upgrades"
            );
            return;
        }
    };
    let (mut from_client, mut to_client) = tokio::io::split(Adapted(client));
    let (mut from_hooks, mut to_hooks) = tokio::io::split(io);
    let up = async {
        // An error of either side ends the copying.
        let _ = tokio::io::copy(&mut from_client, &mut to_hooks).await;
        let _ = to_hooks.shutdown().await;
    };
    let down = async {
        if to_client.write_all(&first).await.is_ok() {
            let _ = tokio::io::copy(&mut from_hooks, &mut to_client).await;
        }
        let _ = to_client.shutdown().await;
    };
    tokio::pin!(up, down);
    tokio::select! {
        // The hooks' side notices that the client has ended, and closes within its own time limits. So this wait needs
        // no limit.
        () = &mut up => down.await,
        () = &mut down => {
            let _ = tokio::time::timeout(LINGER, up).await;
        }
    }
}
