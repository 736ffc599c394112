use hyperlane::*;

static API: Scope = Scope::new("/api").with(&log).max_body(64);

async fn log(ctx: &mut Context, next: Next<'_>) -> Status {
    next.run(ctx).await
}

async fn check(ctx: &mut Context, next: Next<'_>) -> Result<Status, Error> {
    Ok(next.run(ctx).await)
}

#[middleware]
#[middleware(1, scope = API)]
async fn timing(ctx: &mut Context, next: Next<'_>) {
    next.run(ctx).await;
}

#[get("/explicit", scope = API)]
#[with(log, check,)]
async fn explicit() {}

#[request_middleware(scope = API)]
struct Before;

impl ServerHook for Before {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        Status::Continue
    }
}

mod file {
    use hyperlane::*;

    file_scope!(
        "/file/{id}",
        with(super::log, super::check),
        max_body = 1024,
        server = "server",
        inside = super::API,
    );

    #[get("/")]
    #[allow(dead_code)]
    async fn route() {}
}

// Neither a prefix nor options, and a prefix that is a constant.
mod constant {
    const PREFIX: &str = "/constant";

    hyperlane::file_scope!(PREFIX);
}


#[scope("/place", with(super::log, inner))]
pub mod place {
    use hyperlane::*;

    pub async fn inner(ctx: &mut Context, next: Next<'_>) -> Status {
        next.run(ctx).await
    }

    #[get("/")]
    #[allow(dead_code)]
    async fn route() {}
}

fn main() {
    let _ = (timing, explicit);
}
