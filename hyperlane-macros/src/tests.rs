//! Expands token streams and looks at the result. What the expansion does is tested where the library is at hand, in
//! `tests/`.

mod fuzz;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::visit::{self, Visit};

use crate::DECLARED;
use crate::expand::expand;
use crate::model::{BodyRule, Role, Row, Shape, Side};
use crate::table::ROWS;

/// Parses Rust code into tokens.
fn tokens(code: &str) -> TokenStream {
    code.parse()
        .unwrap_or_else(|error| panic!("{code}: {error}"))
}

/// Expands the first attribute of `item`, as the compiler does. `args` includes no parentheses.
fn expanded(name: &str, args: &str, item: &str) -> String {
    expand(name, tokens(args), tokens(item)).to_string()
}

/// Returns the messages of every `compile_error!` in an expansion.
fn errors(code: &str) -> Vec<String> {
    struct Messages(Vec<String>);
    impl<'ast> Visit<'ast> for Messages {
        fn visit_macro(&mut self, node: &'ast syn::Macro) {
            if node
                .path
                .segments
                .last()
                .is_some_and(|last| last.ident == "compile_error")
            {
                self.0
                    .push(node.parse_body::<syn::LitStr>().unwrap().value());
            }
            visit::visit_macro(self, node);
        }
    }
    let mut messages = Messages(Vec::new());
    // Methods carry a `self`, so the code stands in an impl for the look.
    match syn::parse_str::<syn::File>(code) {
        Ok(file) => messages.visit_file(&file),
        Err(_) => messages.visit_file(&syn::parse_str(&format!("impl X {{ {code} }}")).unwrap()),
    }
    messages.0
}

/// Asserts that the parts stand in the code in this order; spaces do not count.
fn in_order(code: &str, parts: &[&str]) {
    let solid = code.replace(char::is_whitespace, "");
    let mut rest = solid.as_str();
    for part in parts {
        let part = part.replace(char::is_whitespace, "");
        let at = rest
            .find(&part)
            .unwrap_or_else(|| panic!("`{part}` is missing or too early in\n{code}"));
        rest = &rest[at + part.len()..];
    }
}

const HANDLE: &str = "async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status { body(); Status::Continue }";

/// Arguments that each shape accepts.
fn good_arguments(shape: Shape) -> &'static str {
    match shape {
        Shape::Nothing | Shape::MaybeName | Shape::MaybeValue | Shape::Order => "",
        Shape::Methods => "get, post",
        Shape::Name => "mut a",
        Shape::Names => "a, mut b,",
        Shape::TypedNames => "a: A, b: Vec<B>",
        Shape::KeyedNames => "\"a\" => a, KEY => b",
        Shape::KeyedTypedNames => "\"a\" => a: Map<A, B>",
        Shape::Value => "1 + 1",
        Shape::Values => "one, two",
        Shape::Header => "\"a\" => value",
        Shape::Macros => "flush, send(x)",
        Shape::Pattern => "\"/a/{b}\"",
        Shape::Declarations => "server: Server, other: Vec<u8>",
    }
}

/// An item that a macro stands on.
fn good_item(row: &Row) -> &'static str {
    match row.role {
        Role::Register(_) => "struct Hook;",
        _ => HANDLE,
    }
}

#[test]
fn every_row_is_declared_in_the_order_of_the_table() {
    let rows: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(rows, DECLARED);
}

#[test]
fn every_name_is_unique() {
    let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ROWS.len());
}

#[test]
fn every_row_expands() {
    for row in ROWS {
        let code = expanded(row.name, good_arguments(row.shape), good_item(row));
        assert!(errors(&code).is_empty(), "{}: {code}", row.name);
        assert!(
            code.len() > tokens(good_item(row)).to_string().len(),
            "{}: {code}",
            row.name
        );
    }
}

#[test]
fn every_row_refuses_surplus_tokens_and_keeps_the_item() {
    for row in ROWS {
        let arguments = format!("{} ; surplus", good_arguments(row.shape));
        let code = expanded(row.name, &arguments, good_item(row));
        assert_eq!(errors(&code).len(), 1, "{}: {code}", row.name);
        // A function's body is left where it was, in a place that only editors look at.
        let item = tokens(good_item(row)).to_string();
        let parts = item.split_inclusive("-> Status ");
        assert!(
            parts.into_iter().all(|part| code.contains(part)),
            "{}: {code}",
            row.name
        );
    }
}

