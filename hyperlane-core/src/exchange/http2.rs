//! HTTP/2 for an [`Exchange`](super::Exchange): the steps of [`Wire`] that differ from HTTP/1.1. A stream carries one
//! request and its answer.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use super::{
    body::BodyHead,
    http1::{Facts, HeadRead, RequestEnd, Wire},
};
use crate::{
    conn::{
        http2::{HeadFailure, finish, head::TextHead},
        input::Wait,
        lane::Awaited,
        link::Link,
    },
    error::{RequestError, ResponseError},
    http::{Framing, Head, Headers, HttpVersion, Method, Request, Response},
    proto::http::{
        decimal,
        head::{BodyFraming, HeadError, Target, is_host},
    },
};

impl Wire {
    // ---------------------------------------------------------------- reading

    /// Takes the head of the stream's request. A stream has no other.
    // Not inlined, so that the steps of HTTP/1.1 stay small.
    #[inline(never)]
    pub(super) fn take_head_http2(&mut self, request: &mut Request) -> HeadRead {
        let link = self.connection();
        let mut input = link.lock_input();
        input.wait_for(Wait::Nothing, link.now());
        let Some(stream) = input.reader.http2() else {
            return HeadRead::End(RequestEnd::Closed);
        };
        let Some(parts) = stream.take_request() else {
            return HeadRead::End(RequestEnd::Closed);
        };
        let has_body = !stream.has_read_all();
        drop(input);
        let read = fill(link, request, &parts, has_body);
        match read {
            Ok((facts, body)) => {
                self.facts = facts;
                HeadRead::Request(body)
            }
            Err(error) => {
                request.reset();
                self.facts.is_head = parts.method == http::Method::HEAD;
                HeadRead::Refused(Box::new(error.into()))
            }
        }
    }

    // ---------------------------------------------------------------- writing

    /// Sends the head of an answer. `body` is the whole body if it is known already.
    #[inline(never)]
    pub(super) fn send_head_http2(
        &self,
        head: Head<'_>,
        framing: Framing,
        body: Option<&Bytes>,
    ) -> Result<(), ResponseError> {
        let ends = self.facts.is_head
            || matches!(framing, Framing::None | Framing::Length(0))
            || !head.response.allows_body();
        let mut text = Vec::with_capacity(256);
        self.write_head(&mut text, head, framing, None);
        let head = TextHead::parse(text.into()).ok_or(ResponseError::ConnectionClosed)?;
        let body = body.filter(|_| !ends);
        let link = self.connection();
        let mut input = link.lock_input();
        let stream = input
            .reader
            .http2()
            .ok_or(ResponseError::ConnectionClosed)?;
        let left = stream.send_head(head.into_response(), ends, body);
        drop(input);
        match left {
            Ok(left) => {
                link.lane.set_awaited(Awaited::Nothing);
                match left {
                    Some(left) => {
                        link.lane().compose(|cork| cork.push(&left))?;
                        if let Some(stream) = link.lock_input().reader.http2() {
                            stream.set_whole();
                        }
                    }
                    None => link.lane.lock_out().count_sent(body.map_or(0, Bytes::len)),
                }
                Ok(())
            }
            Err(HeadFailure::Sent) => Err(ResponseError::AlreadyComplete),
            Err(HeadFailure::Closed) => Err(ResponseError::ConnectionClosed),
        }
    }

    /// Ends a body that was sent piece by piece.
    pub(super) fn finish_http2(&self, trailers: &Headers) {
        let fields = trailers.bytes().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name).ok()?;
            Some((name, HeaderValue::from_bytes(value).ok()?))
        });
        let fields = (!trailers.is_empty()).then(|| fields.collect::<HeaderMap>());
        finish(self.connection(), fields);
    }

    /// Pushes a response, as the answer to a GET of `path` (RFC 9113 §8.4). Returns false if the client does not allow it.
    pub(super) fn push_http2(
        &self,
        request: &Request,
        path: &str,
        response: &Response,
        body: &Bytes,
    ) -> bool {
        let link = self.connection();
        // The client takes a promise only for an origin for which the connection is authoritative (RFC 9113 §8.4).
        let uri = http::Uri::builder()
            .scheme(match link.facts.is_tls() {
                true => "https",
                false => "http",
            })
            .authority(request.get_host())
            .path_and_query(path);
        let Ok(uri) = uri.build() else {
            return false;
        };
        let mut promised = http::Request::new(());
        *promised.uri_mut() = uri;
        let mut text = Vec::with_capacity(256);
        let framing = Framing::Length(body.len() as u64);
        self.write_head(&mut text, Head::new(response), framing, None);
        let Some(head) = TextHead::parse(text.into()) else {
            return false;
        };
        let mut input = link.lock_input();
        let stream = input.reader.http2();
        stream.is_some_and(|stream| stream.push(promised, head.into_response(), body))
    }
}

