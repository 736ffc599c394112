//! The order in which expanded functions run their macros. Functions that take only a context need no server.

use std::future::Future;
use std::num::ParseIntError;
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

#[response_body(&format!("{text:?}"))]
#[filter(text.is_none())]
#[try_get_route_param("text" => text)]
async fn stacked(ctx: &mut Context) -> Status {
    let _ = ctx;
    Status::Reject
}

#[test]
fn a_setter_sees_what_an_extractor_below_it_binds() {
    let mut ctx = Context::default();
    assert!(matches!(run(stacked(&mut ctx)), Status::Reject));
    assert_eq!(body(&ctx), "None");
}

#[response_body("set")]
#[epilogue_macros(response_body("after"))]
#[filter(allowed)]
async fn conditional(ctx: &mut Context, allowed: bool) {
    assert_eq!(body(ctx), "set");
}

#[test]
fn a_false_filter_skips_setters_body_and_epilogues() {
    let mut ctx = Context::default();
    run(conditional(&mut ctx, false));
    assert_eq!(body(&ctx), "");
    run(conditional(&mut ctx, true));
    assert_eq!(body(&ctx), "after");
}

#[reject(banned)]
#[response_body("in")]
async fn rejected(ctx: &mut Context, banned: bool) -> Status {
    let _ = ctx;
    Status::Continue
}

#[test]
fn reject_is_the_reverse_of_filter() {
    let mut ctx = Context::default();
    run(rejected(&mut ctx, true));
    assert_eq!(body(&ctx), "");
    run(rejected(&mut ctx, false));
    assert_eq!(body(&ctx), "in");
}

#[epilogue_macros(response_body("after"))]
async fn early(ctx: &mut Context, number: &str) -> Result<u32, ParseIntError> {
    ctx.get_mut_response().set_body("body");
    if number.is_empty() {
        return Ok(0);
    }
    let number = number.parse::<u32>()?;
    Ok(number + 1)
}

#[test]
fn epilogues_run_after_return_and_question_mark() {
    for (number, expected) in [("", Some(0)), ("x", None), ("1", Some(2))] {
        let mut ctx = Context::default();
        assert_eq!(run(early(&mut ctx, number)).ok(), expected, "{number}");
        assert_eq!(body(&ctx), "after", "{number}");
    }
}

macro_rules! bail {
    () => {
        return Status::Reject
    };
}

#[epilogue_macros(response_body("after"))]
async fn hidden(ctx: &mut Context) -> Status {
    if body(ctx).is_empty() {
        bail!();
    }
    Status::Continue
}

#[test]
fn epilogues_run_after_a_return_that_a_macro_hides() {
    let mut ctx = Context::default();
    assert!(matches!(run(hidden(&mut ctx)), Status::Reject));
    assert_eq!(body(&ctx), "after");
}

#[prologue_macros(response_body("1"), filter(go), response_body("2"))]
async fn listed(ctx: &mut Context, go: bool) {
    let text = body(ctx);
    ctx.get_mut_response().set_body(text + "3");
}

#[test]
fn a_list_runs_in_its_own_order() {
    let mut ctx = Context::default();
    run(listed(&mut ctx, false));
    assert_eq!(body(&ctx), "1");
    run(listed(&mut ctx, true));
    assert_eq!(body(&ctx), "23");
}

#[is_get_method]
#[response_body("declined?")]
async fn guarded(ctx: &mut Context) -> Status {
    let _ = ctx;
    Status::Continue
}

#[test]
fn a_guard_declines_before_anything_is_set() {
    let mut ctx = Context::default();
    ctx.get_mut_request().set_method(Method::Post);
    run(guarded(&mut ctx));
    assert_eq!(body(&ctx), "");
}

#[epilogue_macros(response_body("after"))]
async fn moves_the_context(ctx: &mut Context) {
    let mine = ctx;
    mine.get_mut_response().set_body("body");
}

#[test]
fn a_body_may_move_the_context_away() {
    let mut ctx = Context::default();
    run(moves_the_context(&mut ctx));
    assert_eq!(body(&ctx), "after");
}
