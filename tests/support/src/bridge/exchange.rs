//! A request and its answer.

use std::{
    future::{Future as _, pending, poll_fn},
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{Method, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::{
    Next,
    body::{Framing, Part},
    input::{End, Input},
    request::Head,
};

/// Maximum number of bytes that are read ahead while an answer is awaited.
const AHEAD: usize = 1024 * 1024;

/// Maximum number of bytes of a body that are dropped so that the connection can go on after an early answer.
const DROPPED: usize = 16 * 1024 * 1024;

/// Facts about the client that the writing side of an exchange needs.
struct Client {
    is_head: bool,
    is_1_0: bool,
    closes: bool,
}

/// Serves a request that is no WebSocket handshake.
pub(super) async fn exchange<R, W>(
    head: Head,
    input: &mut Input<R>,
    output: &mut W,
    send: &mut SendRequest<Bytes>,
) -> Next
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let client = Client {
        is_head: head.request.method() == Method::HEAD,
        is_1_0: head.is_1_0,
        closes: head.closes,
    };
    let mut framing = head.framing;
    let ends = framing.is_over();
    let Ok((response, mut stream)) = send.send_request(head.request, ends) else {
        return Next::Cut;
    };
    let is_events = AtomicBool::new(false);
    let next = {
        let mut answer = pin!(answer(response, output, &client, &is_events));
        let mut body = pin!(send_body(&mut framing, input, &mut stream));
        let mut has_left = false;
        poll_fn(|cx| {
            if !has_left && let Poll::Ready(left) = body.as_mut().poll(cx) {
                match left {
                    Left::Ended => has_left = true,
                    Left::Gone => return Poll::Ready(None),
                }
            }
            let next = answer.as_mut().poll(cx);
            // Only an event stream is over for a client that ends its direction, as over HTTP/1.1.
            match next.is_pending() && has_left && is_events.load(Ordering::Relaxed) {
                true => Poll::Ready(None),
                false => next.map(Some),
            }
        })
        .await
    };
    match next {
        None => {
            stream.send_reset(Reason::CANCEL);
            Next::Cut
        }
        Some(Next::Request) if !framing.is_over() => drop_body(framing, input).await,
        Some(next) => {
            if next == Next::Cut {
                stream.send_reset(Reason::CANCEL);
            }
            next
        }
    }
}

/// The way in which a client has left.
enum Left {
    /// It has ended its direction after the request.
    Ended,
    /// It has reset the connection, or ended its direction within the request.
    Gone,
}

/// Sends the body of a request, and then waits until the client leaves.
async fn send_body<R: AsyncRead + Unpin>(
    framing: &mut Framing,
    input: &mut Input<R>,
    stream: &mut SendStream<Bytes>,
) -> Left {
    let mut is_sent = framing.is_over();
    while !is_sent {
        let sent = match framing.next(input).await {
            Part::Data(data) => send_data(stream, data).await,
            Part::End(trailers) => {
                is_sent = true;
                match trailers.is_empty() {
                    true => stream.send_data(Bytes::new(), true),
                    false => stream.send_trailers(trailers),
                }
            }
            Part::Broken => return Left::Gone,
        };
        if sent.is_err() {
            // The server has answered, or reset the stream: the answer's side finds it.
            return pending().await;
        }
    }
    loop {
        if input.buffer.len() > AHEAD {
            return pending().await;
        }
        if !input.fill().await {
            return match input.end {
                Some(End::Reset) => Left::Gone,
                _ => Left::Ended,
            };
        }
    }
}

/// Sends bytes as far as the windows allow, until all are sent.
pub(super) async fn send_data(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let capacity = poll_fn(|cx| match stream.capacity() {
            0 => stream.poll_capacity(cx),
            known => Poll::Ready(Some(Ok(known))),
        })
        .await
        .unwrap_or_else(|| Err(Reason::STREAM_CLOSED.into()))?;
        stream.send_data(data.split_to(capacity.min(data.len())), false)?;
    }
    Ok(())
}

