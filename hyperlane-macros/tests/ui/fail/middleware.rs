use hyperlane::*;

#[middleware]
async fn one_argument(_: &mut Context) {}

#[middleware]
fn not_async(_: &mut Context, _: Next<'_>) {}

#[middleware]
#[get("/both")]
async fn a_route_as_well(ctx: &mut Context, next: Next<'_>) -> Status {
    next.run(ctx).await
}

#[middleware]
async fn borrows<'a>(ctx: &'a mut Context, _: Next<'_>) -> &'a str {
    ctx.get_request().get_path()
}

#[middleware]
struct Hook;

#[middleware]
async fn generic<T>(_: &mut Context, _: Next<'_>) {}

struct Methods;

impl Methods {
    #[middleware]
    async fn method(&self, _: &mut Context, _: Next<'_>) {}
}

async fn log(ctx: &mut Context, next: Next<'_>) -> Status {
    next.run(ctx).await
}

#[with(log)]
async fn no_route() {}

#[with(log)]
#[request_middleware]
struct NoRoute;

fn main() {}
