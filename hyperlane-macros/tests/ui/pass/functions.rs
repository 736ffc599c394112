//! Plain functions as routes, with either parameter, both or none, and any response.
#![deny(warnings)]

use hyperlane::*;

#[route("/hello")]
async fn hello(ctx: &mut Context) -> impl IntoResponse {
    let _ = ctx;
    "hello"
}

#[get("/nothing")]
#[spawned]
async fn nothing() -> &'static str {
    "nothing"
}

#[post("/stream/{id}")]
#[put("/stream/:id")]
#[send]
async fn stream_only(stream: &mut Stream) -> String {
    let _ = stream;
    String::new()
}

#[any("/both/{*rest}")]
#[route_param("rest" => rest)]
async fn both(ctx: &mut Context, stream: &mut Stream) -> impl IntoResponse {
    let _ = (ctx, stream);
    rest
}

#[patch("/status")]
#[host("localhost", "127.0.0.1")]
async fn status(_: &mut Stream, _: &mut Context) -> Status {
    Status::Continue
}

#[query("/find")]
async fn find(Json(names): Json<Vec<String>>) -> Json<usize> {
    Json(names.len())
}

#[delete(r"/unit/{id:\d+}")]
#[response_status_code(204)]
async fn unit() {}

#[cfg(any())]
#[options("/off")]
async fn configured_away() {
    missing()
}

fn main() {}