/// Replaces `request` by a request of HTTP/2. The inner error refuses the request.
///
/// # Errors
/// A [`HeadError`] if the fields are no valid request.
fn fill(
    link: &Link,
    request: &mut Request,
    parts: &Parts,
    has_body: bool,
) -> Result<(Facts, Result<BodyHead, Box<RequestError>>), HeadError> {
    let headers = &parts.headers;
    let limits = &link.env.head_limits;
    // The pieces of a cookie are one field (RFC 9113 §8.2.3).
    let pieces = headers.get_all(header::COOKIE).iter().count();
    if headers.len() - pieces.saturating_sub(1) > limits.header_count {
        let limit = limits.header_count;
        return Err(HeadError::TooManyHeaders { limit });
    }
    let is_websocket = parts
        .extensions
        .get::<h2::ext::Protocol>()
        .is_some_and(|protocol| protocol.as_str() == "websocket");
    if parts.extensions.get::<h2::ext::Protocol>().is_some() && !is_websocket {
        return Err(HeadError::UnknownProtocol);
    }
    let host = host(parts)?;
    let is_connect = parts.method == http::Method::CONNECT && !is_websocket;
    if headers
        .values()
        .any(|value| has_blank_around(value.as_bytes()))
    {
        return Err(HeadError::BlankAroundValue);
    }
    let target = target(parts, host, is_connect, limits.request_line)?;
    // A WebSocket begins with an extended CONNECT, which stands for the GET of HTTP/1.1 (RFC 8441 §4). Hooks see the GET.
    let method = match is_websocket {
        true => Method::Get,
        false => Method::from(parts.method.as_str()),
    };
    let facts = Facts {
        is_head: method.is_head(),
        is_1_0: false,
        keeps_alive: false,
        is_host_allowed: link.env.allows_host(link.facts.via(), host),
    };
    let length = content_length(headers)?;
    let assigned = request.assign_head(method, &target, true, HttpVersion::Http2);
    append_fields(request.get_mut_headers(), headers, host, is_websocket);
    let body = BodyHead {
        framing: match length {
            _ if !has_body || is_websocket || is_connect => BodyFraming::None,
            Some(length) => BodyFraming::Length(length),
            None => BodyFraming::UntilEnd,
        },
        expects_continue: headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")),
    };
    link.lane.set_awaited(match is_websocket {
        true => Awaited::Handshake,
        false => Awaited::Answer,
    });
    link.driver.charge(512);
    let body = match assigned {
        Ok(()) => Ok(body),
        Err(_) => Err(Box::new(RequestError::InvalidPath)),
    };
    Ok((facts, body))
}

/// Returns the target of a request (RFC 9113 §8.3.1). `most` is its maximum length in bytes.
fn target<'a>(
    parts: &'a Parts,
    host: &'a str,
    is_connect: bool,
    most: usize,
) -> Result<Target<'a>, HeadError> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    if path.len() > most {
        return Err(HeadError::RequestLineTooLong { limit: most });
    }
    let is_asterisk = path == "*";
    if is_asterisk && parts.method != http::Method::OPTIONS {
        return Err(HeadError::AsteriskNeedsOptions);
    }
    // A scheme is a name, and a path is absolute (RFC 9113 §8.3.1).
    if parts.uri.scheme_str() == Some("") || !(is_asterisk || path.starts_with('/')) {
        return Err(HeadError::InvalidTarget);
    }
    Ok(match path.split_once('?') {
        _ if is_connect => Target::Authority(host),
        _ if is_asterisk => Target::Asterisk,
        Some((path, query)) => Target::Origin {
            path,
            query: Some(query),
        },
        None => Target::Origin { path, query: None },
    })
}

/// Returns the host: the one of `:authority`, or else of the field `host` (RFC 9113 §8.3.1).
fn host(parts: &Parts) -> Result<&str, HeadError> {
    let mut fields = parts.headers.get_all(header::HOST).iter();
    let field = match fields.next() {
        Some(field) => Some(field.to_str().map_err(|_| HeadError::InvalidHost)?),
        None => None,
    };
    if fields.next().is_some() {
        return Err(HeadError::DuplicateHost);
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    match (authority, field) {
        // Two hosts that differ would let a proxy and the server see two requests.
        (Some(authority), Some(field)) if !authority.eq_ignore_ascii_case(field) => {
            Err(HeadError::InvalidHost)
        }
        (Some(host), _) | (None, Some(host)) if !is_host(host) => Err(HeadError::InvalidHost),
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err(HeadError::MissingHost),
    }
}

/// Returns whether a value begins or ends with a blank, which no value may (RFC 9113 §8.2.1).
fn has_blank_around(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.first()) || is_blank(value.last())
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, HeadError> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return Ok(None);
    };
    if lengths.any(|other| other != first) {
        return Err(HeadError::ContradictoryContentLength);
    }
    match decimal(first.as_bytes()) {
        Ok(length) => Ok(Some(length)),
        Err(_) => Err(HeadError::InvalidContentLength),
    }
}

/// Adds the fields of a request. The host is a field as in HTTP/1.1, and so are those of a WebSocket handshake. The parts
/// of `cookie` are joined again (RFC 9113 §8.2.3).
fn append_fields(to: &mut Headers, headers: &HeaderMap, host: &str, is_websocket: bool) {
    to.append_parsed("host", host.as_bytes());
    if is_websocket {
        to.append_parsed("upgrade", b"websocket");
        to.append_parsed("connection", b"upgrade");
    }
    let (mut has_cookie, mut has_length) = (false, false);
    for (name, value) in headers {
        match *name {
            header::HOST => {}
            header::COOKIE if has_cookie => {}
            header::COOKIE => {
                has_cookie = true;
                let all = headers.get_all(header::COOKIE).iter();
                let all: Vec<_> = all.map(|part| part.as_bytes()).collect();
                match &*all {
                    [one] => to.append_parsed("cookie", one),
                    many => to.append_parsed("cookie", &many.join(&b"; "[..])),
                }
            }
            header::CONTENT_LENGTH if std::mem::replace(&mut has_length, true) => {}
            _ => to.append_parsed(name.as_str(), value.as_bytes()),
        }
    }
}