#[test]
fn every_row_needs_the_arguments_its_shape_asks_for() {
    for row in ROWS {
        let code = expanded(row.name, "", good_item(row));
        let optional = matches!(
            row.shape,
            Shape::Nothing | Shape::MaybeName | Shape::MaybeValue | Shape::Order
        );
        match errors(&code).as_slice() {
            [] => assert!(optional, "{}", row.name),
            [message] => assert!(
                !optional && message.contains("needs arguments"),
                "{}: {message}",
                row.name
            ),
            more => panic!("{}: {more:?}", row.name),
        }
    }
}

#[test]
fn every_row_refuses_the_wrong_item() {
    for row in ROWS {
        let wrong = match row.role {
            Role::Register(_) => {
                "async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {}"
            }
            _ => "struct Hook;",
        };
        if row.role != Role::Import {
            let code = expanded(row.name, good_arguments(row.shape), wrong);
            assert_eq!(errors(&code).len(), 1, "{}: {code}", row.name);
        }
        let code = expanded(row.name, good_arguments(row.shape), "trait Other {}");
        assert_eq!(errors(&code).len(), 1, "{}: {code}", row.name);
    }
}

#[test]
fn every_function_macro_needs_an_async_function() {
    for row in ROWS
        .iter()
        .filter(|row| !matches!(row.role, Role::Declare | Role::Import | Role::Register(_)))
    {
        let code = expanded(
            row.name,
            good_arguments(row.shape),
            "fn f(stream: &mut Stream, ctx: &mut Context) -> Status {}",
        );
        let messages = errors(&code);
        assert!(
            messages
                .iter()
                .any(|message| message.contains("add `async`")),
            "{}: {messages:?}",
            row.name
        );
    }
}

#[test]
fn every_function_macro_says_which_parameter_it_lacks() {
    for row in ROWS.iter().filter(|row| {
        !matches!(
            row.role,
            Role::Declare | Role::Import | Role::Register(_) | Role::Body(BodyRule::Max)
        )
    }) {
        let code = expanded(
            row.name,
            good_arguments(row.shape),
            "async fn f() -> Status {}",
        );
        let messages = errors(&code);
        let free = matches!(row.role, Role::Condition { .. });
        assert_eq!(messages.is_empty(), free, "{}: {messages:?}", row.name);
        assert!(
            messages
                .iter()
                .all(|message| message.contains("add the parameter")),
            "{}: {messages:?}",
            row.name
        );
    }
}

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
fn a_list_names_the_nearest_macro() {
    let message = |args: &str| errors(&expanded("prologue_macros", args, HANDLE)).join("\n");
    assert_eq!(
        message("respons_body(1)"),
        "`respons_body` is not a macro of hyperlane; did you mean `response_body`?"
    );
    assert!(message("frobnicate").contains("cannot run it"));
    assert!(message("route(\"/\")").contains("attribute of its own"));
    assert!(message("prologue_macros(send)").contains("attribute of its own"));
}

