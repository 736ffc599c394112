//! Every extractor, each binding an owned value that outlives changes of the context.
#![deny(warnings)]

use hyperlane::*;

#[request_body(a, mut b)]
#[request_body_json(number: u32)]
#[request_body_json_result(outcome: Vec<u32>)]
#[route_param("id" => id)]
#[try_get_route_param("id" => maybe_id)]
#[request_query("page" => page)]
#[try_get_request_query("page" => maybe_page)]
#[request_header("accept" => accept)]
#[try_get_request_header("accept" => maybe_accept)]
#[request_cookie("theme" => theme)]
#[try_get_request_cookie("theme" => maybe_theme)]
#[attribute("count" => count: usize)]
#[try_get_attribute("count" => maybe_count: usize)]
#[task_panic_data(panicked)]
#[try_get_task_panic_data(maybe_panicked)]
#[request_error_data(refused)]
#[try_get_request_error_data(maybe_refused)]
pub async fn all(ctx: &mut Context) -> usize {
    ctx.get_mut_response().set_body("changed");
    b.clone_from(&a);
    let _: (u32, Option<u32>) = (number, outcome.ok().and_then(|list| list.first().copied()));
    let _: (String, Option<String>, String, Option<String>) = (id, maybe_id, page, maybe_page);
    let _: (String, Option<String>) = (accept, maybe_accept);
    let _: (String, Option<String>) = (theme, maybe_theme);
    let _ = (panicked, maybe_panicked, refused, maybe_refused);
    count + maybe_count.unwrap_or_default()
}

#[request_body(unused)]
pub async fn may_stay_unused(ctx: &Context) {
    let _ = ctx;
}

#[post("/stream")]
#[body_stream(mut body, _again)]
#[max_body(64 * 1024)]
pub async fn streamed() -> Result<String, RequestError> {
    Ok(format!("{}", body.read_to_end(10).await?.len()))
}

pub struct Streamed;

impl ServerHook for Streamed {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[max_body(1024)]
    #[is_post_method]
    #[body_stream(body)]
    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        drop(body);
        Status::Continue
    }
}

const _: () = assert!(matches!(Streamed::BODY, BodyMode::Stream));
const _: () = assert!(matches!(Streamed::MAX_BODY, Some(1024)));

fn main() {}
