//! The table of macros: one row each. A new macro needs a row in [`ROWS`] and an entry with its documentation in the
//! `declare!` list of `lib.rs`.

use crate::model::{BodyRule, Check, Handle, Register, Role, Row, Shape, Side};

/// Returns the row of the macro `name`.
pub(crate) fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// Builds a row.
const fn row(name: &'static str, shape: Shape, role: Role) -> Row {
    Row { name, shape, role }
}

/// Builds the row of a route.
const fn route(name: &'static str, methods: &'static [&'static str]) -> Row {
    row(
        name,
        Shape::Pattern,
        Role::Register(Register::Route(methods)),
    )
}

/// Builds the row of a macro that registers a hook (middleware or an error hook). Its argument is an optional order.
const fn ordered(name: &'static str, kind: &'static str) -> Row {
    row(name, Shape::Order, Role::Register(Register::Ordered(kind)))
}

/// Builds the row of a guard that checks the request's method.
const fn method(name: &'static str, methods: &'static [&'static str]) -> Row {
    row(name, Shape::Nothing, Role::Guard(Check::Method(methods)))
}

/// Builds the row of a guard that checks the protocol in the client's `Upgrade` header.
const fn upgrade(name: &'static str, protocol: &'static str) -> Row {
    row(name, Shape::Nothing, Role::Guard(Check::Upgrade(protocol)))
}

/// Builds the row of a guard that checks the HTTP version.
const fn version(name: &'static str, is: &'static str, accepts: &'static [&'static str]) -> Row {
    row(
        name,
        Shape::Nothing,
        Role::Guard(Check::Version { is, accepts }),
    )
}

/// Builds the row of an extractor that has no key and never refuses a request.
const fn whole(name: &'static str) -> Row {
    row(name, Shape::Names, Role::Extract(name))
}

/// The rows of all macros of this crate, sorted by topic.
pub(crate) const ROWS: &[Row] = &[
    row("hyperlane", Shape::Declarations, Role::Declare),
    row("import", Shape::Values, Role::Import),
    // Registration.
    route("route", &[]),
    route("any", &[]),
    route("get", &["GET"]),
    route("post", &["POST"]),
    route("put", &["PUT"]),
    route("delete", &["DELETE"]),
    route("patch", &["PATCH"]),
    route("head", &["HEAD"]),
    route("options", &["OPTIONS"]),
    route("query", &["QUERY"]),
    ordered("request_middleware", "RequestMiddleware"),
    ordered("response_middleware", "ResponseMiddleware"),
    ordered("task_panic", "TaskPanic"),
    ordered("request_error", "RequestError"),
    row(
        "middleware",
        Shape::Order,
        Role::Register(Register::Middleware),
    ),
    row("with", Shape::Values, Role::With),
    // Guards.
    method("is_get_method", &["GET"]),
    method("is_post_method", &["POST"]),
    method("is_put_method", &["PUT"]),
    method("is_delete_method", &["DELETE"]),
    method("is_patch_method", &["PATCH"]),
    method("is_head_method", &["HEAD"]),
    method("is_options_method", &["OPTIONS"]),
    method("is_connect_method", &["CONNECT"]),
    method("is_trace_method", &["TRACE"]),
    method("is_query_method", &["QUERY"]),
    // The empty name stands for every method that has no guard in the rows above.
    method("is_unknown_method", &[""]),
    row("methods", Shape::Methods, Role::Guard(Check::Methods)),
    upgrade("is_ws_upgrade_type", "websocket"),
    upgrade("is_h2c_upgrade_type", "h2c"),
    upgrade("is_tls_upgrade_type", "tls"),
    row(
        "is_unknown_upgrade_type",
        Shape::Nothing,
        Role::Guard(Check::NoUpgrade),
    ),
    version("is_http0_9_version", "is_http0_9", &["0.9"]),
    version("is_http1_0_version", "is_http1_0", &["1.0"]),
    version("is_http1_1_version", "is_http1_1", &["1.1"]),
    version("is_http2_version", "is_http2", &["2"]),
    version("is_http3_version", "is_http3", &["3"]),
    version(
        "is_http1_1_or_higher_version",
        "is_http1_1_or_higher",
        &["1.1", "2", "3"],
    ),
    version(
        "is_http_version",
        "is_http",
        &["0.9", "1.0", "1.1", "2", "3"],
    ),
    version("is_unknown_version", "is_unknown", &[""]),
    row(
        "host",
        Shape::Values,
        Role::Guard(Check::Host { accepts: true }),
    ),
    row(
        "reject_host",
        Shape::Values,
        Role::Guard(Check::Host { accepts: false }),
    ),
    row(
        "referer",
        Shape::Values,
        Role::Guard(Check::Referer { accepts: true }),
    ),
    row(
        "reject_referer",
        Shape::Values,
        Role::Guard(Check::Referer { accepts: false }),
    ),
    // Reads.
    row(
        "try_get_websocket_request",
        Shape::MaybeName,
        Role::Read("read_websocket"),
    ),
    row(
        "try_get_http_request",
        Shape::MaybeName,
        Role::Read("read_http"),
    ),
    // Handles of WebSockets and event streams.
    row("websocket", Shape::Name, Role::Open(Handle::WebSocket)),
    row("sse", Shape::Name, Role::Open(Handle::Events)),
    // Extractors.
    row("request_body", Shape::Names, Role::Extract("request_body")),
    row("body_stream", Shape::Names, Role::Body(BodyRule::Stream)),
    row("max_body", Shape::Value, Role::Body(BodyRule::Max)),
    row(
        "request_body_json",
        Shape::TypedNames,
        Role::Require("request_body_json"),
    ),
    row(
        "request_body_json_result",
        Shape::TypedNames,
        Role::Extract("request_body_json_result"),
    ),
    whole("request_version"),
    whole("request_path"),
    whole("request_querys"),
    whole("request_headers"),
    whole("request_cookies"),
    whole("route_params"),
    whole("attributes"),
    row(
        "route_param",
        Shape::KeyedNames,
        Role::Require("route_param"),
    ),
    row(
        "try_get_route_param",
        Shape::KeyedNames,
        Role::Extract("try_route_param"),
    ),
    row(
        "request_query",
        Shape::KeyedNames,
        Role::Require("request_query"),
    ),
    row(
        "try_get_request_query",
        Shape::KeyedNames,
        Role::Extract("try_request_query"),
    ),
    row(
        "request_header",
        Shape::KeyedNames,
        Role::Require("request_header"),
    ),
    row(
        "try_get_request_header",
        Shape::KeyedNames,
        Role::Extract("try_request_header"),
    ),
    row(
        "request_cookie",
        Shape::KeyedNames,
        Role::Require("request_cookie"),
    ),
    row(
        "try_get_request_cookie",
        Shape::KeyedNames,
        Role::Extract("try_request_cookie"),
    ),
    row(
        "attribute",
        Shape::KeyedTypedNames,
        Role::Require("attribute"),
    ),
    row(
        "try_get_attribute",
        Shape::KeyedTypedNames,
        Role::Extract("try_attribute"),
    ),
    row(
        "task_panic_data",
        Shape::Names,
        Role::Require("task_panic_data"),
    ),
    row(
        "try_get_task_panic_data",
        Shape::Names,
        Role::Extract("try_task_panic_data"),
    ),
    row(
        "request_error_data",
        Shape::Names,
        Role::Require("request_error_data"),
    ),
    row(
        "try_get_request_error_data",
        Shape::Names,
        Role::Extract("try_request_error_data"),
    ),
    // Conditions.
    row("filter", Shape::Value, Role::Condition { runs_when: true }),
    row("reject", Shape::Value, Role::Condition { runs_when: false }),
    // The response.
    row("response_status_code", Shape::Value, Role::SetStatus),
    row(
        "response_reason_phrase",
        Shape::Value,
        Role::Set("set_reason_phrase"),
    ),
    row("response_version", Shape::Value, Role::Set("set_version")),
    row("response_header", Shape::Header, Role::SetHeader),
    row("response_body", Shape::Value, Role::Set("set_body")),
    row(
        "clear_response_headers",
        Shape::Nothing,
        Role::Set("clear_headers"),
    ),
    // Output.
    row(
        "try_send",
        Shape::MaybeValue,
        Role::Send {
            bare: "try_send",
            value: "try_send_bytes",
        },
    ),
    row(
        "send",
        Shape::MaybeValue,
        Role::Send {
            bare: "send",
            value: "send_bytes",
        },
    ),
    row("spawned", Shape::Nothing, Role::OwnTask),
    row("try_flush", Shape::Nothing, Role::Flush("try_flush")),
    row("flush", Shape::Nothing, Role::Flush("flush")),
    row("closed", Shape::Nothing, Role::Close),
    // Lists of hooks or macros.
    row("prologue_hooks", Shape::Values, Role::Hooks(Side::Before)),
    row("epilogue_hooks", Shape::Values, Role::Hooks(Side::After)),
    row("prologue_macros", Shape::Macros, Role::Macros(Side::Before)),
    row("epilogue_macros", Shape::Macros, Role::Macros(Side::After)),
];
