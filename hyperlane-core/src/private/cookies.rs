//! Cookies of the request.

use cookie::CookieJar;

use crate::{Context, RequestError};

pub fn request_cookies(ctx: &Context) -> CookieJar {
    ctx.cookies()
}

pub fn try_request_cookie(ctx: &Context, name: impl AsRef<str>) -> Option<String> {
    ctx.cookie(name)
}

pub fn request_cookie(ctx: &Context, name: impl AsRef<str>) -> Result<String, RequestError> {
    let name = name.as_ref();
    try_request_cookie(ctx, name).ok_or_else(|| RequestError::missing("cookie", name))
}
