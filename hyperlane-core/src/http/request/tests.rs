use super::*;

fn origin<'a>(path: &'a str, query: &'a str) -> Target<'a> {
    Target::Origin {
        path,
        query: Some(query),
    }
}

#[test]
fn the_host_is_that_of_the_target_else_of_its_field() {
    let mut request = with_header(HttpVersion::Http1_1, &[("host", "one")]);
    assert_eq!(request.get_host(), "one");
    request.set_host("two");
    assert_eq!(request.get_host(), "two");
    request.reset();
    assert_eq!(request.get_host(), "");
}

fn request(path: &str, query: &str) -> Request {
    let mut request = Request::default();
    request
        .assign_head(
            "GET".into(),
            &origin(path, query),
            true,
            HttpVersion::Http1_1,
        )
        .unwrap();
    request
}

fn with_header(version: HttpVersion, fields: &[(&str, &str)]) -> Request {
    let mut request = request("/", "");
    request.set_version(version);
    for (name, value) in fields {
        request.get_mut_headers().try_add(name, value).unwrap();
    }
    request
}

#[test]
fn head_is_taken_over() {
    let mut request = Request::default();
    let target = Target::Absolute {
        scheme: "http",
        authority: "h:80",
        path: "/a%20b",
        query: Some("x=1"),
    };
    request
        .assign_head("PURGE".into(), &target, true, HttpVersion::Http1_0)
        .unwrap();
    assert_eq!(request.get_method(), &Method::Unknown("PURGE".to_owned()));
    assert_eq!(request.get_version(), &HttpVersion::Http1_0);
    assert_eq!((request.get_host(), request.path()), ("h:80", "/a b"));
    assert_eq!(
        (request.get_raw_path(), request.get_raw_query()),
        ("/a%20b", "x=1")
    );
    assert_eq!(request.get_target(), "/a%20b?x=1");
}

#[test]
fn a_default_request_asks_for_the_root() {
    let request = Request::default();
    assert_eq!(
        (
            request.path(),
            request.get_target(),
            request.get_raw_query()
        ),
        ("/", "/", "")
    );
    assert_eq!(request.routing_path(), "/");
    assert!(request.get_method().is_get() && request.get_querys().is_empty());
}

#[test]
fn a_target_without_a_path_means_the_root() {
    let request = request("", "q=1");
    assert_eq!((request.path(), request.get_target()), ("/", "/?q=1"));
    assert_eq!(request.get_query("q"), "1");
}

#[test]
fn an_encoded_slash_is_no_separator_for_routes() {
    let request = request("/a%2Fb/c%20d/50%25", "");
    assert_eq!(request.path(), "/a/b/c d/50%");
    assert_eq!(request.routing_path(), "/a%2Fb/c d/50%25");
}

#[test]
fn bad_paths_are_refused() {
    let mut request = Request::default();
    let mut assign =
        |path| request.assign_head("GET".into(), &origin(path, ""), true, HttpVersion::Http1_1);
    assert_eq!(assign("/%g1"), Err(InvalidPath::Escape));
    assert_eq!(assign("/%ff"), Err(InvalidPath::Utf8));
    assert_eq!(assign("/%00"), Err(InvalidPath::Nul));
    assert_eq!(assign("/\0"), Err(InvalidPath::Nul));
    assert_eq!(assign("/fine"), Ok(()));
    assert_eq!(request.path(), "/fine");
}

#[test]
fn nothing_of_one_request_is_seen_in_the_next() {
    let mut request = request("/%41", "a=1");
    assert_eq!(request.get_query("a"), "1");
    request.get_mut_headers().try_set("x", "y").unwrap();
    request.set_body("body");
    request.reset();
    assert_eq!(request, Request::default());
    request
        .assign_head(
            "POST".into(),
            &origin("/b", "a=2"),
            true,
            HttpVersion::Http1_1,
        )
        .unwrap();
    assert_eq!((request.path(), request.routing_path()), ("/b", "/b"));
    assert_eq!(request.get_query("a"), "2");
    // A new head also replaces the old one without a reset in between.
    request
        .assign_head("GET".into(), &origin("/c", ""), true, HttpVersion::Http1_1)
        .unwrap();
    assert!(request.get_querys().is_empty() && request.get_method().is_get());
}

#[test]
fn the_next_request_uses_the_same_memory() {
    let mut request = request("/a/rather/long%20path", "and=query");
    request.get_mut_headers().try_set("x", "y").unwrap();
    let places = |request: &Request| {
        (
            request.target.as_ptr(),
            request.routing_path().as_ptr(),
            request.headers.iter().next().map(|(name, _)| name.as_ptr()),
        )
    };
    let before = places(&request);
    request.reset();
    request
        .assign_head(
            "PUT".into(),
            &origin("/short%20one", "q"),
            true,
            HttpVersion::Http1_1,
        )
        .unwrap();
    request.get_mut_headers().append_parsed("x", b"z");
    assert_eq!(places(&request), before);
}

#[test]
fn shrink_gives_spare_memory_back() {
    let mut request = request("/a%20path/that/is/long/enough/to/have/spare", "q=1");
    request.reset();
    request
        .assign_head("GET".into(), &origin("/x", ""), true, HttpVersion::Http1_1)
        .unwrap();
    request.shrink();
    assert_eq!(request.target.capacity(), 2);
    assert!(request.rare.get().is_none());
    assert_eq!(request.path(), "/x");
}

