//! The types of HTTP: methods, versions, header fields, requests, responses.
//!
//! The types are plain values without sockets or clocks. The connection fills a [`Request`], and handlers read it.
//! Handlers fill a [`Response`], and the connection writes it. A connection reuses one `Request` and one `Response` for
//! all of its requests, so a further request on a connection needs no allocation. The semantics follow RFC 9110, and
//! the HTTP/1.1 form follows RFC 9112.

pub mod constants;

mod body;
mod conditional;
mod content;
mod content_type;
#[cfg(feature = "cookies")]
mod cookie_builder;
pub(crate) mod cors;
mod csrf;
mod headers;
mod into_response;
mod json;
mod mask;
mod method;
mod path;
mod query;
mod redirect;
mod request;
mod response;
mod session;
mod upgrade;
mod version;

pub use crate::proto::http::status::{HttpStatus, ResponseStatusCode};

#[cfg(feature = "cookies")]
pub use self::cookie_builder::CookieBuilder;
pub use self::{
    body::{RequestBody, ResponseBody},
    conditional::{EntityTag, Validators},
    content::{Body, FileBody, IntoBody, ToBody},
    content_type::ContentType,
    cors::{Cors, CorsError},
    csrf::Csrf,
    headers::{
        HeaderError, Headers, HeadersIter, RequestHeaders, RequestHeadersValue,
        RequestHeadersValueItem, ResponseHeaders,
    },
    into_response::{Html, IntoResponse, Json},
    method::{Method, RequestMethod},
    query::{Querys, QuerysIter, RequestQuerys, RequestQuerysValue},
    redirect::Redirect,
    request::{Request, RequestHost, RequestPath},
    response::{Response, Trailers},
    upgrade::UpgradeType,
    version::{HttpVersion, RequestVersion, ResponseVersion},
};
pub(crate) use self::{
    conditional::{Part, Precondition},
    content::{Content, Failed, Pieces, StreamBody},
    headers::{is_token, list_items},
    mask::mask_url,
    path::decode_param,
    response::kind_of,
    response::{
        Described, Failure, describe, explain,
        head::{Added, Framing, Head, write_switching},
    },
    session::{SessionFields, is_session_token},
    upgrade::is_handshake_field,
};
