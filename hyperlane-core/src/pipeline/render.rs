//! Renders errors: writes the body of a response with an error status, unless a hook has written it.

use std::borrow::Cow;

use super::app::App;
use crate::{
    Context,
    error::ErrorInfo,
    http::{Described, describe, list_items},
    panic::contain,
    proto::http::{
        accept::prefers_json,
        write::{FieldLine, field_line},
    },
};

static PROBLEM: FieldLine = field_line!("content-type", "application/problem+json");

/// Renders the error of the response in the context, if it has one that no hook has rendered. `is_first` is false for
/// the second call of a request, which renders only what response middleware has failed with.
#[inline]
pub(super) fn render_error(ctx: &mut Context, app: &App, is_first: bool) {
    let response = ctx.get_response();
    let status = response.get_status_code();
    if status < 400 {
        return;
    }
    let is_bare = is_first
        && response.body().is_empty()
        && !response.is_body_streamed()
        && !response.has_header("content-type");
    if *response.described() != Described::No || is_bare {
        render(ctx, app, is_bare);
    }
}

/// Renders an error. `is_bare` is true if a hook has set the status alone: then only a function of the program adds a
/// body.
#[cold]
fn render(ctx: &mut Context, app: &App, is_bare: bool) {
    let renderer = app.chains.get(ctx.chain).errors.clone();
    let response = ctx.get_response();
    let status = response.get_status_code();
    let error = ErrorInfo {
        status: u16::try_from(status).unwrap_or(500),
        text: match response.described() {
            Described::Text(text) => Cow::Owned(text.to_string()),
            Described::No | Described::Phrase => Cow::Borrowed(""),
        },
        request_error: ctx.try_get_request_error_data(),
        panic: ctx.try_get_task_panic_data(),
    };
    if let Some(renderer) = renderer {
        let response = ctx.get_mut_response();
        response.forget_content().set_body_bytes("");
        let mut is_rendered = false;
        contain("in the function that renders errors", || {
            renderer.get().render(&error, ctx);
            is_rendered = true;
        });
        if !is_rendered {
            describe(ctx.get_mut_response(), 500);
        }
        ctx.get_mut_response().forget_description();
        return;
    }
    if is_bare {
        return;
    }
    let accept = ctx.get_request().get_headers().get_all("accept");
    if prefers_json(accept) {
        let body = serde_json::to_vec(&error).unwrap_or_default();
        let response = ctx.get_mut_response();
        response
            .forget_content()
            .set_line(&PROBLEM)
            .set_body_bytes(body);
    }
    vary(ctx);
}

/// Adds `Accept` to the field `vary` of the response (RFC 9110 §12.5.5).
fn vary(ctx: &mut Context) {
    let response = ctx.get_mut_response();
    let is_known = response
        .get_headers()
        .get_all("vary")
        .flat_map(list_items)
        .any(|item| item == "*" || item.eq_ignore_ascii_case("accept"));
    if !is_known {
        response.add_header("vary", "Accept");
    }
}
