//! Cookies as a client sees them.

use std::sync::LazyLock;

use hyperlane::{
    cookie::{Cookie, Key, SameSite},
    prelude::*,
};
use test_support::{Client, address, hook, start};

static KEY: LazyLock<Key> = LazyLock::new(Key::generate);

hook! {
    Read |_, ctx| {
        let text = format!(
            "{:?} {:?} {}",
            ctx.cookie("a"),
            ctx.cookie("b"),
            ctx.cookies().iter().count()
        );
        ctx.get_mut_response().set_body(text);
    }
    Set |_, ctx| {
        ctx.set_cookie(("a", "first"))
            .set_cookie(
                Cookie::build(("a", "1"))
                    .path("/")
                    .http_only(true)
                    .secure(true)
                    .same_site(SameSite::Lax),
            )
            .set_cookie(("ab", "2"))
            .remove_cookie("old");
    }
    Malformed |_, ctx| {
        ctx.set_cookie(("a", "1; Domain=evil"))
            .set_cookie(("a b", "1"))
            .set_cookie(("", "1"))
            .set_cookie(("a", "1\r\nx-evil: 1"))
            .set_cookie(("a", "1 "))
            .set_cookie(Cookie::build(("a", "1")).path("/; Domain=evil"));
    }
    Jar |_, ctx| {
        let mut jar = ctx.cookies();
        jar.add(("new", "1"));
        jar.remove("a");
        ctx.set_cookies(&jar);
    }
    SetSecure |_, ctx| {
        ctx.set_signed_cookie(&KEY, ("signed", "user 7"))
            .set_private_cookie(&KEY, ("private", "secret"));
    }
    ReadSecure |_, ctx| {
        let text = format!(
            "{:?} {:?}",
            ctx.signed_cookie(&KEY, "signed"),
            ctx.private_cookie(&KEY, "private")
        );
        ctx.get_mut_response().set_body(text);
    }
}

async fn client() -> Client {
    let control = start(|server| {
        server
            .route::<Read>("/read")
            .route::<Set>("/set")
            .route::<Malformed>("/malformed")
            .route::<Jar>("/jar")
            .route::<SetSecure>("/set-secure")
            .route::<ReadSecure>("/read-secure");
    })
    .await;
    Client::connect(address(&control)).await
}

#[tokio::test]
async fn cookies_of_all_fields_are_read_and_the_first_of_a_name_counts() {
    let mut client = client().await;
    for (fields, expected) in [
        ("", "None None 0"),
        ("cookie: a=1\r\n", "Some(\"1\") None 1"),
        ("cookie: a=1; b=2; c=3\r\n", "Some(\"1\") Some(\"2\") 3"),
        (
            "cookie: a=1\r\nCookie: b=x=y\r\n",
            "Some(\"1\") Some(\"x=y\") 2",
        ),
        ("cookie: a=1; a=2\r\n", "Some(\"1\") None 1"),
        ("cookie: junk; =x; ;; b=2\r\n", "None Some(\"2\") 1"),
    ] {
        client.request("GET", "/read", fields).await;
        assert_eq!(client.reply().await.text(), expected, "{fields}");
    }
}

#[tokio::test]
async fn a_response_sets_each_cookie_once() {
    let mut client = client().await;
    let reply = client.get("/set").await;
    let set = reply.all("set-cookie");
    assert_eq!(set[0], "a=1; HttpOnly; SameSite=Lax; Secure; Path=/");
    assert_eq!(set[1], "ab=2");
    assert!(set[2].starts_with("old=; Max-Age=0; Expires="), "{set:?}");
    assert_eq!(set.len(), 3);
}

#[tokio::test]
async fn a_value_cannot_become_an_attribute_or_a_field() {
    let reply = client().await.get("/malformed").await;
    assert!(reply.all("set-cookie").is_empty(), "{}", reply.head);
    assert!(!reply.head.contains("evil"));
}

#[tokio::test]
async fn a_jar_sends_what_was_changed_in_it() {
    let mut client = client().await;
    client.request("GET", "/jar", "cookie: a=1; b=2\r\n").await;
    let reply = client.reply().await;
    let mut set = reply.all("set-cookie");
    set.sort_unstable();
    assert_eq!(set.len(), 2, "{set:?}");
    assert!(set[0].starts_with("a=; Max-Age=0"));
    assert_eq!(set[1], "new=1");
}

#[tokio::test]
async fn secure_cookies_come_back_only_as_they_were_set() {
    let mut client = client().await;
    let reply = client.get("/set-secure").await;
    let set = reply.all("set-cookie");
    let sent = |name: &str| {
        let prefix = format!("{name}=");
        let cookie = set.iter().find(|set| set.starts_with(&prefix)).unwrap();
        cookie.to_string()
    };
    let (signed, private) = (sent("signed"), sent("private"));
    assert!(signed.contains("user 7") && !private.contains("secret"));
    let changed = signed.replace("user 7", "user 8");
    let moved = private.replace("private=", "signed=");
    for (cookies, expected) in [
        (
            format!("{signed}; {private}"),
            "Some(\"user 7\") Some(\"secret\")",
        ),
        (changed, "None None"),
        (moved, "None None"),
        ("signed=user 7; private=secret".to_owned(), "None None"),
    ] {
        client
            .request("GET", "/read-secure", &format!("cookie: {cookies}\r\n"))
            .await;
        assert_eq!(client.reply().await.text(), expected);
    }
}
