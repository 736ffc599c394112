//! Tests of expanded functions: parameters, registrations, bodies and read loops.

use quote::ToTokens;

use super::{HANDLE, errors, expanded, in_order};

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
fn errors_about_parameters_say_what_to_write() {
    for (signature, part) in [
        ("x: &mut Alias", "unclear"),
        ("s: &mut Stream, a: &mut A, b: &mut B", "unclear"),
        ("s: &Stream, c: &mut Context", "must be `&mut Stream`"),
        (
            "Stream { .. }: &mut Stream, c: &mut Context",
            "give this parameter a name",
        ),
        ("s: Stream, c: Context", "by reference; write `&mut Stream`"),
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
fn a_read_loop_refuses_a_body_with_a_value_of_its_own() {
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
            "without a value",
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
    // The expansion does not change the `break` in `while break {}`. The compiler then refuses this `break`, because it
    // has no label (E0590).
    in_order(&code, &["while break {}"]);
}

#[test]
fn only_a_body_that_can_return_stands_in_an_async_block() {
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
fn a_guard_cannot_decline_in_new() {
    let item = "async fn new(stream: &mut Stream, ctx: &mut Context) -> Self { Self }";
    for (name, args) in [("is_get_method", ""), ("filter", "x")] {
        assert!(errors(&expanded(name, args, item))[0].contains("move it to `handle`"));
    }
    assert!(errors(&expanded("request_body", "x", item)).is_empty());
}

#[test]
fn a_macro_that_is_expanded_after_the_others_is_refused() {
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
fn a_server_takes_the_registered_hooks() {
    let code = expanded(
        "hyperlane",
        "server: hyperlane::Server, list: Vec<u8>",
        "fn main() { run() }",
    );
    in_order(
        &code,
        &[
            "let mut server: hyperlane::Server",
            "server.name(\"server\").__register_all();",
            "let mut list",
            "run()",
        ],
    );
    assert_eq!(code.matches("__register_all").count(), 1);
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
fn required_parameters_are_compared_by_the_registration() {
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
