//! Every guard: on a handler, on a helper, in a list, with `self` in its expression.
#![deny(warnings)]

use hyperlane::*;

const HOST: &str = "a.example";

#[request_middleware]
struct Hook {
    page: String,
}

impl ServerHook for Hook {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self {
            page: String::new(),
        }
    }

    #[response_body("many of them")]
    #[is_post_method]
    #[methods(get, post)]
    #[is_http1_1_version]
    #[is_http1_1_or_higher_version]
    #[is_http_version]
    #[host(HOST, "b.example")]
    #[reject_host(format!("c.{HOST}"))]
    #[referer(self.page.as_str())]
    #[prologue_macros(reject_referer("https://d.example/"))]
    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        Status::Continue
    }
}

#[is_get_method]
#[host("a.example")]
pub async fn helper(ctx: &Context) {
    let _ = ctx;
}

/// One function per guard.
macro_rules! each {
    ($($guard:ident)*) => {$(
        #[$guard]
        pub async fn $guard(ctx: &mut Context) -> Status {
            let _ = ctx;
            Status::Continue
        }
    )*};
}

mod each {
    use hyperlane::*;

    each! {
        is_get_method is_post_method is_put_method is_delete_method is_patch_method is_head_method
        is_options_method is_connect_method is_trace_method is_query_method is_unknown_method
        is_ws_upgrade_type is_h2c_upgrade_type is_tls_upgrade_type is_unknown_upgrade_type
        is_http0_9_version is_http1_0_version is_http1_1_version is_http2_version is_http3_version
        is_http1_1_or_higher_version is_http_version is_unknown_version
    }
}

fn main() {}
