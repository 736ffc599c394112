//! A WebSocket: the handshake, and then bytes both ways.

use std::{future::pending, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client::SendRequest};
use http::{StatusCode, header};
use sha1::{Digest, Sha1};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{sleep, timeout},
};

use super::{
    Next,
    exchange::{head_text, next_head, reset, send_data, was_reset},
    input::{End, Input},
    request::Head,
};

/// The longest wait for the server's setting that allows an extended CONNECT.
const SETTINGS: Duration = Duration::from_secs(5);

/// Serves a WebSocket handshake, and the WebSocket if the server agrees.
pub(super) async fn handshake<R, W>(
    head: Head,
    input: &mut Input<R>,
    output: &mut W,
    send: &mut SendRequest<Bytes>,
) -> Next
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // The crate reports the settings to no one.
    let allowed = timeout(SETTINGS, async {
        while !send.is_extended_connect_protocol_enabled() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    if allowed.await.is_err() {
        return Next::Cut;
    }
    let Ok((mut response, mut stream)) = send.send_request(head.request, false) else {
        return Next::Cut;
    };
    let (mut parts, mut body) = loop {
        match next_head(&mut response).await {
            Err(_) => return Next::Cut,
            Ok(Ok(_)) => {}
            Ok(Err(last)) => break last.into_parts(),
        }
    };
    if parts.status != StatusCode::OK {
        // The server has refused. The stream has no other use.
        let refusal = refuse(parts, body, output).await;
        stream.send_reset(Reason::CANCEL);
        return refusal;
    }
    parts.status = StatusCode::SWITCHING_PROTOCOLS;
    let mut text = head_text(&parts);
    let key = head.key.as_ref().map_or(&b""[..], |key| key.as_bytes());
    text += "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ";
    text += &accept(key);
    text += "\r\n\r\n";
    if output.write_all(text.as_bytes()).await.is_err() {
        stream.send_reset(Reason::CANCEL);
        return Next::Cut;
    }
    tunnel(input, output, &mut stream, &mut body).await
}

/// Returns the answer to a key (RFC 6455 §4.2.2).
fn accept(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key.trim_ascii());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// Writes an answer that refuses the handshake.
async fn refuse<W: AsyncWrite + Unpin>(
    parts: http::response::Parts,
    mut body: RecvStream,
    output: &mut W,
) -> Next {
    let mut whole = Vec::new();
    while let Some(data) = body.data().await {
        let Ok(data) = data else {
            return Next::Cut;
        };
        whole.extend_from_slice(&data);
        // The window cannot exceed what was received.
        let _ = body.flow_control().release_capacity(data.len());
    }
    let mut text = head_text(&parts);
    if !parts.headers.contains_key(header::CONTENT_LENGTH) {
        text += &format!("content-length: {}\r\n", whole.len());
    }
    text += "\r\n";
    let mut answer = text.into_bytes();
    answer.extend(whole);
    match output.write_all(&answer).await {
        Ok(()) => Next::Request,
        Err(_) => Next::Cut,
    }
}

/// Passes bytes both ways until the server ends.
async fn tunnel<R, W>(
    input: &mut Input<R>,
    output: &mut W,
    stream: &mut SendStream<Bytes>,
    body: &mut RecvStream,
) -> Next
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let up = async {
        loop {
            let piece = tokio::select! {
                piece = input.piece(usize::MAX) => piece,
                // The client does not read, so the other direction does not find the reset.
                () = was_reset(stream) => return,
            };
            let Some(piece) = piece else {
                break;
            };
            if send_data(stream, piece).await.is_err() {
                // The other direction finds the end.
                return pending().await;
            }
        }
        if input.end == Some(End::Regular) {
            // The server may have ended the stream.
            let _ = stream.send_data(Bytes::new(), true);
            pending().await
        }
    };
    let down = async {
        while let Some(data) = body.data().await {
            let Ok(data) = data else {
                return Next::Cut;
            };
            if output.write_all(&data).await.is_err() {
                return Next::Cut;
            }
            let _ = body.flow_control().release_capacity(data.len());
        }
        Next::Close
    };
    let next = tokio::select! {
        biased;
        next = down => next,
        () = up => Next::Cut,
    };
    if next == Next::Cut {
        reset(stream).await;
    }
    next
}
