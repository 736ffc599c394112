//! Tests of the order of macros in the expansion.

use super::{HANDLE, errors, expanded, fuzz, in_order, split};

#[test]
fn phases_do_not_depend_on_the_order_of_attributes() {
    let attributes = [
        "#[send]",
        "#[response_body(1)]",
        "#[filter(2)]",
        "#[request_body(three)]",
        "#[is_get_method]",
        "#[closed]",
        "#[flush]",
    ];
    for first in 0..attributes.len() {
        let mut turned = attributes.to_vec();
        turned.rotate_left(first);
        let name = turned[0]
            .trim_start_matches("#[")
            .split(['(', ']'])
            .next()
            .unwrap();
        let args = turned[0]
            .split_once('(')
            .map_or("", |(_, rest)| rest.trim_end_matches(")]"));
        let item = format!("{} {HANDLE}", turned[1..].join(" "));
        let code = expanded(name, args, &item);
        in_order(
            &code,
            &[
                "const GUARDS",
                "Guard::method",
                "request_body",
                "if (2) {} else",
                "set_body",
                "body()",
                "closed",
            ],
        );
        let after = code.split("body ()").nth(1).unwrap();
        assert!(
            after.contains("send (") && after.contains("flush ("),
            "{after}"
        );
        assert!(
            after.rfind("closed").unwrap() > after.rfind("flush").unwrap(),
            "closing comes last"
        );
    }
}

#[test]
fn foreign_attributes_stay() {
    let code = expanded(
        "send",
        "",
        &format!("#[inline] /// Text.\n #[tracing::instrument] #[my::send] {HANDLE}"),
    );
    in_order(
        &code,
        &[
            "#[inline]",
            "#[doc = \" Text.\"]",
            "#[tracing::instrument]",
            "#[my::send]",
        ],
    );
    let code = expanded(
        "send",
        "",
        &format!("#[hyperlane::flush] #[::hyperlane_macros::closed] {HANDLE}"),
    );
    assert!(
        !code.contains('#') || !code.contains("# [hyperlane"),
        "{code}"
    );
    in_order(&code, &["body()", "send", "flush", "closed"]);
}

#[test]
fn guards_stand_in_a_constant_unless_they_need_the_body() {
    let code = expanded(
        "host",
        "\"a\", B",
        &format!("#[reject_referer(self.page)] {HANDLE}"),
    );
    in_order(
        &code,
        &[
            "const GUARDS",
            "guard_host(ctx, \"a\") ||",
            "guard_host(ctx, B)",
            "fn handle",
            "ServerHook>::GUARDS",
            "guard_referer(&*ctx, self.page)",
            "skip()",
        ],
    );
    let code = expanded(
        "is_get_method",
        "",
        "async fn helper(ctx: &Context) { body() }",
    );
    assert!(!code.contains("GUARDS"));
    in_order(&code, &["guard_method(&*ctx", "return", "skip()", "body()"]);
}

#[test]
fn listed_guards_stay_guards_and_the_rest_keeps_its_order() {
    let code = expanded(
        "prologue_macros",
        "response_body(1), is_get_method, send, request_body(x), closed",
        HANDLE,
    );
    in_order(
        &code,
        &[
            "const GUARDS",
            "Guard::method",
            "set_body",
            "send",
            "request_body",
            "closed",
            "body()",
        ],
    );
    let code = expanded("epilogue_macros", "response_body(1), closed, send", HANDLE);
    in_order(&code, &["body()", "set_body", "closed", "send"]);
}

#[test]
fn a_handler_is_upgraded_after_its_guards_and_once() {
    for (name, item) in [
        ("is_ws_upgrade_type", format!("#[host(self.name)] {HANDLE}")),
        (
            "try_get_websocket_request",
            format!("#[host(self.name)] #[is_ws_upgrade_type] {HANDLE}"),
        ),
    ] {
        let code = expanded(name, "", &item);
        in_order(
            &code,
            &[
                "guard_host",
                "upgrade(&mut *stream, &mut *ctx).await",
                "body()",
            ],
        );
        assert_eq!(code.matches(":: upgrade (").count(), 1, "{code}");
    }
    let code = expanded(
        "try_get_websocket_request",
        "",
        "async fn pump(s: &mut Stream, c: &mut Context) {}",
    );
    assert!(
        !code.contains("upgrade"),
        "a helper reads on an open connection"
    );
}

