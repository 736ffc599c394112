//! The head of a request, from HTTP/1.1 to HTTP/2.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};

use super::{Over, body::Framing};

/// The head of a request.
pub(super) struct Head {
    pub(super) request: Request<()>,
    /// The framing of the body that follows.
    pub(super) framing: Framing,
    /// The client asks for a WebSocket, by a handshake that has all its parts. They are the request's no more.
    pub(super) is_websocket: bool,
    /// The key of a WebSocket handshake.
    pub(super) key: Option<HeaderValue>,
    /// The client speaks HTTP/1.0: it understands neither chunks nor interim answers.
    pub(super) is_1_0: bool,
    /// The client wants the connection to end after the answer.
    pub(super) closes: bool,
}

impl Head {
    /// Parses a head. Returns `None` if it is none, or one that HTTP/2 cannot express.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = vec![httparse::EMPTY_HEADER; 1024];
        let mut parsed = httparse::Request::new(&mut fields);
        parsed.parse(text).ok()?.is_complete().then_some(())?;
        let mut headers = HeaderMap::new();
        for field in parsed.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
        }
        let is_1_0 = parsed.version == Some(0);
        let closes = match is_1_0 {
            true => !has_token(&headers, &header::CONNECTION, "keep-alive"),
            false => has_token(&headers, &header::CONNECTION, "close"),
        };
        let method = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
        let key = headers.get(header::SEC_WEBSOCKET_KEY).cloned();
        let is_websocket = method == Method::GET
            && !is_1_0
            && key.is_some()
            && has_token(&headers, &header::UPGRADE, "websocket")
            && has_token(&headers, &header::CONNECTION, "upgrade");
        let framing = Framing::of(&headers)?;
        let target = parsed.path?;
        let uri = uri(&method, target, &headers)?;
        if uri.authority().is_some() && headers.get_all(header::HOST).iter().count() == 1 {
            headers.remove(header::HOST);
        }
        remove_connection_fields(&mut headers);
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.version_mut() = match uri.scheme() {
            Some(_) => Version::HTTP_2,
            // The crate `h2` then adds the scheme itself.
            None => Version::HTTP_11,
        };
        *request.uri_mut() = uri;
        if is_websocket {
            *request.method_mut() = Method::CONNECT;
            headers.remove(header::SEC_WEBSOCKET_KEY);
            let protocol = h2::ext::Protocol::from_static("websocket");
            request.extensions_mut().insert(protocol);
        }
        *request.headers_mut() = headers;
        Some(Self {
            request,
            framing,
            is_websocket,
            key,
            is_1_0,
            closes,
        })
    }
}

/// Returns the target with the host as its authority. A host that is none, and one of several, stays a field.
fn uri(method: &Method, target: &str, headers: &HeaderMap) -> Option<Uri> {
    if *method == Method::CONNECT || !target.starts_with('/') && target != "*" {
        return target.parse().ok();
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    let whole = Uri::builder()
        .scheme(Over::of_this_run().scheme())
        .path_and_query(target);
    let whole = host.and_then(|host| whole.authority(host).build().ok());
    whole.or_else(|| target.parse().ok())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}

/// Removes the fields of the connection, and those that `connection` names (RFC 9113 §8.2.2).
fn remove_connection_fields(headers: &mut HeaderMap) {
    let values = headers.get_all(header::CONNECTION).iter();
    let named: Vec<HeaderName> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != header::TE)
        .collect();
    for name in named {
        headers.remove(name);
    }
    headers.remove(header::CONNECTION);
    headers.remove(header::UPGRADE);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    if headers.contains_key(header::TE) {
        let takes_trailers = has_token(headers, &header::TE, "trailers");
        headers.remove(header::TE);
        if takes_trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
}