/// Reads the rest of a body whose answer has come early.
async fn drop_body<R: AsyncRead + Unpin>(mut framing: Framing, input: &mut Input<R>) -> Next {
    let mut dropped = 0;
    while !framing.is_over() {
        match framing.next(input).await {
            Part::Data(data) => dropped += data.len(),
            Part::End(_) => break,
            Part::Broken => return Next::Close,
        }
        if dropped > DROPPED {
            return Next::Close;
        }
    }
    Next::Request
}

/// Waits for the next head of an answer: an interim one, or the final one.
pub(super) async fn next_head(
    response: &mut ResponseFuture,
) -> Result<Result<Response<()>, Response<RecvStream>>, h2::Error> {
    poll_fn(|cx| {
        if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            return Poll::Ready(interim.map(Ok));
        }
        Pin::new(&mut *response).poll(cx).map_ok(Err)
    })
    .await
}

/// Writes the answer.
async fn answer<W: AsyncWrite + Unpin>(
    mut response: ResponseFuture,
    output: &mut W,
    client: &Client,
    is_events: &AtomicBool,
) -> Next {
    let (parts, mut body) = loop {
        match next_head(&mut response).await {
            Err(_) => return Next::Cut,
            Ok(Err(last)) => break last.into_parts(),
            Ok(Ok(_)) if client.is_1_0 => {}
            Ok(Ok(interim)) => {
                let mut text = head_text(&interim.into_parts().0);
                text += "\r\n";
                if output.write_all(text.as_bytes()).await.is_err() {
                    return Next::Cut;
                }
            }
        }
    };
    let type_ = parts.headers.get(header::CONTENT_TYPE);
    let type_ = type_.map_or(&b""[..], |value| value.as_bytes());
    is_events.store(type_.starts_with(b"text/event-stream"), Ordering::Relaxed);
    let allows_body = !client.is_head
        && !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let has_length = parts.headers.contains_key(header::CONTENT_LENGTH);
    let mut text = head_text(&parts);
    let mut is_chunked = false;
    let mut closes = client.closes;
    if allows_body && !has_length {
        if body.is_end_stream() {
            text += "content-length: 0\r\n";
        } else if client.is_1_0 {
            closes = true;
        } else {
            text += "transfer-encoding: chunked\r\n";
            is_chunked = true;
        }
    }
    match (closes, client.is_1_0) {
        (true, _) => text += "connection: close\r\n",
        (false, true) => text += "connection: keep-alive\r\n",
        (false, false) => {}
    }
    text += "\r\n";
    if output.write_all(text.as_bytes()).await.is_err() {
        return Next::Cut;
    }
    match write_body(&mut body, output, is_chunked).await {
        true if closes => Next::Close,
        true => Next::Request,
        false => Next::Cut,
    }
}

/// Writes the body of an answer. Returns false if it is not complete.
async fn write_body<W: AsyncWrite + Unpin>(
    body: &mut RecvStream,
    output: &mut W,
    is_chunked: bool,
) -> bool {
    while let Some(data) = body.data().await {
        let Ok(data) = data else {
            return false;
        };
        if data.is_empty() {
            continue;
        }
        let written = match is_chunked {
            true => {
                let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
                chunk.extend_from_slice(&data);
                chunk.extend_from_slice(b"\r\n");
                output.write_all(&chunk).await
            }
            false => output.write_all(&data).await,
        };
        if written.is_err() {
            return false;
        }
        // The window cannot exceed what was received.
        let _ = body.flow_control().release_capacity(data.len());
    }
    if !is_chunked {
        return true;
    }
    let Ok(trailers) = body.trailers().await else {
        return false;
    };
    let mut end = b"0\r\n".to_vec();
    for (name, value) in trailers.iter().flatten() {
        end.extend_from_slice(name.as_str().as_bytes());
        end.extend_from_slice(b": ");
        end.extend_from_slice(value.as_bytes());
        end.extend_from_slice(b"\r\n");
    }
    end.extend_from_slice(b"\r\n");
    output.write_all(&end).await.is_ok()
}

/// Returns the status line and the fields as text.
pub(super) fn head_text(parts: &http::response::Parts) -> String {
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_str());
    for (name, value) in &parts.headers {
        text += name.as_str();
        text += ": ";
        text += &String::from_utf8_lossy(value.as_bytes());
        text += "\r\n";
    }
    text
}
