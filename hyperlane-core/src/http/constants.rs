//! Constants for handlers: header names, media types, line ends.
//!
//! Header names are in lower case, as in HTTP/2. [`Headers`](super::Headers) finds lower-case names fastest.

macro_rules! text_constants {
    ($($name:ident = $text:literal;)*) => {
        $(
            #[doc = concat!("Spells `", stringify!($text), "`.")]
            pub const $name: &str = $text;
        )*
    };
}

// Methods.
text_constants! {
    GET = "GET";
    POST = "POST";
    PUT = "PUT";
    DELETE = "DELETE";
    PATCH = "PATCH";
    HEAD = "HEAD";
    OPTIONS = "OPTIONS";
    CONNECT = "CONNECT";
    TRACE = "TRACE";
    ALL_METHODS = "GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS, CONNECT, TRACE, QUERY";
}

// Header names, in lower case.
text_constants! {
    ACCEPT = "accept";
    ACCEPT_CHARSET = "accept-charset";
    ACCEPT_ENCODING = "accept-encoding";
    ACCEPT_LANGUAGE = "accept-language";
    ACCEPT_RANGES = "accept-ranges";
    ACCESS_CONTROL_ALLOW_CREDENTIALS = "access-control-allow-credentials";
    ACCESS_CONTROL_ALLOW_HEADERS = "access-control-allow-headers";
    ACCESS_CONTROL_ALLOW_METHODS = "access-control-allow-methods";
    ACCESS_CONTROL_ALLOW_ORIGIN = "access-control-allow-origin";
    ACCESS_CONTROL_EXPOSE_HEADERS = "access-control-expose-headers";
    ACCESS_CONTROL_MAX_AGE = "access-control-max-age";
    ACCESS_CONTROL_REQUEST_HEADERS = "access-control-request-headers";
    ACCESS_CONTROL_REQUEST_METHOD = "access-control-request-method";
    AGE = "age";
    ALLOW = "allow";
    AUTHORIZATION = "authorization";
    CACHE_CONTROL = "cache-control";
    CONNECTION = "connection";
    CONTENT_DISPOSITION = "content-disposition";
    CONTENT_ENCODING = "content-encoding";
    CONTENT_LANGUAGE = "content-language";
    CONTENT_LENGTH = "content-length";
    CONTENT_LOCATION = "content-location";
    CONTENT_RANGE = "content-range";
    CONTENT_SECURITY_POLICY = "content-security-policy";
    CONTENT_TYPE = "content-type";
    COOKIE = "cookie";
    DATE = "date";
    ETAG = "etag";
    EXPECT = "expect";
    EXPIRES = "expires";
    FORWARDED = "forwarded";
    HOST = "host";
    IF_MATCH = "if-match";
    IF_MODIFIED_SINCE = "if-modified-since";
    IF_NONE_MATCH = "if-none-match";
    IF_RANGE = "if-range";
    IF_UNMODIFIED_SINCE = "if-unmodified-since";
    LAST_EVENT_ID = "last-event-id";
    LAST_MODIFIED = "last-modified";
    LINK = "link";
    LOCATION = "location";
    ORIGIN = "origin";
    PRAGMA = "pragma";
    PROXY_AUTHENTICATE = "proxy-authenticate";
    PROXY_AUTHORIZATION = "proxy-authorization";
    RANGE = "range";
    REFERER = "referer";
    REFERRER_POLICY = "referrer-policy";
    RETRY_AFTER = "retry-after";
    SEC_WEBSOCKET_ACCEPT = "sec-websocket-accept";
    SEC_WEBSOCKET_EXTENSIONS = "sec-websocket-extensions";
    SEC_WEBSOCKET_KEY = "sec-websocket-key";
    SEC_WEBSOCKET_PROTOCOL = "sec-websocket-protocol";
    SEC_WEBSOCKET_VERSION = "sec-websocket-version";
    SERVER = "server";
    SET_COOKIE = "set-cookie";
    STRICT_TRANSPORT_SECURITY = "strict-transport-security";
    TE = "te";
    TRAILER = "trailer";
    TRANSFER_ENCODING = "transfer-encoding";
    UPGRADE = "upgrade";
    USER_AGENT = "user-agent";
    VARY = "vary";
    VIA = "via";
    WWW_AUTHENTICATE = "www-authenticate";
    X_ACCEL_BUFFERING = "x-accel-buffering";
    X_CONTENT_TYPE_OPTIONS = "x-content-type-options";
    X_FORWARDED_FOR = "x-forwarded-for";
    X_FORWARDED_HOST = "x-forwarded-host";
    X_FORWARDED_PROTO = "x-forwarded-proto";
    X_FRAME_OPTIONS = "x-frame-options";
    X_REAL_IP = "x-real-ip";
    X_REQUEST_ID = "x-request-id";
}

