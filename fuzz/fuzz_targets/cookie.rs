//! Cookies: whatever a client sends is read without a panic, and whatever a handler sets is one cookie on the wire that
//! comes back as it was set.
//!
//! The input's first line is a `Cookie` field; then name, value and path of a cookie to set, each on a line.

#![no_main]

use hyperlane_core::{
    Context,
    cookie::{Cookie, Key},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let mut lines = input.split('\n');
    let mut ctx = Context::default();
    send(&mut ctx, lines.next().unwrap_or_default());
    let jar = ctx.cookies();
    for cookie in jar.iter() {
        assert_eq!(
            ctx.cookie(cookie.name()).as_deref(),
            Some(cookie.value()),
            "the jar and the lookup disagree"
        );
    }

    let (Some(name), Some(value)) = (lines.next(), lines.next()) else {
        return;
    };
    let mut cookie = Cookie::new(name, value);
    if let Some(path) = lines.next() {
        cookie.set_path(path);
    }
    ctx.set_cookie(cookie);
    let headers = ctx.get_response().get_headers();
    let set: Vec<&str> = headers.get_all("set-cookie").collect();
    assert!(set.len() <= 1, "{set:?}");
    let Some(set) = set.first() else { return };
    assert!(!set.contains(char::is_control), "{set:?}");
    let read = Cookie::parse(*set).expect("a cookie");
    assert_eq!((read.name(), read.value()), (name, value));
    assert!(read.http_only().is_none() && read.secure().is_none() && read.domain().is_none());

    // Only what was signed with this key, under this name, is read again.
    let key = Key::from(&[7; 64]);
    let mut signing = Context::default();
    signing.set_signed_cookie(&key, Cookie::new(name.to_owned(), value.to_owned()));
    let headers = signing.get_response().get_headers();
    let Some(signed) = headers.get("set-cookie").map(str::to_owned) else {
        return;
    };
    let mut back = Context::default();
    send(&mut back, &signed);
    assert_eq!(back.signed_cookie(&key, name).as_deref(), Some(value));
    assert_eq!(back.signed_cookie(&Key::from(&[8; 64]), name), None);
    assert_eq!(ctx.signed_cookie(&key, name), None, "a forged cookie");
});

/// What is no field value never gets here from the wire.
fn send(ctx: &mut Context, field: &str) {
    let _ = ctx
        .get_mut_request()
        .get_mut_headers()
        .try_set("cookie", field);
}
