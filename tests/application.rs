//! Every macro, in every form of its arguments, tested by the answers of an application that uses it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

#[path = "application/app.rs"]
mod app;
use test_support::{Client, Reply, address};

const APPLICATION: &str = include_str!("application/app.rs");
const MACROS: &str = include_str!("../hyperlane-macros/src/table.rs");

/// The form as it stands in the application; method, path, version where it is not 1.1, fields and body of the
/// request; status of the answer; a header of it (`name: value`, several values joined by commas); its body.
type Row = (&'static str, &'static str, u16, &'static str, &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Registration.
    (r#"route("/route/struct")"#, "GET /route/struct", 200, "", "OnStruct"),
    (r#"route("/route/one")"#, "PUT /route/one", 200, "", "OnSeveral"),
    (r#"route("/route/other")"#, "GET /route/other", 200, "", "OnSeveral"),
    (r#"route("/route/function")"#, "GET /route/function", 200, "", "function"),
    ("route(PATTERN)", "GET /route/constant/7", 200, "", "7"),
    (r#"route("/colon/:colon/x")"#, "GET /colon/7/x", 200, "", "7"),
    (r#"route("/route/digits/{digits:\\d+}")"#, "GET /route/digits/7", 200, "", "7"),
    (r#"route("/route/digits/{digits:\\d+}")"#, "GET /route/digits/x", 404, "", "*"),
    (r#"route("/route/rest/{*rest}")"#, "GET /route/rest/a/b", 200, "", "a/b"),
    (r#"any("/any/struct")"#, "PATCH /any/struct", 200, "", "AnyStruct"),
    (r#"any("/any/function")"#, "DELETE /any/function", 200, "", "any"),
    (r#"get("/get/struct")"#, "GET /get/struct", 200, "", "GetStruct"),
    (r#"get("/get/function")"#, "GET /get/function", 200, "", "get"),
    (r#"get("/get/function")"#, "HEAD /get/function", 200, "content-length: 3", ""),
    (r#"get("/get/function")"#, "POST /get/function", 405, "allow: GET, HEAD", "*"),
    (r#"post("/post/struct")"#, "POST /post/struct", 200, "", "PostStruct"),
    (r#"post("/post/function")"#, "POST /post/function", 200, "", "post"),
    (r#"post("/post/function")"#, "GET /post/function", 405, "allow: POST", "*"),
    (r#"put("/put/struct")"#, "PUT /put/struct", 200, "", "PutStruct"),
    (r#"put("/put/function")"#, "PUT /put/function", 200, "", "put"),
    (r#"delete("/delete/struct")"#, "DELETE /delete/struct", 200, "", "DeleteStruct"),
    (r#"delete("/delete/function")"#, "DELETE /delete/function", 200, "", "delete"),
    (r#"patch("/patch/struct")"#, "PATCH /patch/struct", 200, "", "PatchStruct"),
    (r#"patch("/patch/function")"#, "PATCH /patch/function", 200, "", "patch"),
    (r#"head("/head/struct")"#, "HEAD /head/struct", 200, "content-length: 10", ""),
    (r#"head("/head/function")"#, "HEAD /head/function", 200, "", ""),
    (r#"head("/head/function")"#, "GET /head/function", 405, "allow: HEAD", "*"),
    (r#"options("/options/struct")"#, "OPTIONS /options/struct", 200, "", "OptionsStruct"),
    (r#"options("/options/function")"#, "OPTIONS /options/function", 200, "", "options"),
    (r#"query("/query/struct")"#, "QUERY /query/struct", 200, "", "QueryStruct"),
    (r#"query("/query/function")"#, "QUERY /query/function", 200, "", "query"),
    (r#"query("/query/function")"#, "GET /query/function", 405, "allow: QUERY", "*"),
    (r#"get("/several")"#, "GET /several", 200, "", "several"),
    (r#"post("/several")"#, "POST /several", 200, "", "several"),
    (r#"post("/several")"#, "PUT /several", 405, "allow: GET, POST, HEAD", "*"),
    ("request_middleware", "GET /steps", 200, "x-request: RequestUnnumbered, RequestBelow, RequestByNumber, RequestByText, RequestByConstant", "steps"),
    ("request_middleware(1)", "GET /steps", 200, "", "steps"),
    (r#"request_middleware("2")"#, "GET /steps", 200, "", "steps"),
    ("request_middleware(-1)", "GET /steps", 200, "", "steps"),
    ("request_middleware(ORDER)", "GET /steps", 200, "", "steps"),
    ("response_middleware", "GET /steps", 200, "x-response: ResponseUnnumbered, ResponseBelow, ResponseByNumber, ResponseByText, ResponseByConstant", "steps"),
    ("response_middleware(1)", "GET /steps", 200, "", "steps"),
    (r#"response_middleware("2")"#, "GET /steps", 200, "", "steps"),
    ("response_middleware(-1)", "GET /steps", 200, "", "steps"),
    ("response_middleware(ORDER)", "GET /steps", 200, "", "steps"),
    ("middleware", "GET /steps", 200, "x-wrap: Unnumbered, Below, One, Two, ByConstant", "steps"),
    ("middleware(1)", "GET /steps", 200, "", "steps"),
    (r#"middleware("2")"#, "GET /steps", 200, "", "steps"),
    ("middleware(-1)", "GET /steps", 200, "", "steps"),
    ("middleware(ORDER)", "GET /steps", 200, "", "steps"),
    ("with(wrap_one, wrap_two)", "GET /with/function", 200, "x-with: one, two", "with"),
    ("with(wrap_one)", "GET /with/struct", 200, "x-with: one", "With"),
    ("task_panic", "GET /panic", 500, "x-panic: PanicUnnumbered, PanicBelow, PanicByNumber, PanicByText, PanicByConstant", "*"),
    ("task_panic(1)", "GET /panic", 500, "", "*"),
    (r#"task_panic("2")"#, "GET /panic", 500, "", "*"),
    ("task_panic(-1)", "GET /panic", 500, "", "*"),
    ("task_panic(ORDER)", "GET /panic", 500, "", "*"),
    ("request_error", "GET /error", 400, "x-error: ErrorUnnumbered, ErrorBelow, ErrorByNumber, ErrorByText, ErrorByConstant", "*"),
    ("request_error(1)", "GET /error", 400, "", "*"),
    (r#"request_error("2")"#, "GET /error", 400, "", "*"),
    ("request_error(-1)", "GET /error", 400, "", "*"),
    ("request_error(ORDER)", "GET /error", 400, "", "*"),
    ("hyperlane(server: Server)", "GET /get/function", 200, "", "get"),
    ("hyperlane(count: usize, text: String,)", "GET /get/function", 200, "", "get"),
    // Guards.
    ("is_get_method", "GET /is/get", 200, "", "is_get_method"),
    ("is_get_method", "PUT /is/get", 405, "allow: GET, HEAD", "*"),
    ("is_post_method", "POST /is/post", 200, "", "is_post_method"),
    ("is_post_method", "GET /is/post", 405, "allow: POST", "*"),
    ("is_put_method", "PUT /is/put", 200, "", "is_put_method"),
    ("is_delete_method", "DELETE /is/delete", 200, "", "is_delete_method"),
    ("is_patch_method", "PATCH /is/patch", 200, "", "is_patch_method"),
    ("is_head_method", "HEAD /is/head", 200, "content-length: 14", ""),
    ("is_head_method", "GET /is/head", 405, "allow: HEAD", "*"),
    ("is_options_method", "OPTIONS /is/options", 200, "", "is_options_method"),
    ("is_connect_method", "GET /is/connect", 405, "allow: CONNECT", "*"),
    ("is_trace_method", "TRACE /is/trace", 200, "", "is_trace_method"),
    ("is_query_method", "QUERY /is/query", 200, "", "is_query_method"),
    ("is_query_method", "HEAD /is/query", 405, "allow: QUERY", ""),
    ("is_unknown_method", "PURGE /is/unknown_method", 200, "", "is_unknown_method"),
    ("is_unknown_method", "GET /is/unknown_method", 405, "allow: ", "*"),
    ("methods(get)", "GET /methods/one", 200, "", ""),
    ("methods(get)", "PUT /methods/one", 405, "allow: GET, HEAD", "*"),
    ("methods(get, post, put, delete, patch, head, options, connect, trace, query)", "PATCH /methods/all", 200, "", ""),
    ("methods(put, post,)", "PUT /methods/comma", 200, "", ""),
    ("is_ws_upgrade_type", "WS /is/websocket", 101, "", "upgraded"),
    ("is_ws_upgrade_type", "GET /is/websocket", 426, "upgrade: websocket", "*"),
    ("is_h2c_upgrade_type", "GET /is/h2c\nconnection: upgrade\nupgrade: h2c", 200, "", "is_h2c_upgrade_type"),
    ("is_h2c_upgrade_type", "GET /is/h2c", 426, "upgrade: h2c", "*"),
    ("is_tls_upgrade_type", "GET /is/tls\nconnection: upgrade\nupgrade: TLS/1.2", 200, "", "is_tls_upgrade_type"),
    ("is_tls_upgrade_type", "GET /is/tls", 426, "upgrade: tls", "*"),
    ("is_unknown_upgrade_type", "GET /is/no_upgrade", 200, "", "is_unknown_upgrade_type"),
    ("is_unknown_upgrade_type", "GET /is/no_upgrade\nconnection: upgrade\nupgrade: h2c", 400, "", "*"),
    ("is_http0_9_version", "GET /is/0.9", 505, "", "*"),
    ("is_http1_0_version", "GET /is/1.0 HTTP/1.0", 200, "", "is_http1_0_version"),
    ("is_http1_0_version", "GET /is/1.0", 505, "", "*"),
    ("is_http1_1_version", "GET /is/1.1", 200, "", "is_http1_1_version"),
    ("is_http1_1_version", "GET /is/1.1 HTTP/1.0", 505, "", "*"),
    ("is_http2_version", "GET /is/2", 505, "", "*"),
    ("is_http3_version", "GET /is/3", 505, "", "*"),
    ("is_http1_1_or_higher_version", "GET /is/higher", 200, "", "is_http1_1_or_higher_version"),
    ("is_http1_1_or_higher_version", "GET /is/higher HTTP/1.0", 505, "", "*"),
    ("is_http_version", "GET /is/http HTTP/1.0", 200, "", "is_http_version"),
    ("is_unknown_version", "GET /is/unknown_version", 505, "", "*"),
    (r#"host("one.example")"#, "GET /host/one\nhost: one.example", 200, "", ""),
    (r#"host("one.example")"#, "GET /host/one", 421, "", "*"),
    (r#"host("one.example", HOST_NAME)"#, "GET /host/several\nhost: constant.example", 200, "", ""),
    (r#"reject_host("one.example")"#, "GET /host/not", 200, "", ""),
    (r#"reject_host("one.example")"#, "GET /host/not\nhost: one.example", 421, "", "*"),
    (r#"reject_host("one.example", HOST_NAME)"#, "GET /host/none\nhost: constant.example", 421, "", "*"),
    (r#"referer("https://one.example/")"#, "GET /referer/one\nreferer: https://one.example/", 200, "", ""),
    (r#"referer("https://one.example/")"#, "GET /referer/one", 403, "", "*"),
    (r#"referer("https://one.example/", format!("https://{HOST_NAME}/"))"#, "GET /referer/several\nreferer: https://constant.example/", 200, "", ""),
    (r#"reject_referer("https://one.example/")"#, "GET /referer/not", 200, "", ""),
    (r#"reject_referer("https://one.example/", format!("https://{HOST_NAME}/"))"#, "GET /referer/none\nreferer: https://constant.example/", 403, "", "*"),
    // Reads and handles.
    ("try_get_websocket_request", "WS /messages/bare\n\none\ntwo", 101, "", "one\ntwo"),
    ("try_get_websocket_request(message)", "WS /messages/named\n\none\ntwo", 101, "", "one\ntwo"),
    ("try_get_websocket_request(mut message)", "WS /messages/changed\n\none", 101, "", "changed"),
    ("try_get_websocket_request", "GET /messages/bare", 426, "upgrade: websocket", "*"),
    ("try_get_http_request", "GET /requests/bare\n\nGET /next", 200, "", "first\n/next"),
    ("try_get_http_request(request)", "GET /requests/named\n\nGET /next", 200, "", "first\n/next"),
    ("websocket(socket)", "WS /websocket", 101, "", "from the handle"),
    ("websocket(socket)", "GET /websocket", 426, "upgrade: websocket", "*"),
    ("websocket(mut socket)", "WS /websocket/mut", 101, "", "from the handle"),
    ("sse(events)", "GET /sse", 200, "content-type: text/event-stream", "id: 0\ndata: one\n\n"),
    ("sse(mut events)", "GET /sse/mut", 200, "content-type: text/event-stream", "id: 0\ndata: one\n\n"),
    // Extractors.
    ("request_body(body)", "POST /body/one\n\ntext", 200, "", "text"),
    ("request_body(first, mut second)", "POST /body/several\n\ntext", 200, "", "4 6"),
    ("body_stream(stream)", "POST /body/stream\n\ntext", 200, "", "text"),
    ("body_stream(mut stream)", "POST /body/stream/mut\n\ntext", 200, "", "text"),
    ("max_body(4)", "POST /body/max\n\ntext", 200, "", "text"),
    ("max_body(4)", "POST /body/max\n\nlonger", 413, "", "*"),
    ("max_body(LIMIT * 2)", "POST /body/max/constant\n\nlonger", 200, "", "longer"),
    ("request_body_json(user: User)", "POST /json/one\n\n{\"name\":\"ada\"}", 200, "", "ada"),
    ("request_body_json(user: User)", "POST /json/one\n\nno", 400, "", "*"),
    ("request_body_json(mut user: User, value: serde_json::Value)", "POST /json/several\n\n{\"name\":\"ada\"}", 200, "", "ada! {\"name\":\"ada\"}"),
    ("request_body_json_result(user: User)", "POST /json/result\n\nno", 200, "", "no user"),
    ("request_body_json_result(user: User, number: u8)", "POST /json/results\n\n7", 200, "", "false true"),
    ("request_version(version)", "GET /whole/7?a=1\nx-a: 1\ncookie: a=1", 200, "", "HTTP/1.1 /whole/7 1 true 1 1 0"),
    ("request_path(path)", "GET /whole/7", 200, "", "HTTP/1.1 /whole/7 0 false 0 1 0"),
    ("request_querys(querys)", "GET /whole/7?a=1&b=2", 200, "", "HTTP/1.1 /whole/7 2 false 0 1 0"),
    ("request_headers(headers)", "GET /whole/7\nx-a: 1", 200, "", "HTTP/1.1 /whole/7 0 true 0 1 0"),
    ("request_cookies(cookies)", "GET /whole/7\ncookie: a=1; b=2", 200, "", "HTTP/1.1 /whole/7 0 false 2 1 0"),
    ("route_params(params)", "GET /whole/7", 200, "", "HTTP/1.1 /whole/7 0 false 0 1 0"),
    ("attributes(attributes)", "GET /whole/attribute", 200, "", "HTTP/1.1 /whole/attribute 0 false 0 1 2"),
    ("request_version(version, again)", "GET /wholes/7", 200, "", "/wholes/7!"),
    ("request_path(path, mut longer)", "GET /wholes/7", 200, "", "/wholes/7!"),
    ("request_querys(querys, more_querys)", "GET /wholes/7", 200, "", "/wholes/7!"),
    ("request_headers(headers, more_headers)", "GET /wholes/7", 200, "", "/wholes/7!"),
    ("request_cookies(cookies, more_cookies)", "GET /wholes/7", 200, "", "/wholes/7!"),
    ("route_params(params, more_params)", "GET /wholes/7", 200, "", "/wholes/7!"),
    ("attributes(attributes, more_attributes)", "GET /wholes/7", 200, "", "/wholes/7!"),
    (r#"route_param("id" => one)"#, "GET /param/a%20b", 200, "", "a b"),
    (r#"route_param("id" => mut one, KEY => two)"#, "GET /params/a/b", 200, "", "ab"),
    (r#"try_get_route_param("id" => one)"#, "GET /try_param/a", 200, "", "Some(\"a\")"),
    (r#"try_get_route_param("id" => one, KEY => two)"#, "GET /try_params/a/b", 200, "", "Some(\"a\") Some(\"b\")"),
    (r#"request_query("id" => one)"#, "GET /query?id=a%20b", 200, "", "a b"),
    (r#"request_query("id" => one)"#, "GET /query", 400, "", "*"),
    (r#"request_query("id" => one, KEY => two)"#, "GET /queries?id=a&key=b", 200, "", "ab"),
    (r#"try_get_request_query("id" => one)"#, "GET /try_query", 200, "", "None"),
    (r#"try_get_request_query("id" => one, KEY => two)"#, "GET /try_queries?key=b", 200, "", "None Some(\"b\")"),
    (r#"request_header("x-one" => one)"#, "GET /header\nx-one: a", 200, "", "a"),
    (r#"request_header("x-one" => one)"#, "GET /header", 400, "", "*"),
    (r#"request_header("X-One" => one, HEADER => two)"#, "GET /headers\nx-one: a\nx-constant: b", 200, "", "ab"),
    (r#"try_get_request_header("x-one" => one)"#, "GET /try_header", 200, "", "None"),
    (r#"try_get_request_header("x-one" => one, HEADER => two)"#, "GET /try_headers\nx-constant: b", 200, "", "None Some(\"b\")"),
    (r#"request_cookie("one" => one)"#, "GET /cookie\ncookie: one=a", 200, "", "a"),
    (r#"request_cookie("one" => one)"#, "GET /cookie", 400, "", "*"),
    (r#"request_cookie("one" => one, KEY => two)"#, "GET /cookies\ncookie: one=a; key=b", 200, "", "ab"),
    (r#"try_get_request_cookie("one" => one)"#, "GET /try_cookie", 200, "", "None"),
    (r#"try_get_request_cookie("one" => one, KEY => two)"#, "GET /try_cookies\ncookie: key=b", 200, "", "None Some(\"b\")"),
    (r#"attribute("user" => one: User)"#, "GET /attribute", 200, "", "ada"),
    (r#"attribute("user" => one: User, KEY => two: u8)"#, "GET /attributes", 200, "", "ada 7"),
    (r#"try_get_attribute("user" => one: User)"#, "GET /try_attribute", 200, "", "ada"),
    (r#"try_get_attribute("user" => one: String, KEY => two: u8)"#, "GET /try_attributes", 200, "", "None Some(7)"),
    ("task_panic_data(data)", "GET /panic/data", 500, "", "*on purpose"),
    ("task_panic_data(data, more)", "GET /panic/several", 500, "", "*on purpose"),
    ("try_get_task_panic_data(data)", "GET /panic/try", 500, "", "true"),
    ("try_get_task_panic_data(data, more)", "GET /panic/tries", 500, "", "true"),
    ("request_error_data(error)", "GET /error/data", 400, "", "*`absent` is missing"),
    ("request_error_data(error, more)", "GET /error/several", 400, "", "true"),
    ("try_get_request_error_data(error)", "GET /error/try", 400, "", "true"),
    ("try_get_request_error_data(error, more)", "GET /error/tries", 400, "", "true"),
    // Conditions and the response.
    (r#"filter(id == "yes")"#, "GET /filter/yes", 200, "", "yes"),
    (r#"filter(id == "yes")"#, "GET /filter/no", 403, "", "*"),
    (r#"reject(id == "no")"#, "GET /reject/yes", 200, "", "yes"),
    (r#"reject(id == "no")"#, "GET /reject/no", 403, "", "*"),
    ("response_status_code(201)", "GET /status/number", 201, "", ""),
    ("response_status_code(HttpStatus::Accepted)", "GET /status/named", 202, "", ""),
    (r#"response_reason_phrase("Fine")"#, "GET /reason", 200, "HTTP/1.1 200 Fine", ""),
    ("response_version(HttpVersion::Http1_1)", "GET /version", 200, "HTTP/1.1 200 OK", ""),
    (r#"response_header("x-set" => "second")"#, "GET /response_header", 200, "x-set: second", ""),
    (r#"response_header("x-added", "second")"#, "GET /response_header", 200, "x-added: first, second", ""),
    (r#"response_header(HEADER => format!("{}", 1))"#, "GET /response_header", 200, "x-constant: 1", ""),
    ("clear_response_headers", "GET /clear", 200, "x-set: ", ""),
    (r#"response_body("text")"#, "GET /response_body", 200, "", "text"),
    ("response_body(vec![b'o', b'k'])", "GET /response_body/bytes", 200, "", "ok"),
    // Output.
    ("send", "GET /send", 200, "", "bare"),
    ("send(RAW)", "GET /send/value", 200, "", "raw"),
    ("try_send", "GET /try_send", 200, "", "bare"),
    ("try_send(&RAW)", "GET /try_send/value", 200, "", "raw"),
    ("flush", "GET /flush", 200, "", "flushed"),
    ("spawned", "GET /spawned", 200, "", "apart"),
    ("try_flush", "GET /try_flush", 200, "", "flushed"),
    ("closed", "GET /closed", 200, "", "last"),
    // Lists.
    ("prologue_hooks(before)", "GET /hooks/before", 200, "x-hooks: before", ""),
    ("prologue_hooks(before, self::before)", "GET /hooks/both", 200, "x-hooks: before, before, after, before", ""),
    ("epilogue_hooks(Hooks::after, before,)", "GET /hooks/both", 200, "x-hooks: before, before, after, before", ""),
    ("epilogue_hooks(Hooks::after)", "GET /hooks/after", 200, "x-hooks: after", ""),
    (r#"prologue_macros( is_get_method, request_query("id" => id), reject(id == "no"), response_status_code(201), response_header("x-set" => &id), response_body("listed") )"#, "GET /lists?id=a", 201, "x-set: a", "listed"),
    ("epilogue_macros(send, flush, closed)", "GET /lists?id=no", 200, "x-set: ", ""),
    ("epilogue_macros(send, flush, closed)", "PUT /lists?id=a", 405, "allow: GET, HEAD", "*"),
    (r#"prologue_macros(response_body("one"))"#, "GET /list/one", 200, "", "one"),
    ("epilogue_macros(try_send)", "GET /list/one", 200, "", "one"),
    ("import(shout::Shout)", "GET /import", 200, "", "TEXT"),
    ("import(shout::Shout, self::shout::Twice)", "GET /imports", 200, "", "TEXTTEXT"),
    // Places of macros.
    (r#"request_query("id" => id)"#, "GET /places/method?id=a", 200, "", "method a"),
    ("response_body(text)", "GET /places/more", 200, "", "more"),
    (r#"response_body("aliases")"#, "GET /places/aliases", 200, "", "aliases"),
    (r#"try_get_request_query("id" => query)"#, "GET /places/new/a?id=b", 200, "", "a Some(\"b\")"),
];

/// Sends one request of the table and returns the answer; further text of a connection is joined by line ends.
async fn exchange(client: &mut Client, request: &str) -> (Reply, String) {
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let (line, fields) = head.split_once('\n').unwrap_or((head, ""));
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let version = words.next().unwrap_or("HTTP/1.1");
    if method == "WS" {
        let reply = client.upgrade(path, "").await;
        let mut heard = Vec::new();
        for said in body.lines() {
            client.say(said).await;
            heard.push(client.next_frame().await.text().to_owned());
        }
        if body.is_empty() {
            heard.push(client.next_frame().await.text().to_owned());
        }
        return (reply, heard.join("\n"));
    }
    let mut head = format!("{method} {path} {version}\r\n");
    if !fields.contains("host: ") {
        head.push_str("host: localhost\r\n");
    }
    fields
        .lines()
        .for_each(|field| head.push_str(&format!("{field}\r\n")));
    let next = body.strip_prefix("GET ");
    let body = if next.is_some() { "" } else { body };
    client
        .send(format!(
            "{head}content-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    let reply = client.reply_to(method == "HEAD").await;
    let mut text = reply.text().to_owned();
    if let Some(path) = next {
        text.push('\n');
        text.push_str(client.get(path).await.text());
    }
    (reply, text)
}

#[tokio::test]
async fn every_form_of_every_macro_answers_as_the_table_says() {
    let control = app::start().await;
    let mut wrong = Vec::new();
    for (form, request, status, header, body) in ROWS {
        let mut client = Client::connect(address(&control)).await;
        let (reply, text) = exchange(&mut client, request).await;
        let has_header = match header.split_once(": ") {
            Some((name, value)) => reply.all(name).join(", ") == value,
            None => reply.head.starts_with(header),
        };
        let has_body = match body.strip_prefix('*') {
            Some(part) => text.contains(part),
            None => text == *body,
        };
        if reply.status != *status || !has_header || !has_body {
            wrong.push(format!("#[{form}] {request}\n{}{text}", reply.head));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The names in the table of the macro crate.
fn names() -> Vec<&'static str> {
    let (_, rows) = MACROS.split_once("ROWS: &[Row] = &[").expect("the table");
    let constructors = [
        "row(", "route(", "ordered(", "method(", "upgrade(", "version(", "whole(",
    ];
    let mut names = Vec::new();
    for constructor in constructors {
        for (at, _) in rows.match_indices(constructor) {
            // The name is a word of its own, and not the end of a longer one.
            let starts = rows[..at].ends_with([' ', '\n']);
            let name = rows[at + constructor.len()..]
                .trim_start()
                .strip_prefix('"');
            if let (true, Some(name)) = (starts, name) {
                names.push(name.split('"').next().unwrap());
            }
        }
    }
    names
}

#[test]
fn the_table_has_every_macro_and_the_application_every_form() {
    let names = names();
    assert!(names.len() > 80, "{} names: {names:?}", names.len());
    for name in names {
        assert!(
            ROWS.iter()
                .any(|(form, ..)| form.split('(').next() == Some(name)),
            "no row uses `{name}`"
        );
    }
    let application = APPLICATION.split_whitespace().collect::<Vec<_>>().join(" ");
    for (form, ..) in ROWS {
        let stands = format!("#[{form}]");
        assert!(
            application.contains(&stands),
            "the application has no `{stands}`"
        );
    }
}
