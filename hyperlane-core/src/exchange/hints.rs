//! Interim answers of the server itself, and pushed responses.

use bytes::Bytes;

use super::Exchange;
use crate::{
    error::ResponseError,
    http::{Headers, Request, Response},
    proto::http::write::HeadWriter,
};

/// The status of early hints (RFC 8297).
const EARLY_HINTS: usize = 103;

/// Sends a 103 with these fields. A client of HTTP/1.0 gets nothing, because it knows no interim answers.
///
/// # Errors
/// [`ResponseError::AlreadyComplete`] if the answer has begun, [`ResponseError::ConnectionClosed`] if nothing can be
/// sent.
pub(crate) fn send_hints(exchange: &Exchange, fields: &Headers) -> Result<(), ResponseError> {
    if !exchange.answer.can_begin() {
        return Err(ResponseError::AlreadyComplete);
    }
    if !exchange.connection().lane.is_open() {
        return Err(ResponseError::ConnectionClosed);
    }
    if exchange.wire.facts.is_1_0 {
        return Ok(());
    }
    let mut bytes = Vec::with_capacity(256);
    let mut head = HeadWriter::response(&mut bytes, false, EARLY_HINTS, "");
    fields.write_lines(&mut head);
    head.end(exchange.connection().env.config.title_case_headers);
    exchange.wire.write_interim(&bytes)
}

/// Pushes a response, as the answer to a GET of `path`. Returns false if the client takes no pushed responses.
pub(crate) fn push(
    exchange: &Exchange,
    request: &Request,
    path: &str,
    response: &Response,
    body: &Bytes,
) -> bool {
    #[cfg(feature = "http2")]
    if exchange.wire.is_http2() && exchange.answer.can_begin() {
        return exchange.wire.push_http2(request, path, response, body);
    }
    let _ = (exchange, request, path, response, body);
    false
}
