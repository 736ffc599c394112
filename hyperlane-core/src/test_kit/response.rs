//! Responses as a client reads them.

use std::{fmt, str::from_utf8};

use bytes::{Buf, Bytes, BytesMut};
use serde::de::DeserializeOwned;

use super::{TestError, wire::Wire};
use crate::{Headers, proto::http::chunked::ChunkedDecoder};

/// Maximum length of a response body, in bytes.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Maximum length of a response head, in bytes.
const MAX_HEAD: usize = 1024 * 1024;

/// Maximum number of fields in a response head.
const MAX_FIELDS: usize = 512;

/// A whole response.
///
/// ```
/// use hyperlane_core::{Json, Server, test_kit::TestServer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hyperlane_core::ServerError> {
/// let mut server = Server::new();
/// server.at("/sum").get(async || Json([1, 2, 3]));
/// let response = TestServer::start(&server)?.client().get("/sum").await;
/// assert_eq!(response.header("content-type"), Some("application/json"));
/// assert_eq!(response.json::<Vec<u8>>(), [1, 2, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TestResponse {
    status: u16,
    headers: Headers,
    body: Bytes,
}

impl TestResponse {
    /// Returns the status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the first value of a header field. The case of the name does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// Returns the header fields.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Returns the body, without the framing of chunks.
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// Returns the body as text.
    ///
    /// # Panics
    /// Panics if the body is not UTF-8.
    #[track_caller]
    #[allow(clippy::panic, reason = "a test fails by a panic")]
    pub fn text(&self) -> &str {
        match from_utf8(&self.body) {
            Ok(text) => text,
            Err(error) => panic!("the body is not text: {error}: {:?}", self.body),
        }
    }

    /// Parses the body as JSON.
    ///
    /// # Panics
    /// Panics if the body is not JSON that fits the type.
    #[track_caller]
    #[allow(clippy::panic, reason = "a test fails by a panic")]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!(
                "the body is not the JSON of a `{}`: {error}: {}",
                std::any::type_name::<T>(),
                String::from_utf8_lossy(&self.body)
            ),
        }
    }
}

impl fmt::Debug for TestResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestResponse")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &self.body)
            .finish()
    }
}

/// The head of a response, and the framing of its body.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: Headers,
    framing: Framing,
}

enum Framing {
    /// The number of bytes that are still to come.
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl Head {
    /// Reads the head of the final response to a request. Skips interim responses, except 101.
    pub(super) async fn read(wire: &mut Wire, head_only: bool) -> Result<Self, TestError> {
        loop {
            if let Some(head) = Self::parse(wire, head_only)? {
                match head.status {
                    100 | 102..=199 => continue,
                    _ => return Ok(head),
                }
            }
            if wire.input.len() > MAX_HEAD {
                return Err(TestError::Protocol(format!(
                    "a head of more than {MAX_HEAD} bytes"
                )));
            }
            if !wire.fill().await? {
                return Err(TestError::Ended);
            }
        }
    }

    /// Parses the head and removes it from the input. Returns `None` if the head is incomplete.
    fn parse(wire: &mut Wire, head_only: bool) -> Result<Option<Self>, TestError> {
        let mut fields = vec![httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut fields);
        let length = match parsed.parse(&wire.input) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(TestError::Protocol(error.to_string())),
        };
        let status = parsed.code.unwrap_or_default();
        let mut headers = Headers::new();
        for field in parsed.headers.iter() {
            headers
                .try_add(field.name, &String::from_utf8_lossy(field.value))
                .map_err(|error| TestError::Protocol(error.to_string()))?;
        }
        let framing = match (head_only, status) {
            (true, _) | (_, 100..=199 | 204 | 304) => Framing::Length(0),
            _ if headers.has_token("transfer-encoding", "chunked") => {
                Framing::Chunked(ChunkedDecoder::default())
            }
            _ => match headers.get("content-length").map(str::parse) {
                Some(Ok(length)) => Framing::Length(length),
                Some(Err(_)) => {
                    return Err(TestError::Protocol("an invalid Content-Length".to_owned()));
                }
                None => Framing::UntilClose,
            },
        };
        wire.input.advance(length);
        Ok(Some(Self {
            status,
            headers,
            framing,
        }))
    }

    /// Returns whether the connection can serve another request after this response.
    pub(super) fn keeps_alive(&self) -> bool {
        !matches!(self.framing, Framing::UntilClose)
            && !self.headers.has_token("connection", "close")
    }

    /// Reads the next piece of the body. Returns `None` after the last piece.
    pub(super) async fn piece(&mut self, wire: &mut Wire) -> Result<Option<Bytes>, TestError> {
        loop {
            match &mut self.framing {
                Framing::Length(0) => return Ok(None),
                Framing::Length(left) if !wire.input.is_empty() => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX);
                    let data = wire.input.split_to(here.min(wire.input.len()));
                    *left -= data.len() as u64;
                    return Ok(Some(data.freeze()));
                }
                Framing::UntilClose if !wire.input.is_empty() => {
                    return Ok(Some(wire.input.split().freeze()));
                }
                Framing::Chunked(decoder) if !wire.input.is_empty() => {
                    let step = decoder
                        .decode(&wire.input)
                        .map_err(|error| TestError::Protocol(error.to_string()))?;
                    let (consumed, length, done) = (step.consumed, step.data.len(), step.done);
                    let mut data = wire.input.split_to(consumed);
                    if done {
                        self.framing = Framing::Length(0);
                        return Ok(None);
                    }
                    // The data is at the end of the consumed bytes.
                    data.advance(consumed.saturating_sub(length));
                    if !data.is_empty() {
                        return Ok(Some(data.freeze()));
                    }
                    continue;
                }
                _ => {}
            }
            if !wire.fill().await? {
                return match self.framing {
                    Framing::UntilClose => Ok(None),
                    _ => Err(TestError::Ended),
                };
            }
        }
    }

    /// Reads the whole body.
    pub(super) async fn whole(mut self, wire: &mut Wire) -> Result<TestResponse, TestError> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.piece(wire).await? {
            if body.len() + piece.len() > MAX_BODY {
                return Err(TestError::TooLarge(MAX_BODY));
            }
            body.extend_from_slice(&piece);
        }
        Ok(TestResponse {
            status: self.status,
            headers: self.headers,
            body: body.freeze(),
        })
    }
}
