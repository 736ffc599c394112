//! Tests of macros that exclude each other.

use super::{HANDLE, errors, expanded, split};

#[test]
fn macros_that_exclude_each_other_are_refused_once_with_a_correction() {
    let free = "async fn f(s: &mut Stream, c: &mut Context) -> Status { Status::Continue }";
    for (attributes, item, part) in [
        (
            "#[is_get_method] #[is_post_method]",
            HANDLE,
            "`#[methods(get, post)]` to take either",
        ),
        (
            "#[methods(get, put)] #[is_post_method]",
            free,
            "`#[methods(get, put, post)]`",
        ),
        (
            "#[get(\"/\")] #[is_post_method]",
            free,
            "declines every request that `#[get]` takes",
        ),
        (
            "#[post(\"/\")] #[is_ws_upgrade_type]",
            free,
            "begins with a GET request",
        ),
        (
            "#[post(\"/\")] #[try_get_websocket_request]",
            free,
            "begins with a GET request",
        ),
        ("#[post(\"/\")] #[websocket(w)]", free, "write `#[get(..)]`"),
        (
            "#[websocket(w)] #[is_put_method]",
            HANDLE,
            "remove this guard",
        ),
        (
            "#[is_http1_0_version] #[is_http1_1_or_higher_version]",
            HANDLE,
            "keep one of the two",
        ),
        (
            "#[is_unknown_version] #[is_http_version]",
            HANDLE,
            "keep one of the two",
        ),
        (
            "#[is_unknown_upgrade_type] #[is_ws_upgrade_type]",
            HANDLE,
            "requires an upgrade",
        ),
        (
            "#[is_unknown_upgrade_type] #[websocket(w)]",
            HANDLE,
            "requires an upgrade",
        ),
        ("#[sse(e)] #[websocket(w)]", HANDLE, "keep one of the two"),
        ("#[sse(e)] #[sse(f)]", HANDLE, "stands here already"),
        (
            "#[prologue_macros(sse(e))] #[sse(f)]",
            HANDLE,
            "stands here already",
        ),
        (
            "#[sse(e)] #[try_get_http_request]",
            HANDLE,
            "only writes to",
        ),
        (
            "#[sse(e)] #[is_ws_upgrade_type]",
            HANDLE,
            "cannot be answered by an event stream",
        ),
        (
            "#[websocket(w)] #[try_get_http_request]",
            HANDLE,
            "`w.recv()`",
        ),
        (
            "#[body_stream(b)] #[request_body(a)]",
            HANDLE,
            "would find it empty",
        ),
        (
            "#[body_stream(b)] #[websocket(w)]",
            HANDLE,
            "has no body to stream",
        ),
        ("#[epilogue_macros(sse(e))]", HANDLE, "before the body runs"),
        (
            "#[get(\"/a\")] #[get(\"/a\")]",
            free,
            "takes this path already",
        ),
        (
            "#[get(\"/a/{b}\")] #[route_param(\"c\" => c)]",
            free,
            "did you mean `b`?",
        ),
        (
            "#[get(\"/a\")] #[try_get_route_param(\"c\" => c)]",
            free,
            "add `{c}` to it",
        ),
        (
            "#[get(\"/{a}/{b}\")] #[prologue_macros(route_param(\"c\" => c))]",
            free,
            "it has a, b",
        ),
    ] {
        // The compiler expands the first attribute of an item. Each turn of the loop moves another attribute to the
        // first place.
        let all: Vec<&str> = attributes.split_inclusive("] ").map(str::trim).collect();
        for turn in 0..all.len() {
            let mut order = all.clone();
            order.rotate_left(turn);
            let (name, args) = split(order[0]);
            let code = expanded(name, args, &format!("{} {item}", order[1..].join(" ")));
            let messages = errors(&code);
            assert_eq!(messages.len(), 1, "{order:?}: {messages:?}");
            assert!(
                messages[0].contains(part) || turn > 0,
                "{order:?}: {messages:?}"
            );
        }
    }
}

#[test]
fn macros_that_only_seem_to_exclude_each_other_stand_together() {
    for (name, args, item) in [
        ("is_get_method", "", format!("#[is_head_method] {HANDLE}")),
        (
            "methods",
            "get, post",
            format!("#[is_post_method] {HANDLE}"),
        ),
        (
            "is_http_version",
            "",
            format!("#[is_http1_1_version] {HANDLE}"),
        ),
        (
            "websocket",
            "w",
            format!("#[try_get_websocket_request] #[is_ws_upgrade_type] {HANDLE}"),
        ),
        (
            "sse",
            "e",
            format!("#[is_post_method] #[request_body(b)] {HANDLE}"),
        ),
        (
            "get",
            "\"/a\"",
            "#[get(\"/{b}\")] #[try_get_route_param(\"b\" => b)] async fn f() {}".into(),
        ),
        (
            "route",
            "PATH",
            "#[try_get_route_param(\"b\" => b)] async fn f() {}".into(),
        ),
    ] {
        assert_eq!(
            errors(&expanded(name, args, &item)),
            [""; 0],
            "{name} {item}"
        );
    }
}
