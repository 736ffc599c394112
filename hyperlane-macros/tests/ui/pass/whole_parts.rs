//! Whole parts of a request, as owned values.
#![deny(warnings)]

use hyperlane::*;

#[request_version(version)]
#[request_path(path, mut again)]
#[request_querys(querys)]
#[request_headers(headers)]
#[request_cookies(cookies)]
#[route_params(params)]
#[attributes(attributes,)]
pub async fn all(ctx: &mut Context) -> usize {
    ctx.get_mut_response().set_body("changed");
    again.push_str(&path);
    let _: (HttpVersion, String, RequestQuerys, Headers) = (version, again, querys, headers);
    let _: (cookie::CookieJar, RouteParams) = (cookies, params);
    attributes.len()
}

fn main() {}
