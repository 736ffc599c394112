//! Entries of `epilogue_macros` that name variables of the body, and guards in the list. The functions take only a
//! context, so they need no server.

use std::future::Future;
use std::task::{Poll, Waker};

use hyperlane::*;

/// Runs a function that is ready at once.
fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future
        .as_mut()
        .poll(&mut std::task::Context::from_waker(Waker::noop()))
    {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the function waits"),
    }
}

/// Returns the body of the response.
fn body(ctx: &Context) -> String {
    String::from_utf8_lossy(ctx.get_response().get_body()).into_owned()
}

/// Returns the values of the response's header field `x`, in order.
fn marks(ctx: &Context) -> String {
    let values = ctx.get_response().get_headers().get_all("x");
    values.collect::<Vec<_>>().join(" ")
}

// ------------------------------------------------------------------------------------------------ variables

#[epilogue_macros(response_body(&text))]
async fn plain(ctx: &mut Context) -> Status {
    let _ = ctx;
    let text: Vec<u8> = b"of the body".to_vec();
    Status::Reject
}

#[epilogue_macros(response_body(text))]
async fn moved_and_without_tail(ctx: &mut Context) {
    let text = format!("of {}", ctx.get_request().get_method());
}

#[epilogue_macros(response_status_code(code), response_reason_phrase(&phrase), response_header(key, value), response_body(text))]
async fn patterns(ctx: &mut Context) {
    let (code, Some(text)) = (201, Some("body")) else {
        return;
    };
    let [ref phrase, ..] = [String::from("Fine"), String::new()];
    let (key, value) = ("x", String::from("1"));
}

#[epilogue_macros(response_body(format!("{text:>width$}")))]
async fn in_a_format_string(ctx: &mut Context) {
    let width = 4;
    let text = "a";
}

#[test]
fn an_entry_sees_the_lets_of_the_outermost_block() {
    let mut ctx = Context::default();
    assert!(run(plain(&mut ctx)).is_reject());
    assert_eq!(body(&ctx), "of the body");
    run(moved_and_without_tail(&mut ctx));
    assert_eq!(body(&ctx), "of GET");
    run(patterns(&mut ctx));
    assert_eq!((body(&ctx), marks(&ctx)), ("body".into(), "1".into()));
    let response = ctx.get_response();
    assert_eq!(
        (response.get_status_code(), response.get_reason_phrase()),
        (201, "Fine")
    );
    run(in_a_format_string(&mut ctx));
    assert_eq!(body(&ctx), "   a");
}

#[epilogue_macros(response_header("x", format!("{text}")), response_body(text))]
async fn shadows(ctx: &mut Context, text: &str) {
    let text = text.to_uppercase();
}

const TEXT: &str = "outer";

#[epilogue_macros(response_body(TEXT), response_header("x" => self_text.text))]
async fn only_names_count(ctx: &mut Context, self_text: Holder, early: bool) {
    let text = "a field of this name is no variable of the body";
    if early {
        return;
    }
    let _ = text;
}

struct Holder {
    text: &'static str,
}

#[test]
fn a_shadowed_name_is_the_bodys() {
    let mut ctx = Context::default();
    run(shadows(&mut ctx, "loud"));
    assert_eq!((body(&ctx), marks(&ctx)), ("LOUD".into(), "LOUD".into()));
    for early in [true, false] {
        let mut ctx = Context::default();
        run(only_names_count(&mut ctx, Holder { text: "field" }, early));
        assert_eq!((body(&ctx), marks(&ctx)), ("outer".into(), "field".into()));
    }
}

#[epilogue_macros(
    response_header("x", path),
    response_body(target),
    response_reason_phrase(query)
)]
async fn borrows_from_the_context(ctx: &mut Context) {
    let (path, target) = (ctx.get_request().get_path(), "target");
    let query = "query";
}

#[epilogue_macros(response_body(text), response_header("x", ctx))]
async fn hides_the_context(ctx: &mut Context) {
    let text = ctx.get_request().get_path().to_owned();
    let ctx = "no context";
}

#[epilogue_macros(response_body(text), response_header("x", ctx.get_request().get_path()))]
async fn moves_the_context(ctx: &mut Context) {
    let mine = ctx;
    let text = mine.get_request().get_method().to_string();
}

#[test]
fn an_entry_may_borrow_from_a_context_that_the_body_borrows_hides_or_moves() {
    let mut ctx = Context::default();
    run(borrows_from_the_context(&mut ctx));
    assert_eq!((body(&ctx), marks(&ctx)), ("target".into(), "/".into()));
    let mut ctx = Context::default();
    run(hides_the_context(&mut ctx));
    assert_eq!((body(&ctx), marks(&ctx)), ("/".into(), "no context".into()));
    let mut ctx = Context::default();
    run(moves_the_context(&mut ctx));
    assert_eq!((body(&ctx), marks(&ctx)), ("GET".into(), "/".into()));
}

// ------------------------------------------------------------------------------------------------ order

#[epilogue_macros(response_header("x", "list"), response_header("x", late), response_body(ctx.get_response().get_body().len().to_string()))]
async fn after_the_tail(ctx: &mut Context) -> usize {
    let late = "let";
    mark(ctx, "tail")
}

