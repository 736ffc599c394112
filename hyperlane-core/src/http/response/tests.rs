use std::path::Path;

use super::*;
use crate::proto::http::write::DateLine;

fn built(response: &mut Response) -> String {
    String::from_utf8(response.build()).unwrap()
}

fn write_head(
    response: &Response,
    out: &mut Vec<u8>,
    framing: Framing,
    connection: Option<&'static str>,
) {
    let head = Head::new(response);
    let added = Added {
        framing,
        date: Some(&DateLine::of("Thu, 01 Jan 1970 00:00:00 GMT")),
        connection,
        title_case: false,
    };
    head.write(out, added);
}

fn head(response: &Response, framing: Framing, connection: Option<&'static str>) -> String {
    let mut out = Vec::new();
    write_head(response, &mut out, framing, connection);
    String::from_utf8(out).unwrap()
}

#[test]
fn an_empty_response_has_length_zero_and_no_type() {
    assert_eq!(
        built(&mut Response::default()),
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    );
}

#[test]
fn a_body_has_length_and_a_type() {
    let mut response = Response::default();
    assert_eq!(
        built(response.set_body("hällo")),
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\ncontent-type: text/plain; charset=utf-8\r\n\r\nhällo"
    );
    assert_eq!(
        built(response.set_header("Content-Type", "a/b")),
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\ncontent-type: a/b\r\n\r\nhällo"
    );
}

#[test]
fn framing_fields_of_the_program_never_reach_the_wire() {
    let mut response = Response::default();
    response
        .set_header("Content-Length", "99")
        .add_header("transfer-encoding", "chunked")
        .set_body("x");
    assert!(response.get_headers().is_empty());
    assert_eq!(
        response.try_set_header("CONTENT-LENGTH", "1"),
        Err(HeaderError::Framing)
    );
    response
        .get_mut_headers()
        .try_set("Content-Length", "99")
        .unwrap();
    response
        .get_mut_headers()
        .try_set("Transfer-Encoding", "chunked")
        .unwrap();
    response.get_mut_headers().try_set("x", "y").unwrap();
    let text = built(&mut response);
    assert_eq!(text.matches("content-length").count(), 1);
    assert!(text.contains("content-length: 1\r\n") && text.contains("x: y\r\n"));
    assert!(!text.contains("transfer-encoding"));
}

#[test]
fn header_injection_is_dropped() {
    let mut response = Response::default();
    response
        .set_header("a", "b")
        .set_header("a", "c\r\nset-cookie: evil")
        .set_header("x y", "z");
    response.set_reason_phrase("Fine\r\nset-cookie: evil");
    assert_eq!(
        built(&mut response),
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\na: b\r\n\r\n"
    );
    assert_eq!(response.try_set_header("a", "\n"), Err(HeaderError::Value));
    assert_eq!(response.try_add_header("", "b"), Err(HeaderError::Name));
}

#[test]
fn an_event_stream_ends_with_the_connection() {
    for content_type in ["text/event-stream", "Text/Event-Stream ; charset=utf-8"] {
        let mut response = Response::default();
        let text = built(
            response
                .set_header("content-type", content_type)
                .set_body(Vec::new()),
        );
        assert_eq!(
            text,
            format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n\
                 content-type: {content_type}\r\n\r\n"
            )
        );
    }
    let mut response = Response::default();
    response.set_header("content-type", "text/event-streams");
    assert!(built(&mut response).contains("content-length: 0\r\n"));
}

#[test]
fn what_an_event_stream_sets_itself_is_not_doubled() {
    let mut response = Response::default();
    response
        .set_header("content-type", "text/event-stream")
        .set_header("Cache-Control", "no-store");
    response
        .set_header("Connection", "keep-alive")
        .set_header("X-Accel-Buffering", "yes")
        .set_body("data: 1\n\n");
    let text = built(&mut response);
    for line in [
        "cache-control: no-store",
        "connection: close",
        "x-accel-buffering: yes",
    ] {
        assert!(text.contains(line));
        assert_eq!(text.matches(line.split(':').next().unwrap()).count(), 1);
    }
    assert!(text.ends_with("\r\n\r\ndata: 1\n\n") && !text.contains("content-length"));
}

