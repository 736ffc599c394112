//! Queries and bodies as types, and forms with files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use hyperlane::prelude::*;
use serde::Deserialize;
use test_support::{Client, address, start};

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "shown by Debug")]
struct Order {
    id: u32,
    #[serde(default)]
    tag: Vec<String>,
    note: Option<String>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "shown by Debug")]
struct Basket {
    orders: Vec<Order>,
}

#[get("/query")]
async fn query(ctx: &mut Context) -> Result<String, RequestError> {
    Ok(format!("{:?}", ctx.query::<Order>()?))
}

#[post("/form")]
async fn form(ctx: &mut Context) -> Result<String, RequestError> {
    Ok(format!("{:?}", ctx.form::<Order>()?))
}

#[post("/json")]
async fn json(ctx: &mut Context) -> Result<String, RequestError> {
    Ok(format!("{:?}", ctx.json::<Basket>()?))
}

#[post("/json-by-macro")]
#[request_body_json(basket: Basket)]
async fn json_by_macro() -> String {
    format!("{basket:?}")
}

/// Answers with a description of each part.
async fn describe(ctx: &mut Context) -> Result<String, RequestError> {
    let mut form = ctx.multipart()?;
    let mut text = String::new();
    while let Some(mut field) = form.next_field().await? {
        let line = format!(
            "{:?} {:?} {:?} ",
            field.name().unwrap_or_default(),
            field.file_name(),
            field.content_type()
        );
        text += &line;
        if field.name() == Some("skipped") {
            text += "-\n";
        } else {
            text += &format!("{}\n", field.read_to_end(4 << 20).await?.len());
        }
    }
    Ok(text)
}

#[post("/whole")]
async fn whole(ctx: &mut Context) -> Result<String, RequestError> {
    describe(ctx).await
}

#[post("/streamed")]
#[body_stream(_body)]
async fn streamed(ctx: &mut Context) -> Result<String, RequestError> {
    describe(ctx).await
}

#[post("/text")]
async fn text(ctx: &mut Context) -> Result<String, RequestError> {
    let mut form = ctx.multipart()?;
    let mut field = form
        .next_field()
        .await?
        .ok_or(RequestError::missing("field", "text"))?;
    field.text(5).await
}

async fn client() -> Client {
    let control = start(|server| {
        server.__register_all();
    })
    .await;
    Client::connect(address(&control)).await
}

/// Sends a body of a type; reads status and text.
async fn send(client: &mut Client, target: &str, content_type: &str, body: &str) -> (u16, String) {
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: a\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send(head + body).await;
    let reply = client.reply().await;
    (reply.status, reply.text().to_owned())
}

#[tokio::test]
async fn a_query_becomes_a_type_or_400_with_the_name() {
    let mut client = client().await;
    for (query, status, text) in [
        ("id=7", 200, "Order { id: 7, tag: [], note: None }"),
        (
            "tag=a&id=7&tag=b%2Fc+d&note=%C3%A4",
            200,
            "Order { id: 7, tag: [\"a\", \"b/c d\"], note: Some(\"ä\") }",
        ),
        (
            "id=x",
            400,
            "400 Bad Request: invalid query: `id`: invalid digit found in string\n",
        ),
        (
            "id=-1",
            400,
            "400 Bad Request: invalid query: `id`: invalid digit found in string\n",
        ),
        (
            "",
            400,
            "400 Bad Request: invalid query: missing field `id`\n",
        ),
    ] {
        let reply = client.get(&format!("/query?{query}")).await;
        assert_eq!((reply.status, reply.text()), (status, text), "{query}");
    }
}

#[tokio::test]
async fn a_form_becomes_a_type_or_400_with_the_name() {
    let mut client = client().await;
    let form = "application/x-www-form-urlencoded";
    for (content_type, body, status, part) in [
        (form, "id=7&tag=a&tag=b", 200, "tag: [\"a\", \"b\"]"),
        (
            "Application/X-WWW-Form-URLEncoded; charset=utf-8",
            "id=7",
            200,
            "id: 7",
        ),
        (form, "id=seven", 400, "invalid form: `id`: "),
        (form, "note=x", 400, "missing field `id`"),
        (form, "id=7&id=8", 400, "`id`: given more than once"),
        (
            "application/json",
            "id=7",
            415,
            "the body must be `application/x-www-form-urlencoded`",
        ),
    ] {
        let (found, text) = send(&mut client, "/form", content_type, body).await;
        assert_eq!(found, status, "{body}: {text}");
        assert!(text.contains(part), "{body}: {text}");
    }
}

#[tokio::test]
async fn json_becomes_a_type_or_400_with_the_path_of_the_field() {
    let mut client = client().await;
    let json = "application/json";
    for (content_type, body, status, part) in [
        (json, "{\"orders\": [{\"id\": 7}]}", 200, "id: 7"),
        (
            "application/problem+json",
            "{\"orders\": []}",
            200,
            "orders: []",
        ),
        (
            json,
            "{\"orders\": [{\"id\": 7}, {\"id\": \"x\"}]}",
            400,
            "`orders[1].id`: invalid type: string \"x\"",
        ),
        (
            json,
            "{\"orders\": [{}]}",
            400,
            "`orders[0]`: missing field `id`",
        ),
        (json, "{\"orders\": []} x", 400, "trailing characters"),
        (json, "{\"orders\": [", 400, "EOF while parsing"),
        (json, "{\"orders\"", 400, "body: EOF while parsing"),
        (json, "", 400, "EOF while parsing"),
        (
            "text/plain",
            "{\"orders\": []}",
            415,
            "the body must be `application/json`",
        ),
    ] {
        let (found, text) = send(&mut client, "/json", content_type, body).await;
        assert_eq!(found, status, "{body}: {text}");
        assert!(text.contains(part), "{body}: {text}");
        // The macro looks at the body alone.
        if content_type == json {
            let (found, text) = send(&mut client, "/json-by-macro", content_type, body).await;
            assert_eq!(found, status, "{body}: {text}");
            assert!(text.contains(part), "{body}: {text}");
        }
    }
}