// Header values.
text_constants! {
    BYTES = "bytes";
    CHUNKED = "chunked";
    CLOSE = "close";
    DEFLATE = "deflate";
    GZIP = "gzip";
    IDENTITY = "identity";
    KEEP_ALIVE = "keep-alive";
    NO_CACHE = "no-cache";
    NO_STORE = "no-store";
    NOSNIFF = "nosniff";
    WEBSOCKET = "websocket";
    H2C = "h2c";
    WILDCARD_ANY = "*";
    HYPERLANE = "hyperlane";
}

// Media types and charsets.
text_constants! {
    APPLICATION_FORM_URLENCODED = "application/x-www-form-urlencoded";
    APPLICATION_JAVASCRIPT = "application/javascript";
    APPLICATION_JSON = "application/json";
    APPLICATION_OCTET_STREAM = "application/octet-stream";
    APPLICATION_PDF = "application/pdf";
    APPLICATION_XML = "application/xml";
    IMAGE_GIF = "image/gif";
    IMAGE_JPEG = "image/jpeg";
    IMAGE_PNG = "image/png";
    IMAGE_SVG_XML = "image/svg+xml";
    IMAGE_WEBP = "image/webp";
    MULTIPART_FORM_DATA = "multipart/form-data";
    TEXT_CSS = "text/css";
    TEXT_CSV = "text/csv";
    TEXT_EVENT_STREAM = "text/event-stream";
    TEXT_HTML = "text/html";
    TEXT_JAVASCRIPT = "text/javascript";
    TEXT_PLAIN = "text/plain";
    TEXT_XML = "text/xml";
    CHARSET = "charset";
    UTF8 = "utf-8";
}

// Versions.
text_constants! {
    HTTP_VERSION_0_9 = "HTTP/0.9";
    HTTP_VERSION_1_0 = "HTTP/1.0";
    HTTP_VERSION_1_1 = "HTTP/1.1";
    HTTP_VERSION_2 = "HTTP/2";
    HTTP_VERSION_3 = "HTTP/3";
}

// Line ends, punctuation, defaults.
text_constants! {
    BR = "\n";
    HTTP_BR = "\r\n";
    HTTP_DOUBLE_BR = "\r\n\r\n";
    COLON = ":";
    COMMA = ",";
    SEMICOLON = ";";
    SPACE = " ";
    QUERY = "?";
    EMPTY_STR = "";
    OK = "OK";
    ROOT_PATH = "/";
    TOKEN = "token";
    DEFAULT_HOST = "0.0.0.0";
}

/// Number of bytes in one KiB.
pub const KB_1: usize = 1024;
/// Maximum payload of a WebSocket fragment, in bytes, for programs that split messages into fragments themselves. The
/// server does not use this limit.
pub const MAX_FRAME_SIZE: usize = 65_535;
/// An encoded empty WebSocket ping (RFC 6455 §5.5.2).
pub const PING_FRAME: [u8; 2] = [0x89, 0x00];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_those_programs_expect() {
        assert_eq!(
            (CONTENT_TYPE, SEC_WEBSOCKET_KEY),
            ("content-type", "sec-websocket-key")
        );
        assert_eq!((HTTP_BR, HTTP_DOUBLE_BR), ("\r\n", "\r\n\r\n"));
        assert_eq!((TRACE, UPGRADE, UTF8), ("TRACE", "upgrade", "utf-8"));
        assert_eq!(ALL_METHODS.split(", ").count(), 10);
    }
}