#[test]
fn statuses_without_a_body_have_no_length_either() {
    for code in [100, 101, 199, 204, 304] {
        let mut response = Response::default();
        response
            .set_status_code(code)
            .set_body("never")
            .set_header("a", "b");
        let text = built(&mut response);
        assert!(text.ends_with("\r\na: b\r\n\r\n"), "{text}");
        assert!(!text.contains("content-"), "{text}");
        for framing in [Framing::Length(5), Framing::Chunked, Framing::UntilClose] {
            let head = head(&response, framing, None);
            assert!(
                !head.contains("content-")
                    && !head.contains("transfer-")
                    && !head.contains("connection")
            );
        }
    }
    let mut response = Response::default();
    response.set_status_code(205).set_body("never");
    assert_eq!(
        built(&mut response),
        "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n"
    );
}

#[test]
fn status_line_has_version_code_and_phrase() {
    let mut response = Response::default();
    let mut line = |edit: fn(&mut Response)| {
        edit(response.reset());
        built(&mut response)
            .split("\r\n")
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        line(|r| _ = r.set_status_code(503)),
        "HTTP/1.1 503 Service Unavailable"
    );
    assert_eq!(line(|r| _ = r.set_status_code(599)), "HTTP/1.1 599 Unknown");
    assert_eq!(line(|r| _ = r.set_reason_phrase("Gut")), "HTTP/1.1 200 Gut");
    assert_eq!(
        line(|r| _ = r.set_version(HttpVersion::Http1_0)),
        "HTTP/1.0 200 OK"
    );
    assert_eq!(
        line(|r| _ = r.set_version(HttpVersion::Http2)),
        "HTTP/1.1 200 OK"
    );
    assert_eq!(
        line(|r| _ = r.set_version(HttpVersion::Unknown("X\r\n".into()))),
        "HTTP/1.1 200 OK"
    );
    for wrong in [0, 99, 1000, usize::MAX] {
        assert_eq!(response.set_status_code(wrong).get_status_code(), 500);
    }
}

#[test]
fn automatic_fields_give_way_to_set_ones() {
    let mut response = Response::default();
    response.set_body("x");
    assert_eq!(
        head(&response, Framing::Length(1), Some("keep-alive")),
        "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\ncontent-length: 1\r\n\
         content-type: text/plain; charset=utf-8\r\nconnection: keep-alive\r\n\r\n"
    );
    response
        .set_header("Date", "now")
        .set_header("Connection", "upgrade")
        .set_header("Content-Type", "a/b");
    assert_eq!(
        head(&response, Framing::Chunked, Some("close")),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\ndate: now\r\n\
         connection: upgrade\r\ncontent-type: a/b\r\n\r\n"
    );
}

#[test]
fn a_body_until_close_says_so_and_none_says_nothing() {
    let response = Response::default();
    assert!(
        head(&response, Framing::UntilClose, Some("keep-alive")).contains("connection: close\r\n")
    );
    let none = head(&response, Framing::None, None);
    assert_eq!(
        none,
        "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n"
    );
}

#[test]
fn head_is_written_without_growing_a_large_enough_buffer() {
    let mut response = Response::default();
    response
        .set_header("server", "hyperlane")
        .set_body("Hello, World!");
    let mut out = Vec::with_capacity(512);
    let place = out.as_ptr();
    write_head(
        &response,
        &mut out,
        Head::new(&response).framing(),
        Some("keep-alive"),
    );
    assert_eq!((out.as_ptr(), out.capacity()), (place, 512));
}

#[test]
fn build_reserves_once() {
    let mut response = Response::default();
    response
        .set_header("content-type", "text/event-stream")
        .set_reason_phrase("x".repeat(300))
        .set_body("y");
    let bytes = response.build();
    assert!(bytes.capacity() - bytes.len() < HEAD_ROOM);
}