#[test]
fn listed_closes_run_once_after_a_read_loop() {
    for list in ["closed, flush", "flush, closed"] {
        for (name, args, sibling) in [
            (
                "epilogue_macros",
                list,
                "#[try_get_http_request]".to_owned(),
            ),
            (
                "try_get_http_request",
                "",
                format!("#[epilogue_macros({list})]"),
            ),
        ] {
            let code = expanded(name, args, &format!("{sibling} {HANDLE}"));
            in_order(
                &code,
                &["while let", "flush(", "break;", "closed(", "__hl_end"],
            );
            assert_eq!(code.matches("closed (").count(), 1, "{code}");
        }
    }
}

/// Attributes of every phase, one group per phase. The order within a group matters. The first group contains
/// attributes of other crates.
const GROUPS: [&[&str]; 9] = [
    &[
        "#[doc = \" Text.\"]",
        "#[tracing::instrument(skip_all)]",
        "#[allow(unused)]",
    ],
    &[
        "#[is_get_method]",
        "#[host(\"a\")]",
        "#[is_http1_1_version]",
    ],
    &["#[route_param(\"id\" => id)]", "#[request_body(body)]"],
    &["#[filter(one)]", "#[reject(two)]"],
    &[
        "#[response_body(&id)]",
        "#[prologue_hooks(hook)]",
        "#[prologue_macros(response_status_code(200), try_flush)]",
    ],
    &["#[websocket(socket)]"],
    &[
        "#[send]",
        "#[epilogue_hooks(hook)]",
        "#[epilogue_macros(flush, try_send(b))]",
    ],
    &["#[closed]"],
    &["#[import(a::B)]", "#[hyperlane(list: List)]"],
];

#[test]
fn a_hundred_random_orders_expand_to_the_same_code() {
    let mut random = fuzz::Random(5);
    for item in [
        HANDLE.to_owned(),
        "#[route(\"/{id}\")] async fn f() -> Result<String, E> { text()? }".to_owned(),
        format!("#[try_get_websocket_request(message)] {HANDLE}"),
    ] {
        let mut expected: Option<String> = None;
        for round in 0..100 {
            // Mixes the groups at random, and keeps the order within each group.
            let mut groups: Vec<_> = GROUPS
                .iter()
                .map(|group| group.iter().copied().peekable())
                .collect();
            let mut order = Vec::new();
            while !groups.is_empty() {
                let at = random.below(groups.len());
                order.extend(groups[at].next());
                groups.retain_mut(|group| group.peek().is_some());
            }
            // The compiler expands the first attribute of this crate. The attributes above it stay on the item.
            let first = order
                .iter()
                .position(|attribute| crate::table::find(split(attribute).0).is_some());
            let attribute = order.remove(first.unwrap());
            let (name, args) = split(attribute);

            let code = expanded(name, args, &format!("{} {item}", order.join(" ")));
            assert!(errors(&code).is_empty(), "{code}");
            let expected = expected.get_or_insert_with(|| code.clone());
            assert_eq!(*expected, code, "round {round}: {attribute} {order:?}");
        }
        in_order(
            &expected.unwrap(),
            &[
                "#[doc = \" Text.\"]",
                "#[tracing::instrument(skip_all)]",
                "#[allow(unused)]",
                "use a::B as _",
                "let mut list",
                "route_param",
                "request_body",
                "if (one) {} else",
                "if (two)",
                "set_body",
                "hook(",
                "set_status",
                "try_flush",
                "websocket(",
                "send(",
                "hook(",
                "flush(",
                "try_send_bytes(",
                "closed(",
            ],
        );
    }
}

#[test]
fn a_websocket_handle_is_opened_last_and_declines_first() {
    let code = expanded(
        "websocket",
        "mut socket,",
        &format!("#[response_header(\"a\" => b)] #[filter(c)] #[request_body(d)] {HANDLE}"),
    );
    in_order(
        &code,
        &[
            "const GUARDS",
            "Guard::asks_for(\"websocket\"",
            "const WEBSOCKET: bool = true",
            "request_body",
            "if (c) {} else",
            "set_header",
            "let mut socket",
            "websocket(&mut *stream, &mut *ctx).await",
            "body()",
        ],
    );
    assert!(!code.contains(":: upgrade ("), "{code}");
    let code = expanded(
        "websocket",
        "w",
        "async fn f(s: &mut Stream, c: &mut Context) {}",
    );
    assert!(!code.contains("Guard"), "{code}");
}
