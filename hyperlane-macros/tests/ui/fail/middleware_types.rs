use hyperlane::*;

#[middleware]
async fn wrong_order(_: Next<'_>, _: &mut Context) {}

struct NotMiddleware;

#[get("/with")]
#[with(NotMiddleware)]
async fn with() {}

static NUMBER: u32 = 7;

#[get("/scope", scope = NUMBER)]
async fn scope() {}

fn main() {}
