//! Tests of macro arguments, and of the errors about wrong arguments.

use super::{HANDLE, errors, expanded, in_order};

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
fn a_value_may_be_a_struct_literal() {
    let code = expanded("response_body", "Body { text: 1 }", HANDLE);
    syn::parse_str::<syn::ItemFn>(&code).unwrap();
}