#[test]
fn queries_are_parsed_only_when_asked_for() {
    let mut request = request("/", "a=1&b=x+y&a=%32");
    assert!(request.rare.get().is_none());
    assert_eq!(request.try_get_query("a").as_deref(), Some("1"));
    assert!(request.rare.get().unwrap().querys.get().is_some());
    assert_eq!(request.try_get_query_back("a").as_deref(), Some("2"));
    assert_eq!(
        (request.get_query_size("a"), request.get_querys_size()),
        (2, 3)
    );
    assert_eq!(request.query("b"), Some("x y"));
    assert!(request.has_query("b") && !request.has_query("c"));
    assert_eq!(
        (request.get_query("c"), request.try_get_query_size("c")),
        (String::new(), None)
    );
    request.get_mut_querys().add("c", "3");
    assert_eq!(request.get_query_front("c"), "3");
}

#[test]
fn setting_the_path_keeps_query_and_forms_in_step() {
    let mut request = request("/old%20", "q=1");
    request.set_path("/50% of/a b");
    assert_eq!(request.get_target(), "/50%25%20of/a%20b?q=1");
    assert_eq!(
        (request.path(), request.routing_path()),
        ("/50% of/a b", "/50%25 of/a b")
    );
    request.set_path("/plain");
    assert_eq!(
        (request.path(), request.get_target()),
        ("/plain", "/plain?q=1")
    );
    request.set_path("");
    assert_eq!((request.path(), request.get_target()), ("/", "/?q=1"));
}

#[test]
fn absent_things_are_empty_and_never_panic() {
    let request = Request::default();
    assert!(request.get_header("x").is_empty());
    assert_eq!(
        (request.get_header_front("x"), request.get_header_back("x")),
        (String::new(), String::new())
    );
    assert_eq!(
        (
            request.try_get_header("x"),
            request.try_get_header_size("x")
        ),
        (None, None)
    );
    assert_eq!(request.get_body_json::<u8>(), 0);
    assert!(request.try_get_body_json::<u8>().is_err());
}

#[test]
fn header_getters_see_all_values() {
    let request = with_header(
        HttpVersion::Http1_1,
        &[("Accept", "a"), ("accept", "b"), ("x", "y")],
    );
    assert_eq!(request.get_header("ACCEPT"), ["a", "b"]);
    assert_eq!(
        (request.header("accept"), request.get_header_back("accept")),
        (Some("a"), "b".to_owned())
    );
    assert_eq!(
        (
            request.get_headers_size(),
            request.get_headers_values_size()
        ),
        (2, 3)
    );
    assert!(request.has_header_value("accept", "b") && !request.has_header_value("accept", "c"));
}

#[test]
fn keep_alive_follows_version_and_tokens() {
    use HttpVersion::*;
    for (version, fields, expected) in [
        (Http1_1, &[] as &[_], true),
        (Http1_1, &[("connection", "close")], false),
        (Http1_1, &[("connection", "TE, Close")], false),
        (
            Http1_1,
            &[("connection", "te"), ("connection", "close")],
            false,
        ),
        (Http1_1, &[("connection", "upgrade")], true),
        (Http1_0, &[], false),
        (Http1_0, &[("connection", "Keep-Alive")], true),
        (Http1_0, &[("connection", "x, keep-alive")], true),
        (Http1_0, &[("connection", "keep-alive, close")], false),
        (Http2, &[], true),
        (Http0_9, &[("connection", "keep-alive")], false),
    ] {
        let request = with_header(version.clone(), fields);
        assert_eq!(
            request.is_enable_keep_alive(),
            expected,
            "{version} {fields:?}"
        );
        assert_eq!(request.is_disable_keep_alive(), !expected);
    }
}

#[test]
fn upgrades_are_read_from_all_fields_but_not_from_1_0() {
    let request = with_header(
        HttpVersion::Http1_1,
        &[("upgrade", "h2c"), ("Upgrade", "x, WebSocket")],
    );
    assert!(request.is_ws_upgrade_type() && !request.is_h2c_upgrade_type());
    assert_eq!(request.get_upgrade_type(), UpgradeType::WebSocket);
    let request = with_header(HttpVersion::Http1_0, &[("upgrade", "websocket")]);
    assert!(request.is_unknown_upgrade_type() && !request.is_ws_upgrade_type());
    assert!(with_header(HttpVersion::Http1_1, &[("upgrade", "TLS/1.2")]).is_tls_upgrade_type());
    assert!(Request::default().is_unknown_upgrade_type());
}

/// Programs of published versions read the path as a `String`, in whatever form the request has it.
#[test]
fn the_path_as_a_string_is_the_path() {
    for (raw, query, path) in [
        ("/a", "", "/a"),
        ("/a", "q=1", "/a"),
        ("/a%20b", "q=1", "/a b"),
        ("", "q=1", "/"),
    ] {
        let mut request = Request::default();
        request
            .assign_head(
                "GET".into(),
                &origin(raw, query),
                true,
                HttpVersion::Http1_1,
            )
            .unwrap();
        for _ in 0..2 {
            let owned: String = request.get_path().clone();
            assert_eq!((owned.as_str(), request.path()), (path, path), "{raw}");
        }
        request.set_path("/b");
        assert_eq!(
            (request.get_path().as_str(), request.get_raw_query()),
            ("/b", query)
        );
    }
    assert_eq!(Request::default().get_path(), "/");
}
