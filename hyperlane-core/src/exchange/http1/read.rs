//! Takes the heads of requests from the buffer of a connection.

use super::{AllowedHost, Facts, Parser};
use crate::{
    conn::{
        input::{Input, Mode},
        lane::Awaited,
        link::Link,
    },
    error::RequestError,
    exchange::body::BodyHead,
    http::{HttpVersion, Method, Request},
    proto::http::{
        head::{self, HeadError, HeadLimits, HeadScanner},
        write::LINE_END,
    },
};

/// Returns whether the server answers to a host for every peer. `number` is 0 for a host that is not known.
#[inline]
fn is_host_allowed(
    link: &Link,
    host: &str,
    number: u64,
    allowed: &mut Option<AllowedHost>,
) -> bool {
    let known = (link.env.id(), link.facts.via(), number);
    if number != 0 && *allowed == Some(known) {
        return true;
    }
    let is_allowed = link.env.allows_host(link.facts.via(), host);
    if is_allowed && number != 0 {
        *allowed = Some(known);
    }
    is_allowed
}

/// A request whose head was removed from the buffer.
pub(super) struct Taken {
    pub(super) facts: Facts,
    /// What the head says about the body. An error refuses the request.
    pub(super) body: Result<BodyHead, Box<RequestError>>,
}

/// Removes a complete head from the buffer and replaces `request`. Returns `None` if the head is incomplete. The outer
/// error means that the bytes are no request. The inner error refuses a request that was read.
pub(super) fn take_head(
    link: &Link,
    input: &mut Input,
    request: &mut Request,
    parser: &mut Parser,
) -> Result<Option<Taken>, Box<RequestError>> {
    let Parser { storage, allowed } = parser;
    let limits = &link.env.head_limits;
    // Skips empty lines, which old clients send after a body (RFC 9112 §2.2). A head never begins with an empty
    // line.
    while input.buffer.unread().starts_with(LINE_END.as_bytes()) {
        input.buffer.consume(LINE_END.len());
    }
    let has_none = input.buffer.unread().is_empty();
    if has_none {
        return Ok(None);
    }
    let (unread, before) = input.buffer.unread_from_word();
    let mut unused = None;
    let scanner = match &mut input.mode {
        Mode::Http(scanner) => scanner,
        _ => &mut unused,
    };
    // Nearly every head arrives whole, and one pass reads it. The scanner keeps its place in a head that arrives in
    // pieces.
    let is_whole = scanner.is_none();
    if let Some(pending) = scanner {
        let scanned = pending.scan(unread.get(before..).unwrap_or_default(), limits);
        if scanned == Ok(None) {
            return Ok(None);
        }
        *scanner = None;
        scanned.map_err(refused)?;
    }
    let read = |head| fill(link, request, head, allowed);
    let parsed = head::parse_at(unread, before, limits, storage, read).map_err(refused)?;
    let Some((taken, length, is_handshake)) = parsed else {
        let bytes = unread.get(before..).unwrap_or_default();
        return match is_whole {
            true => scan_first(scanner, bytes, limits),
            false => Err(refused(head::refuse(bytes, limits))),
        };
    };
    input.buffer.consume(length);
    link.lane.set_awaited(match is_handshake {
        true => Awaited::Handshake,
        false => Awaited::Answer,
    });
    link.driver.charge(512 + length);
    Ok(Some(taken))
}

/// Replaces `request` by a parsed head. Also returns the length of the head, and whether it is a WebSocket handshake.
#[inline(always)]
fn fill(
    link: &Link,
    request: &mut Request,
    head: head::Head<'_, '_>,
    allowed: &mut Option<AllowedHost>,
) -> (Taken, usize, bool) {
    let length = head.length;
    let method = match head.is_get {
        true => Method::Get,
        false => Method::from(head.method),
    };
    let facts = Facts {
        is_head: method.is_head(),
        is_1_0: head.version == head::Version::Http10,
        // Bytes after a CONNECT are for the other end of the tunnel, even if the client sends them before the
        // tunnel exists (RFC 9110 §9.3.6). The server must not read these bytes as a request.
        keeps_alive: head.keep_alive && !method.is_connect(),
        is_host_allowed: is_host_allowed(link, head.host, head.host_number, allowed),
    };
    let version = match facts.is_1_0 {
        true => HttpVersion::Http1_0,
        false => HttpVersion::Http1_1,
    };
    let assigned = request.assign_head(method, &head.target, head.may_have_escapes, version);
    if assigned.is_ok() {
        let headers = request.get_mut_headers();
        headers.append_head(head.fields);
        // Replaces a repeated `Content-Length` by a single field. Hooks then see one length, and so do servers to which
        // hooks forward the fields (RFC 9110 §8.6).
        if let (true, head::BodyFraming::Length(length)) = (head.length_repeated, head.framing) {
            headers.remove("content-length");
            headers.append_parsed("content-length", length.to_string().as_bytes());
        }
    }
    let body = BodyHead {
        framing: head.framing,
        expects_continue: head.expect_continue,
    };
    let is_handshake = head.upgrade && request.get_headers().has_token("upgrade", "websocket");
    let taken = Taken {
        facts,
        body: match assigned {
            Ok(_) => Ok(body),
            Err(_) => Err(Box::new(RequestError::InvalidPath)),
        },
    };
    (taken, length, is_handshake)
}

/// Scans a head that is incomplete or invalid for the first time.
#[cold]
fn scan_first(
    scanner: &mut Option<Box<HeadScanner>>,
    bytes: &[u8],
    limits: &HeadLimits,
) -> Result<Option<Taken>, Box<RequestError>> {
    let mut pending = Box::<HeadScanner>::default();
    match pending.scan(bytes, limits).map_err(refused)? {
        Some(_) => Err(refused(head::refuse(bytes, limits))),
        None => {
            *scanner = Some(pending);
            Ok(None)
        }
    }
}

#[cold]
fn refused(error: HeadError) -> Box<RequestError> {
    Box::new(error.into())
}