#[test]
fn body_is_shared_or_copied_as_asked() {
    let bytes = Bytes::from(vec![1, 2, 3]);
    let mut response = Response::default();
    assert_eq!(
        response.set_body_bytes(bytes.clone()).body().as_ptr(),
        bytes.as_ptr()
    );
    assert_ne!(
        response.set_body(&bytes[..]).body().as_ptr(),
        bytes.as_ptr()
    );
    assert_eq!(response.set_body("[1]").get_body_json::<Vec<u8>>(), [1]);
    assert_eq!(
        (
            response.get_body_string().as_str(),
            response.get_body_json::<bool>()
        ),
        ("[1]", false)
    );
}

#[test]
fn reset_leaves_nothing_behind() {
    let mut response = Response::default();
    response
        .set_status_code(404)
        .set_header("a", "b")
        .set_body("c")
        .set_reason_phrase("d");
    response.set_version(HttpVersion::Http1_0);
    assert_eq!(response.reset(), &Response::default());
}

#[test]
fn headers_are_removed_by_name_and_by_value() {
    let mut response = Response::default();
    response
        .add_header("a", "1")
        .add_header("A", "2")
        .add_header("b", "3")
        .remove_header_value("a", "1");
    assert_eq!(response.get_header("a"), ["2"]);
    assert!(!response.remove_header("A").has_header("a"));
    assert!(response.clear_headers().get_headers().is_empty());
}

/// Programs of published versions read the body as a `Vec<u8>`.
#[test]
fn the_body_as_a_vector_is_the_body() {
    let mut response = Response::default();
    for body in ["one", "", "two"] {
        let copy: &Vec<u8> = response.set_body(body).get_body();
        assert_eq!(copy, body.as_bytes());
    }
    response.set_body(Path::new("/x"));
    assert!(response.is_body_streamed() && response.get_body().is_empty());
    assert!(response.is_body_streamed() && response.clone().is_body_streamed());
    response.set_body("three");
    assert_eq!(response.get_body(), b"three");
    response.reset();
    assert_eq!((response.get_body().len(), response.body().len()), (0, 0));
    response.set_body("four").get_body();
    assert_eq!(response.take_body(), "four".into_body());
    assert_eq!((response.get_body().len(), response.body().len()), (0, 0));
}

#[test]
fn the_text_about_an_error_changes_with_the_status() {
    let mut response = Response::default();
    response.set_header("x-kept", "1");
    describe(&mut response, 404);
    let text = |response: &Response| String::from_utf8(response.body().to_vec()).unwrap();
    response.set_status_code(404);
    assert_eq!(text(&response), "404 Not Found\n");
    response.set_status_code(410);
    assert_eq!(text(&response), "410 Gone\n");
    explain(&mut response, 400, "`page` is missing");
    response.set_status_code(422);
    assert_eq!(
        text(&response),
        "422 Unprocessable Content: `page` is missing\n"
    );
    response.set_status_code(200);
    assert_eq!(text(&response), "");
    assert!(!response.has_header("content-type"));
    assert!(response.has_header("x-kept"));
    describe(&mut response, 404);
    response.set_body("mine").set_status_code(200);
    assert_eq!(text(&response), "mine");
}

#[test]
fn a_coding_that_the_body_does_not_have_is_omitted() {
    for (coding, body, is_sent) in [
        ("gzip", &b"text"[..], false),
        ("GZip", b"text", false),
        ("gzip", b"\x1f", false),
        ("gzip", b"\x1f\x8b\x08", true),
        ("gzip", b"", true),
        ("deflate", b"text", false),
        ("deflate", b"x", false),
        ("deflate", b"\x78\x9c\x03", true),
        // No first bytes tell these from other bodies.
        ("br", b"text", true),
        ("identity", b"text", true),
        ("gzip, br", b"text", true),
    ] {
        let mut response = Response::default();
        response
            .set_header("content-encoding", coding)
            .set_header("x-kept", "1")
            .set_body(body);
        let head = head(&response, Framing::Length(body.len() as u64), None);
        assert_eq!(
            head.contains("content-encoding: "),
            is_sent,
            "{coding} {body:?}"
        );
        assert!(head.contains("x-kept: 1\r\n"));
    }
}
