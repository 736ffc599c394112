//! Conditional requests, ranges and redirects (RFC 9110 §13 to §15.4).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use hyperlane::{Redirect, parts::EntityTag, prelude::*};
use test_support::{Memory, Reply, hook, memory};

fn file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let name = format!("conditional-{}.txt", std::process::id());
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&file, "0123456789").unwrap();
        // The file is old enough for its date to name one version.
        let written = std::fs::File::options().write(true).open(&file).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(100);
        written.set_modified(long_ago).unwrap();
        file
    })
}

static FUTURE: OnceLock<PathBuf> = OnceLock::new();

hook! {
    File |_, ctx| {
        ctx.get_mut_response().set_header("cache-control", "max-age=60").set_body(file());
    }
    Dated |_, ctx| {
        let date = ctx.get_request().header("x-date").unwrap().to_owned();
        ctx.get_mut_response()
            .set_header("date", date)
            .set_header("last-modified", "Sun, 09 Sep 2001 01:46:40 GMT")
            .set_body(file());
    }
    Future |_, ctx| {
        ctx.get_mut_response().set_body(FUTURE.get().unwrap().as_path());
    }
    Own |_, ctx| {
        ctx.get_mut_response().set_header("vary", "accept");
        if ctx.respond_if_none_match(EntityTag::weak("v1")) {
            return Status::Continue;
        }
        ctx.get_mut_response().set_body("rendered");
    }
}

#[get("/to")]
async fn to() -> Redirect {
    Redirect::to("/x y")
}

#[get("/see-other")]
async fn see_other() -> Redirect {
    Redirect::see_other("/a")
}

#[get("/temporary")]
async fn temporary() -> Redirect {
    Redirect::temporary("/a")
}

#[get("/permanent")]
async fn permanent() -> Redirect {
    Redirect::permanent("/a")
}

async fn client() -> Memory {
    memory(|server| {
        server
            .__register_all()
            .route::<File>("/file")
            .route::<Dated>("/dated")
            .route::<Future>("/future")
            .route::<Own>("/own");
    })
}

async fn ask(client: &mut Memory, method: &str, target: &str, fields: &str) -> Reply {
    client.request(method, target, fields).await;
    client.reply_to(method == "HEAD").await
}

#[tokio::test]
async fn a_version_the_client_has_is_not_sent_again() {
    let mut client = client().await;
    let first = client.get("/file").await;
    let etag = first.header("etag").unwrap();
    let date = first.header("last-modified").unwrap();
    for (method, fields, status) in [
        ("GET", format!("if-none-match: {etag}\r\n"), 304),
        ("HEAD", format!("if-none-match: {etag}\r\n"), 304),
        ("GET", format!("if-none-match: W/{etag}, \"x\"\r\n"), 304),
        ("GET", "if-none-match: *\r\n".to_owned(), 304),
        ("GET", "if-none-match: \"x\"\r\n".to_owned(), 200),
        ("GET", format!("if-modified-since: {date}\r\n"), 304),
        (
            "GET",
            "if-modified-since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".to_owned(),
            200,
        ),
        (
            "GET",
            format!("if-none-match: \"x\"\r\nif-modified-since: {date}\r\n"),
            200,
        ),
        ("GET", format!("if-match: {etag}\r\n"), 200),
        ("GET", "if-match: \"x\"\r\n".to_owned(), 412),
        ("GET", format!("if-unmodified-since: {date}\r\n"), 200),
        (
            "GET",
            "if-unmodified-since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".to_owned(),
            412,
        ),
        // A date that stands there twice counts as none.
        (
            "GET",
            format!("if-modified-since: {date}\r\nif-modified-since: {date}\r\n"),
            200,
        ),
        ("GET", format!("if-modified-since: {date}, {date}\r\n"), 200),
        (
            "GET",
            "if-unmodified-since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".repeat(2),
            200,
        ),
        // A condition that comes too late does not undo the work of another method.
        ("POST", format!("if-none-match: {etag}\r\n"), 200),
        // The condition comes before the range.
        (
            "GET",
            format!("if-none-match: {etag}\r\nrange: bytes=0-1\r\n"),
            304,
        ),
    ] {
        let reply = ask(&mut client, method, "/file", &fields).await;
        assert_eq!(reply.status, status, "{method} {fields}");
        if status == 304 {
            assert_eq!(reply.header("etag"), Some(etag));
            assert_eq!(reply.header("cache-control"), Some("max-age=60"));
            assert!(reply.header("date").is_some());
            assert_eq!(reply.header("content-length"), None);
            assert_eq!(reply.header("content-type"), None);
        }
    }
}