#[test]
fn a_condition_or_guard_cannot_follow_the_body() {
    for row in ROWS {
        if !matches!(
            row.role,
            Role::Guard(_) | Role::Read(_) | Role::Condition { .. }
        ) {
            continue;
        }
        let args = format!("{}({})", row.name, good_arguments(row.shape));
        let code = expanded("epilogue_macros", &args, HANDLE);
        assert!(errors(&code)[0].contains("cannot stand after it"), "{code}");
    }
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
fn parameters_are_found_by_name_then_by_position() {
    for (signature, stream, ctx) in [
        ("s: &mut Stream, c: &mut Context", "s", "c"),
        ("c: &mut Context, s: &mut Stream", "s", "c"),
        ("c: &mut a::Context<'_>, s: &mut ::b::Stream", "s", "c"),
        ("s: &mut Alias, c: &mut Other", "s", "c"),
        ("s: &mut Alias, c: &mut Context", "s", "c"),
        ("c: &mut Other, s: &mut Stream", "s", "c"),
        (
            "n: usize, s: &mut Stream, o: &mut Vec<u8>, mut c: &mut Context",
            "s",
            "c",
        ),
        ("_: &mut Stream, _: &mut Context", "__hl_stream", "__hl_ctx"),
        ("&self, s: &mut (Stream), c: &'a mut Context", "s", "c"),
    ] {
        let code = expanded("send", "", &format!("async fn f({signature}) {{}}"));
        in_order(&code, &[&format!("send(&mut *{stream}, &mut *{ctx})")]);
    }
}

#[test]
fn parameters_that_do_not_fit_are_pointed_out() {
    for (signature, part) in [
        ("x: &mut Alias", "unclear"),
        ("s: &mut Stream, a: &mut A, b: &mut B", "unclear"),
        ("s: &Stream, c: &mut Context", "must be `&mut Stream`"),
        (
            "Stream { .. }: &mut Stream, c: &mut Context",
            "give this parameter a name",
        ),
        (
            "s: Stream, c: Context",
            "which is lent: write `&mut Stream`",
        ),
    ] {
        let messages = errors(&expanded(
            "send",
            "",
            &format!("async fn f({signature}) {{}}"),
        ));
        assert!(
            messages.iter().any(|message| message.contains(part)),
            "{signature}: {messages:?}"
        );
    }
}

#[test]
fn orders_are_numbers_texts_or_constants() {
    for (order, expected) in [
        ("", "None"),
        ("1", "Some(1)"),
        ("-1", "Some(-1)"),
        ("\"3\"", "Some(3)"),
        ("\"-4\"", "Some(-4)"),
        ("0x10", "Some(16)"),
        ("1isize", "Some(1)"),
        ("BASE + 1", "Some(BASE + 1)"),
    ] {
        let code = expanded("task_panic", order, "struct S;");
        in_order(&code, &["HookKind::TaskPanic(", expected]);
    }
    for order in ["\"x\"", "1.5", "99999999999999999999", "'a'", "true"] {
        assert_eq!(
            errors(&expanded("task_panic", order, "struct S;")).len(),
            1,
            "{order}"
        );
    }
}

#[test]
fn registrations_repeat_and_carry_their_cfg() {
    let code = expanded(
        "route",
        "\"/a\"",
        "#[get(\"/b\")] #[request_error(2)] #[cfg(unix)] struct S;",
    );
    in_order(
        &code,
        &[
            "#[cfg(unix)] struct S;",
            "#[cfg(unix)]",
            "Route(\"/a\")",
            "&[]",
            "Route(\"/b\")",
            "&[\"GET\"]",
            "RequestError(",
        ],
    );
}

#[test]
fn the_crate_is_named_by_an_argument() {
    for args in [
        "\"/\", crate = a::b",
        "crate = a::b, \"/\"",
        "\"/\", crate = a::b,",
    ] {
        in_order(
            &expanded("route", args, "struct S;"),
            &[
                "a::b::__private::inventory",
                "a::b::__private::Registration",
            ],
        );
    }
    in_order(
        &expanded("send", "crate = a", HANDLE),
        &["a::__private::send"],
    );
    for args in ["crate = a, crate = b", "crate =", "crate = 1"] {
        assert_eq!(errors(&expanded("send", args, HANDLE)).len(), 1, "{args}");
    }
}

#[test]
fn a_route_function_gets_what_its_macros_need() {
    let code = expanded("get", "\"/\"", "async fn f() -> &'static str { \"x\" }");
    in_order(
        &code,
        &[
            "async fn f() -> &'static str",
            "of_function",
            "f().await",
            "respond_value",
        ],
    );
    let code = expanded(
        "get",
        "\"/\"",
        "#[send] async fn f() -> &'static str { \"x\" }",
    );
    in_order(
        &code,
        &[
            "async fn f(__hl_stream: &mut",
            "__hl_ctx: &mut",
            "respond_value",
            "send",
            "of_function",
        ],
    );
    let code = expanded(
        "get",
        "\"/\"",
        "async fn f(ctx: &mut Context, stream: &mut Stream) {}",
    );
    in_order(
        &code,
        &[
            "f(&mut *__hl_ctx, &mut *__hl_stream).await",
            "Status::Continue",
        ],
    );
}

#[test]
fn a_route_function_takes_arguments_with_named_types_only() {
    for (item, part) in [
        ("async fn f(n: impl Sized) {}", "a type with a name"),
        ("async fn f(c: &mut Alias) {}", "unclear"),
        ("async fn f<T>() {}", "generic"),
        ("fn f() {}", "add `async`"),
        ("async fn f(&self) {}", "free function"),
        ("struct S<T>(T);", "generic"),
    ] {
        let messages = errors(&expanded("route", "\"/\"", item));
        assert!(
            messages.iter().any(|message| message.contains(part)),
            "{item}: {messages:?}"
        );
    }
}

#[test]
fn a_read_loop_wants_a_body_without_a_value_of_its_own() {
    for (item, part) in [
        (
            "async fn f(s: &mut Stream, c: &mut Context) -> usize { 1 }",
            "return `Status` or nothing",
        ),
        (
            "async fn f(s: &mut Stream, c: &mut Context) { break 3; }",
            "has no value",
        ),
        (
            "#[try_get_http_request] async fn f(s: &mut Stream, c: &mut Context) {}",
            "keep one of the two",
        ),
        (
            "#[get(\"/\")] async fn f(c: &mut Context) -> String { break }",
            "needs a value",
        ),
    ] {
        let messages = errors(&expanded("try_get_websocket_request", "", item));
        assert!(
            messages.iter().any(|message| message.contains(part)),
            "{item}: {messages:?}"
        );
    }
}

#[test]
fn breaks_of_inner_loops_stay() {
    let body =
        "for x in y { break; } while break {} || { loop { continue } }; 'a: loop { break 'a; }";
    let item = format!(
        "async fn f(s: &mut Stream, c: &mut Context) {{ {body} if a {{ continue }} break; }}"
    );
    let code = expanded("try_get_websocket_request", "", &item);
    assert!(errors(&code).is_empty(), "{code}");
    in_order(
        &code,
        &[
            "for x in y { break; }",
            "loop { continue }",
            "break 'a",
            "__hl_over = false;",
            "break '__hl_body",
        ],
    );
    // `while break {}` belongs to that very loop.
    in_order(&code, &["while break {}"]);
}

#[test]
fn an_async_block_holds_only_bodies_that_can_leave() {
    for (body, wrapped) in [
        ("x.await", false),
        ("return", true),
        ("x?; ", true),
        ("select! { a => x }", true),
        ("bail!()", true),
        ("println!(\"{x}\")", false),
        ("let y = vec![x?];", true),
        ("let f = || return;", false),
        ("async { x? };", false),
    ] {
        let item = format!("async fn f(s: &mut Stream, c: &mut Context) {{ {body} }}");
        let code = expanded("send", "", &item);
        assert_eq!(code.contains("} . await"), wrapped, "{body}: {code}");
    }
    let code = expanded(
        "response_body",
        "1",
        "async fn f(c: &mut Context) { return }",
    );
    assert!(
        !code.contains("async {"),
        "nothing follows the body, so it needs no block: {code}"
    );
}

#[test]
fn errors_of_all_attributes_are_reported_together() {
    let item = format!(
        "#[route_param(\"a\" -> b)] #[host] #[methods(got)] #[filter = 1] #[inline] {HANDLE}"
    );
    let code = expanded("response_header", "\"a\"", &item);
    let messages = errors(&code);
    assert_eq!(messages.len(), 5, "{messages:?}");
    assert!(messages[0].contains("`=>` to set"));
    assert!(
        messages
            .iter()
            .any(|message| message.contains("did you mean `get`?"))
    );
    assert!(code.contains("# [inline] async fn handle"), "{code}");
}

#[test]
fn duplicates_in_a_list_are_refused() {
    for (name, args) in [
        ("request_body", "a, a"),
        ("route_param", "\"x\" => a, \"y\" => a"),
        ("methods", "get, get"),
        ("hyperlane", "a: A, a: B"),
    ] {
        let messages = errors(&expanded(name, args, HANDLE));
        assert!(messages[0].contains("named twice"), "{name}: {messages:?}");
    }
}

#[test]
fn a_guard_cannot_decline_in_new() {
    let item = "async fn new(stream: &mut Stream, ctx: &mut Context) -> Self { Self }";
    for (name, args) in [("is_get_method", ""), ("filter", "x")] {
        assert!(errors(&expanded(name, args, item))[0].contains("move it to `handle`"));
    }
    assert!(errors(&expanded("request_body", "x", item)).is_empty());
}

#[test]
fn a_macro_that_comes_after_the_others_were_expanded_is_refused() {
    let once = expanded(
        "request_body",
        "x",
        "async fn f(ctx: &mut Context) -> Status { Status::Continue }",
    );
    let messages = errors(&expanded("filter", "x", &once));
    assert!(
        messages[0].contains("import it under its own name"),
        "{messages:?}"
    );
    let once = expanded("send", "", HANDLE);
    assert!(
        errors(&expanded("hyperlane", "a: A", &once)).is_empty(),
        "variables have no phase to miss"
    );
}

#[test]
fn a_server_takes_in_the_hooks() {
    let code = expanded(
        "hyperlane",
        "server: hyperlane::Server, list: Vec<u8>",
        "fn main() { run() }",
    );
    in_order(
        &code,
        &[
            "let mut server: hyperlane::Server",
            "server.__register_all();",
            "let mut list",
            "run()",
        ],
    );
    assert_eq!(code.matches("__register_all").count(), 1);
}

#[test]
fn the_table_has_both_sides_of_every_list() {
    for (name, side) in [("prologue", Side::Before), ("epilogue", Side::After)] {
        let role = |suffix: &str| {
            ROWS.iter()
                .find(|row| row.name == format!("{name}_{suffix}"))
                .map(|row| row.role)
        };
        assert_eq!(role("hooks"), Some(Role::Hooks(side)));
        assert_eq!(role("macros"), Some(Role::Macros(side)));
    }
}

#[test]
fn an_expansion_is_made_of_whole_items() {
    let code = expanded(
        "route",
        "\"/\"",
        "#[send] async fn f(ctx: &mut Context) -> impl IntoResponse { ctx.x()? }",
    );
    let file: syn::File = syn::parse_str(&code).unwrap();
    assert_eq!(file.items.len(), 2, "{}", file.to_token_stream());
}

#[test]
fn attributes_inside_the_body_stay_inside() {
    let code = expanded(
        "send",
        "",
        "async fn f(s: &mut Stream, c: &mut Context) { #![allow(unused)] body() }",
    );
    in_order(&code, &["async fn f", "{ #![allow(unused)]", "body()"]);
}

#[test]
fn a_value_may_be_a_struct_literal() {
    let code = expanded("response_body", "Body { text: 1 }", HANDLE);
    syn::parse_str::<syn::ItemFn>(&code).unwrap();
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

/// Attributes of every phase, one group per phase; within a group the order counts. The first group is other crates'.
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

/// Splits `#[name(args)]`.
fn split(attribute: &str) -> (&str, &str) {
    let inner = attribute.trim_start_matches("#[").trim_end_matches(']');
    let (name, args) = inner.split_once('(').unwrap_or((inner, ""));
    (name, args.strip_suffix(')').unwrap_or(args))
}

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
            // Draws the groups into one another.
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
            // The compiler hands the item to the first of ours; what stands above stays on it.
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
fn a_broken_function_keeps_its_signature_and_its_body_for_editors() {
    let code = expanded(
        "send",
        "a b",
        "/// Text.\n async fn f(&self, n: usize) -> u8 { it.body() }",
    );
    in_order(
        &code,
        &[
            "#[doc = \" Text.\"]",
            "async fn f(&self, n: usize) -> u8 {",
            "#[cfg(rust_analyzer)] return { it.body() };",
            "loop {}",
            "compile_error",
        ],
    );
    let code = expanded("send", "a b", "async fn f() -> impl Display { 1 }");
    in_order(
        &code,
        &["async fn f() -> impl Display { 1 }", "compile_error"],
    );
}

#[test]
fn macros_that_exclude_each_other_are_refused_once_with_a_mend() {
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
            "declines all that `#[get]` takes",
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
            "asks for a known upgrade",
        ),
        (
            "#[is_unknown_upgrade_type] #[websocket(w)]",
            HANDLE,
            "asks for a known upgrade",
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
        // Whichever of them is expanded.
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
fn macros_that_only_look_as_if_they_excluded_each_other_stand_together() {
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

#[test]
fn needed_parameters_are_left_for_the_registration_to_compare() {
    let code = expanded("route_param", "\"a\" => a, KEY => b, \"c\" => c", HANDLE);
    in_order(&code, &["const PARAMS", "&[\"a\", \"c\"]", "fn handle"]);
    let new = "async fn new(_: &mut Stream, _: &mut Context) -> Self { Self }";
    in_order(
        &expanded("route_param", "\"a\" => a", new),
        &["const NEW_PARAMS", "&[\"a\"]"],
    );
    let code = expanded("try_get_route_param", "\"a\" => a", HANDLE);
    assert!(!code.contains("PARAMS"), "{code}");
    let code = expanded(
        "route",
        "PATH",
        "#[route_param(\"a\" => a)] async fn f() {}",
    );
    in_order(&code, &["of_function", ".params(&[\"a\"])"]);
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

#[test]
fn every_macro_has_a_program_that_compiles_and_one_that_does_not() {
    for folder in ["pass", "fail"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
        let files = std::fs::read_dir(path.join(folder)).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let programs: String = files
            .filter(|file| file.extension().is_some_and(|ending| ending == "rs"))
            .map(|file| std::fs::read_to_string(file).unwrap())
            .collect();
        let words: Vec<&str> = programs
            .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .collect();
        let names = ROWS.iter().map(|row| row.name);
        let missing: Vec<&str> = names.filter(|name| !words.contains(name)).collect();
        assert!(missing.is_empty(), "{folder}: {missing:?}");
    }
}