fn mark(ctx: &mut Context, text: &str) -> usize {
    let response = ctx.get_mut_response();
    response.add_header("x", text).set_body("tail");
    text.len()
}

#[test]
fn the_list_runs_in_its_order_after_the_tail() {
    let mut ctx = Context::default();
    assert_eq!(run(after_the_tail(&mut ctx)), 4);
    assert_eq!(
        (body(&ctx), marks(&ctx)),
        ("4".into(), "tail list let".into())
    );
}

#[epilogue_macros(request_path(text), response_body(text))]
async fn bound_by_the_list(ctx: &mut Context, early: bool) {
    let text = "of the body";
    if early {
        return;
    }
    let _ = text;
}

#[epilogue_macros(response_header("x", key), try_get_request_header(key => found), response_body(format!("{found:?}")))]
async fn bound_by_an_entry_of_the_body(ctx: &mut Context, early: bool) {
    let key = "absent";
    if early {
        return;
    }
}

#[test]
fn a_variable_that_the_list_binds_is_the_lists() {
    for early in [true, false] {
        let mut ctx = Context::default();
        run(bound_by_the_list(&mut ctx, early));
        assert_eq!(body(&ctx), "/", "{early}");
        let mut ctx = Context::default();
        run(bound_by_an_entry_of_the_body(&mut ctx, early));
        let expected = if early { ("", "") } else { ("None", "absent") };
        assert_eq!((body(&ctx).as_str(), marks(&ctx).as_str()), expected);
    }
}

// ------------------------------------------------------------------------------------------------ early exits

#[epilogue_macros(response_header("x", "always"), response_header("x", &text), response_body("set"))]
async fn leaves_early(ctx: &mut Context, input: &str) -> Result<u8, std::num::ParseIntError> {
    if input.is_empty() {
        return Ok(0);
    }
    let number = input.parse::<u8>()?;
    let text = number.to_string();
    Ok(number)
}

#[epilogue_macros(response_header("x", &text), response_body("set"))]
async fn never_reaches_its_end(ctx: &mut Context) -> Status {
    let text = String::new();
    drop(text);
    return Status::Reject;
}

macro_rules! bail {
    () => {
        return Status::Reject
    };
}

#[epilogue_macros(response_header("x", &text), response_body("set"))]
async fn leaves_by_a_macro(ctx: &mut Context, early: bool) -> Status {
    let text = String::from("reached");
    if early {
        bail!();
    }
    Status::Continue
}

#[test]
fn entries_that_name_the_body_are_left_out_if_it_is_left_early() {
    for (input, value, expected) in [
        ("", Some(0), "always"),
        ("x", None, "always"),
        ("7", Some(7), "always 7"),
    ] {
        let mut ctx = Context::default();
        assert_eq!(run(leaves_early(&mut ctx, input)).ok(), value);
        assert_eq!(
            (body(&ctx), marks(&ctx)),
            ("set".into(), expected.into()),
            "{input}"
        );
    }
    let mut ctx = Context::default();
    assert!(run(never_reaches_its_end(&mut ctx)).is_reject());
    assert_eq!((body(&ctx), marks(&ctx)), ("set".into(), String::new()));
    for (early, expected) in [(true, ""), (false, "reached")] {
        let mut ctx = Context::default();
        assert_eq!(run(leaves_by_a_macro(&mut ctx, early)).is_reject(), early);
        assert_eq!((body(&ctx), marks(&ctx)), ("set".into(), expected.into()));
    }
}

// ------------------------------------------------------------------------------------------------ guards

#[epilogue_macros(
    response_header("x", "first"),
    is_post_method,
    response_header("x", "posted")
)]
#[epilogue_macros(filter(open), response_header("x", "open"), reject(!open), response_header("x", "still"))]
async fn guarded(ctx: &mut Context, open: bool) -> Status {
    let _ = ctx;
    Status::Continue
}

#[epilogue_macros(response_header("x", "first"), filter(number > 1), response_header("x", "many"))]
#[epilogue_macros(response_body("set"))]
async fn guarded_by_the_body(ctx: &mut Context, text: &str) -> Option<u8> {
    let number = text.parse::<u8>().ok()?;
    Some(number)
}

#[test]
fn a_guard_that_refuses_ends_its_list_alone() {
    for (method, open, expected) in [
        (Method::Get, false, "first"),
        (Method::Get, true, "first open still"),
        (Method::Post, false, "first posted"),
        (Method::Post, true, "first posted open still"),
    ] {
        let mut ctx = Context::default();
        ctx.get_mut_request().set_method(method);
        assert!(run(guarded(&mut ctx, open)).is_continue());
        assert_eq!(marks(&ctx), expected);
        assert_eq!(ctx.get_response().get_status_code(), 200);
    }
    // A guard that is left out refuses nothing.
    for (text, expected) in [("1", "first"), ("2", "first many"), ("x", "first many")] {
        let mut ctx = Context::default();
        assert_eq!(run(guarded_by_the_body(&mut ctx, text)), text.parse().ok());
        assert_eq!(
            (body(&ctx), marks(&ctx)),
            ("set".into(), expected.into()),
            "{text}"
        );
    }
}