#[tokio::test]
async fn a_range_of_a_file_is_a_part_of_it() {
    let mut client = client().await;
    let first = client.get("/file").await;
    let etag = first.header("etag").unwrap().to_owned();
    let date = first.header("last-modified").unwrap().to_owned();
    for (fields, status, range, body) in [
        (
            "range: bytes=2-4\r\n".to_owned(),
            206,
            Some("bytes 2-4/10"),
            "234",
        ),
        (
            "range: bytes=7-\r\n".to_owned(),
            206,
            Some("bytes 7-9/10"),
            "789",
        ),
        (
            "range: bytes=-2\r\n".to_owned(),
            206,
            Some("bytes 8-9/10"),
            "89",
        ),
        (
            "range: bytes=0-99\r\n".to_owned(),
            206,
            Some("bytes 0-9/10"),
            "0123456789",
        ),
        (
            "range: bytes=10-\r\n".to_owned(),
            416,
            Some("bytes */10"),
            "416 Range Not Satisfiable\n",
        ),
        // The server takes none of several ranges.
        (
            "range: bytes=0-1,4-5\r\n".to_owned(),
            200,
            None,
            "0123456789",
        ),
        ("range: lines=0-1\r\n".to_owned(), 200, None, "0123456789"),
        ("range: bytes=4-2\r\n".to_owned(), 200, None, "0123456789"),
        (
            format!("range: bytes=0-0\r\nif-range: {etag}\r\n"),
            206,
            Some("bytes 0-0/10"),
            "0",
        ),
        (
            format!("range: bytes=0-0\r\nif-range: {date}\r\n"),
            206,
            Some("bytes 0-0/10"),
            "0",
        ),
        (
            "range: bytes=0-0\r\nif-range: \"x\"\r\n".to_owned(),
            200,
            None,
            "0123456789",
        ),
        (
            format!("range: bytes=0-0\r\nif-range: W/{etag}\r\n"),
            200,
            None,
            "0123456789",
        ),
        (
            "range: bytes=0-0\r\nif-range: *\r\n".to_owned(),
            200,
            None,
            "0123456789",
        ),
        (
            format!("range: bytes=0-0\r\nif-range: {etag}\r\nif-range: {etag}\r\n"),
            200,
            None,
            "0123456789",
        ),
    ] {
        let reply = ask(&mut client, "GET", "/file", &fields).await;
        assert_eq!(
            (reply.status, reply.header("content-range"), reply.text()),
            (status, range, body),
            "{fields}"
        );
        if status == 206 {
            assert_eq!(reply.header("etag"), Some(etag.as_str()));
            assert_eq!(
                reply.header("content-type"),
                Some("text/plain; charset=utf-8")
            );
        }
    }
    let reply = ask(&mut client, "HEAD", "/file", "range: bytes=2-4\r\n").await;
    assert_eq!(
        (reply.status, reply.header("content-length")),
        (200, Some("10"))
    );
}

#[tokio::test]
async fn versions_of_one_second_are_not_joined_by_their_date() {
    let mut client = client().await;
    // The client compares the program's own date.
    for (date, status) in [
        ("Sun, 09 Sep 2001 01:46:39 GMT", 200),
        ("Sun, 09 Sep 2001 01:46:40 GMT", 200),
        ("Sun, 09 Sep 2001 01:46:41 GMT", 206),
    ] {
        let fields = format!(
            "range: bytes=5-\r\nif-range: Sun, 09 Sep 2001 01:46:40 GMT\r\nx-date: {date}\r\n"
        );
        let reply = ask(&mut client, "GET", "/dated", &fields).await;
        assert_eq!((reply.status, reply.header("date")), (status, Some(date)));
    }
    // A file from the future has no second that is over, by the server's clock.
    let name = format!("conditional-future-{}.txt", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, "0123456789").unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(100))
        .unwrap();
    FUTURE.set(path).unwrap();
    let reply = client.get("/future").await;
    let date = reply.header("last-modified").unwrap();
    let fields = format!("range: bytes=5-\r\nif-range: {date}\r\n");
    let reply = ask(&mut client, "GET", "/future", &fields).await;
    assert_eq!((reply.status, reply.text()), (200, "0123456789"));
}

#[tokio::test]
async fn a_program_answers_conditions_of_its_own_versions() {
    let mut client = client().await;
    let reply = client.get("/own").await;
    assert_eq!(
        (reply.text(), reply.header("etag")),
        ("rendered", Some("W/\"v1\""))
    );
    let reply = ask(&mut client, "GET", "/own", "if-none-match: \"v1\"\r\n").await;
    assert_eq!(
        (reply.status, reply.header("etag"), reply.header("vary")),
        (304, Some("W/\"v1\""), Some("accept"))
    );
    let reply = ask(&mut client, "PUT", "/own", "if-none-match: *\r\n").await;
    assert_eq!(reply.status, 412);
    let reply = ask(&mut client, "PUT", "/own", "if-match: \"v1\"\r\n").await;
    assert_eq!(reply.status, 412, "a weak tag proves no identity");
}

#[tokio::test]
async fn redirects_name_a_place_and_a_status() {
    let mut client = client().await;
    for (target, status, location) in [
        ("/to", 302, "/x%20y"),
        ("/see-other", 303, "/a"),
        ("/temporary", 307, "/a"),
        ("/permanent", 308, "/a"),
    ] {
        let reply = client.get(target).await;
        assert_eq!(
            (reply.status, reply.header("location")),
            (status, Some(location))
        );
        assert_eq!(reply.header("content-length"), Some("0"));
    }
}
