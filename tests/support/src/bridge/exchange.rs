//! A request and its answer.

use std::{
    future::{Future as _, pending, poll_fn},
    io,
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use h2::{
    Reason, RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{Method, Response, StatusCode, header};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{sleep, timeout},
};

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
    let seen = Seen::default();
    let next = {
        let mut answer = pin!(answer(response, output, &client, &seen));
        let mut body = pin!(send_body(&mut framing, input, &mut stream, &seen));
        poll_fn(|cx| {
            if body.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            match answer.as_mut().poll(cx) {
                Poll::Ready(next) => Poll::Ready(Some(next)),
                // Only an event stream is over for a client that ends its direction, as over HTTP/1.1.
                Poll::Pending if is(&seen.has_ended) && is(&seen.is_events) => Poll::Ready(None),
                // The client does not read, so the writing side does not find the reset.
                Poll::Pending if is(&seen.is_reset) => Poll::Ready(Some(Next::Cut)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    };
    match next {
        Some(Next::Request) if !framing.is_over() => drop_body(framing, input).await,
        Some(next) if next != Next::Cut => next,
        _ => {
            reset(&mut stream).await;
            Next::Cut
        }
    }
}

/// What one side of an exchange has seen, for the other.
#[derive(Default)]
struct Seen {
    /// The answer is an event stream.
    is_events: AtomicBool,
    /// The client has ended its direction after the request.
    has_ended: AtomicBool,
    /// The server has reset the stream.
    is_reset: AtomicBool,
}

fn is(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

/// Resets a stream. The crate drops data that it has not written at a reset, so the data gets some time.
pub(super) async fn reset(stream: &mut SendStream<Bytes>) {
    sleep(Duration::from_millis(5)).await;
    stream.send_reset(Reason::CANCEL);
}

/// Sends the body of a request, and then watches the client. Returns if the client is gone: it has closed or reset the
/// connection, or ended its direction within the request.
async fn send_body<R: AsyncRead + Unpin>(
    framing: &mut Framing,
    input: &mut Input<R>,
    stream: &mut SendStream<Bytes>,
    seen: &Seen,
) {
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
            Part::Broken => return,
        };
        if sent.is_err() {
            // The server has answered, or reset the stream: the answer's side finds it.
            return pending().await;
        }
    }
    while input.buffer.len() <= AHEAD {
        tokio::select! {
            is_open = input.fill() => if !is_open {
                break;
            },
            () = was_reset(stream), if !is(&seen.is_reset) => {
                seen.is_reset.store(true, Ordering::Relaxed);
            }
        }
    }
    match input.end {
        None => pending().await,
        Some(End::Reset) => {}
        Some(End::Regular) => {
            seen.has_ended.store(true, Ordering::Relaxed);
            // Wakes the answer's side.
            tokio::task::yield_now().await;
            input.closed().await;
        }
    }
}

/// Waits until the server resets the stream because of an error.
pub(super) async fn was_reset(stream: &mut SendStream<Bytes>) {
    let reason = poll_fn(|cx| stream.poll_reset(cx)).await;
    if reason.is_ok_and(|reason| reason == Reason::NO_ERROR) {
        // The server has answered, and wants no more of the request.
        pending().await
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
    seen: &Seen,
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
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let is_events = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    seen.is_events.store(is_events, Ordering::Relaxed);
    let allows_body = !client.is_head
        && !matches!(
            parts.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let has_length = parts.headers.contains_key(header::CONTENT_LENGTH);
    let mut text = head_text(&parts);
    let mut is_chunked = false;
    // An event stream is the last answer of its connection, as over HTTP/1.1.
    let mut closes = client.closes || is_events;
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
    let form = match (is_chunked, is_events) {
        (false, _) => Form::Plain,
        (true, false) => Form::Chunks,
        (true, true) => Form::Events,
    };
    match write_body(&mut body, output, form).await {
        true if closes => Next::Close,
        true => Next::Request,
        false => Next::Cut,
    }
}

/// The form of the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    /// Each piece of data is a chunk.
    Chunks,
    /// Each event is a chunk.
    Events,
}

/// The longest wait for the rest of an event.
const REST: Duration = Duration::from_millis(50);

/// Writes the body of an answer. Returns false if it is not complete.
async fn write_body<W: AsyncWrite + Unpin>(
    body: &mut RecvStream,
    output: &mut W,
    form: Form,
) -> bool {
    let mut kept = BytesMut::new();
    loop {
        let data = match kept.is_empty() {
            true => body.data().await,
            false => match timeout(REST, body.data()).await {
                Ok(data) => data,
                Err(_) => {
                    if write_chunk(output, &kept.split()).await.is_err() {
                        return false;
                    }
                    continue;
                }
            },
        };
        let Some(data) = data else {
            break;
        };
        let Ok(data) = data else {
            return false;
        };
        let length = data.len();
        let written = match form {
            Form::Plain => output.write_all(&data).await,
            Form::Chunks => write_chunk(output, &data).await,
            Form::Events => {
                let known = kept.len();
                kept.extend_from_slice(&data);
                write_events(output, &mut kept, known).await
            }
        };
        if written.is_err() {
            return false;
        }
        // The window cannot exceed what was received.
        let _ = body.flow_control().release_capacity(length);
    }
    if write_chunk(output, &kept).await.is_err() {
        return false;
    }
    let is_chunked = form != Form::Plain;
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

/// Writes each whole event of `kept` as a chunk, and leaves the rest. The first `known` bytes have no end of an event.
async fn write_events<W: AsyncWrite + Unpin>(
    output: &mut W,
    kept: &mut BytesMut,
    known: usize,
) -> io::Result<()> {
    let mut from = known.saturating_sub(1);
    while let Some(at) = kept[from..].windows(2).position(|two| two == b"\n\n") {
        write_chunk(output, &kept.split_to(from + at + 2)).await?;
        from = 0;
    }
    Ok(())
}

/// Writes a chunk, unless it is empty: an empty one would be the last.
async fn write_chunk<W: AsyncWrite + Unpin>(output: &mut W, data: &[u8]) -> io::Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    output.write_all(&chunk).await
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
