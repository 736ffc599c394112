//! Lists of the names that the crate root and the prelude both export. Each name is written once, in a list.
//!
//! `cargo xtask tidy` compares the lists with the macros and constants that the crates declare.

/// Exports all attribute macros.
macro_rules! attribute_macros {
    ($(#[$attribute:meta])?) => {
        $(#[$attribute])?
        pub use hyperlane_macros::{
            any, attribute, attributes, body_stream, clear_response_headers, closed, delete,
            epilogue_hooks, epilogue_macros, file_scope, filter, flush, get, head, host, hyperlane, import,
            is_connect_method, is_delete_method, is_get_method, is_h2c_upgrade_type, is_head_method,
            is_http0_9_version, is_http1_0_version, is_http1_1_or_higher_version,
            is_http1_1_version, is_http2_version, is_http3_version, is_http_version,
            is_options_method, is_patch_method, is_post_method, is_put_method, is_query_method,
            is_tls_upgrade_type,
            is_trace_method, is_unknown_method, is_unknown_upgrade_type, is_unknown_version,
            is_ws_upgrade_type, max_body, methods, middleware, options, patch, post, prologue_hooks,
            prologue_macros, put, query, referer, reject, reject_host, reject_referer, request_body,
            request_body_json, request_body_json_result, request_cookie, request_cookies,
            request_error, request_error_data, request_header, request_headers, request_middleware,
            request_path, request_query, request_querys, request_version, response_body,
            response_header, response_middleware, response_reason_phrase, response_status_code,
            response_version, route, route_param, route_params, scope, send, spawned, sse, task_panic,
            task_panic_data, try_flush, try_get_attribute, try_get_http_request,
            try_get_request_cookie, try_get_request_error_data, try_get_request_header,
            try_get_request_query, try_get_route_param, try_get_task_panic_data,
            try_get_websocket_request, try_send, websocket, with,
        };
    };
}

/// Exports all constants. The module [`constants`](crate::constants) documents them.
macro_rules! constant_names {
    () => {
        #[doc(hidden)]
        pub use hyperlane_core::constants::{
            ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCEPT_RANGES,
            ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
            ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
            ACCESS_CONTROL_REQUEST_METHOD, AGE, ALL_METHODS, ALLOW, APPLICATION_FORM_URLENCODED,
            APPLICATION_JAVASCRIPT, APPLICATION_JSON, APPLICATION_OCTET_STREAM, APPLICATION_PDF,
            APPLICATION_XML, AUTHORIZATION, BR, BYTES, CACHE_CONTROL, CHARSET, CHUNKED, CLOSE,
            COLON, COMMA, CONNECT, CONNECTION, CONTENT_DISPOSITION, CONTENT_ENCODING,
            CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE,
            CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, DATE, DEFAULT_HOST, DEFLATE, DELETE,
            EMPTY_STR, ETAG, EXPECT, EXPIRES, FORWARDED, GET, GZIP, H2C, HEAD, HOST, HTTP_BR,
            HTTP_DOUBLE_BR, HTTP_VERSION_0_9, HTTP_VERSION_1_0, HTTP_VERSION_1_1, HTTP_VERSION_2,
            HTTP_VERSION_3, HYPERLANE, IDENTITY, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
            IF_RANGE, IF_UNMODIFIED_SINCE, IMAGE_GIF, IMAGE_JPEG, IMAGE_PNG, IMAGE_SVG_XML,
            IMAGE_WEBP, KB_1, KEEP_ALIVE, LAST_EVENT_ID, LAST_MODIFIED, LINK, LOCATION,
            MAX_FRAME_SIZE, MULTIPART_FORM_DATA, NO_CACHE, NO_STORE, NOSNIFF, OK, OPTIONS, ORIGIN,
            PATCH, PING_FRAME, POST, PRAGMA, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, PUT, QUERY,
            RANGE, REFERER, REFERRER_POLICY, RETRY_AFTER, ROOT_PATH, SEC_WEBSOCKET_ACCEPT,
            SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
            SEC_WEBSOCKET_VERSION, SEMICOLON, SERVER, SET_COOKIE, SPACE, STRICT_TRANSPORT_SECURITY,
            TE, TEXT_CSS, TEXT_CSV, TEXT_EVENT_STREAM, TEXT_HTML, TEXT_JAVASCRIPT, TEXT_PLAIN,
            TEXT_XML, TOKEN, TRACE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT, UTF8, VARY,
            VIA, WEBSOCKET, WILDCARD_ANY, WWW_AUTHENTICATE, X_ACCEL_BUFFERING,
            X_CONTENT_TYPE_OPTIONS, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO,
            X_FRAME_OPTIONS, X_REAL_IP, X_REQUEST_ID,
        };
    };
}

pub(crate) use {attribute_macros, constant_names};