const MULTIPART: &str = "multipart/form-data; boundary=XX";

fn part(disposition: &str, content: &str) -> String {
    format!("--XX\r\ncontent-disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
}

#[tokio::test]
async fn a_form_with_files_is_read_part_by_part_whole_or_streamed() {
    let mut client = client().await;
    let large = "\r\n--X".repeat(200_000);
    let form = format!(
        "{}{}{}{}--XX--\r\n",
        part("name=\"a\"", "text"),
        part(
            "name=\"skipped\"; filename=\"x.bin\"\r\ncontent-type: image/png",
            &large
        ),
        part("name=\"file\"; filename=\"../ä.txt\"", &large),
        part("name=\"empty\"", ""),
    );
    let expected = format!(
        "\"a\" None None 4\n\"skipped\" Some(\"x.bin\") Some(\"image/png\") -\n\"file\" Some(\"../ä.txt\") None {}\n\"empty\" None None 0\n",
        large.len()
    );
    for target in ["/whole", "/streamed"] {
        assert_eq!(
            send(&mut client, target, MULTIPART, &form).await,
            (200, expected.clone())
        );
    }
    // The form is cut anywhere.
    let small = format!(
        "{}{}--XX--\r\n",
        part("name=\"a\"", "text"),
        part("name=\"b\"", "\r\n-")
    );
    client
        .send(format!(
            "POST /streamed HTTP/1.1\r\nhost: a\r\ncontent-type: {MULTIPART}\r\ncontent-length: {}\r\n\r\n",
            small.len()
        ))
        .await;
    for byte in small.bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(
        client.reply().await.text(),
        "\"a\" None None 4\n\"b\" None None 3\n"
    );
}

#[tokio::test]
async fn names_of_parts_are_there_whatever_they_are_written_like() {
    let mut client = client().await;
    let form = [
        &b"--XX\r\ncontent-disposition: form-data; name=\"\xe4\"; filename=\"caf\xe9\"\r\n\r\n1\r\n"[..],
        b"--XX\r\ncontent-disposition: form-data; name=b; filename*=utf-8''%C3%A9\r\n\r\n2\r\n",
        b"--XX\r\ncontent-disposition: form-data; name=\"c; filename=d\"\r\n\r\n3\r\n",
        b"--XX\r\ncontent-disposition: form-data; NAME=\"e\"; FILENAME=\"f\\\\\"\r\n\r\n4\r\n",
        b"--XX--\r\n",
    ]
    .concat();
    for target in ["/whole", "/streamed"] {
        let fields = format!(
            "content-type: {MULTIPART}\r\ncontent-length: {}\r\n",
            form.len()
        );
        client.request("POST", target, &fields).await;
        client.send(&form).await;
        assert_eq!(
            client.reply().await.text(),
            "\"\u{fffd}\" Some(\"caf\u{fffd}\") None 1\n\"b\" Some(\"\u{e9}\") None 1\n\
             \"c; filename=d\" None None 1\n\"e\" Some(\"f\\\\\") None 1\n"
        );
    }
}

#[tokio::test]
async fn malformed_forms_with_files_are_refused() {
    let a = part("name=\"a\"", "text");
    let endless = "x".repeat(1 << 20);
    for (content_type, body, status) in [
        ("text/plain", a.as_str(), 415),
        ("multipart/mixed; boundary=XX", a.as_str(), 415),
        ("multipart/form-data", a.as_str(), 400),
        (MULTIPART, a.as_str(), 400),
        (MULTIPART, "", 400),
        (MULTIPART, "--XX\r\nno header\r\n", 400),
        (
            MULTIPART,
            &format!("--XX\r\ncontent-disposition: {endless}"),
            400,
        ),
        (MULTIPART, &endless, 400),
    ] {
        for target in ["/whole", "/streamed"] {
            let mut client = client().await;
            let (found, text) = send(&mut client, target, content_type, body).await;
            assert_eq!(
                found,
                status,
                "{target} {}: {text}",
                &body[..body.len().min(60)]
            );
            assert!(text.len() < 200, "{text}");
        }
    }
    let mut client = client().await;
    let form = format!("{a}--XX--\r\n");
    assert_eq!(
        send(&mut client, "/text", MULTIPART, &form).await,
        (200, "text".to_owned())
    );
    let (status, text) = send(&mut client, "/whole", "multipart/form-data", &form).await;
    assert!(status == 400 && text.contains("boundary"), "{text}");
    client
        .request(
            "POST",
            "/text",
            &format!("content-type: {MULTIPART}\r\ncontent-length: 61\r\n"),
        )
        .await;
    client
        .send(b"--XX\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n--XX--\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.text().contains("`a` is not UTF-8 text"),
        "{}",
        reply.text()
    );
    let long = format!("{}--XX--\r\n", part("name=\"a\"", "longer"));
    let (status, text) = send(&mut client, "/text", MULTIPART, &long).await;
    assert_eq!(status, 413);
    assert!(
        text.contains("the field `a` is larger than 5 bytes"),
        "{text}"
    );
}
