use super::*;

fn written(headers: &Headers) -> String {
    let mut out = Vec::new();
    let mut head = HeadWriter::response(&mut out, false, 200, "");
    headers.write_lines(&mut head);
    let out = String::from_utf8(out).unwrap();
    let (_, lines) = out.split_once("\r\n").unwrap();
    assert_eq!(lines.len(), headers.wire_len());
    lines.to_owned()
}

#[test]
fn empty_map_owns_no_memory() {
    let headers = Headers::new();
    assert_eq!(
        (headers.lines.capacity(), headers.entries.capacity()),
        (0, 0)
    );
    assert_eq!(headers.get("host"), None);
    assert_eq!(written(&headers), "");
}

#[test]
fn names_match_in_any_case_and_values_keep_theirs() {
    let mut headers = Headers::new();
    headers.append_parsed("X-Mixed", b"VaLue");
    for name in ["x-mixed", "X-MIXED", "X-Mixed"] {
        assert_eq!(headers.get(name), Some("VaLue"));
    }
    assert_eq!(headers.get("x-mixe"), None);
    assert_eq!(headers.iter().next(), Some(("x-mixed", "VaLue")));
}

#[test]
fn set_replaces_and_add_keeps() {
    let mut headers = Headers::new();
    headers.try_add("a", "1").unwrap();
    headers.try_add("b", "2").unwrap();
    headers.try_add("A", "3").unwrap();
    assert_eq!(
        (headers.get("a"), headers.get_last("a"), headers.len()),
        (Some("1"), Some("3"), 3)
    );
    assert_eq!(headers.distinct_len(), 2);
    headers.try_set("a", "4").unwrap();
    assert_eq!(headers.get_all("a").collect::<Vec<_>>(), ["4"]);
    assert_eq!(written(&headers), "b: 2\r\na: 4\r\n");
}

#[test]
fn removal_leaves_the_others() {
    let mut headers = Headers::new();
    for (name, value) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")] {
        headers.try_add(name, value).unwrap();
    }
    assert!(headers.remove_value("A", "1"));
    assert!(!headers.remove_value("a", "1"));
    assert_eq!(written(&headers), "b: 2\r\na: 3\r\nc: 4\r\n");
    assert!(headers.remove("C"));
    assert!(!headers.remove("c"));
    assert_eq!(
        headers.iter().rev().collect::<Vec<_>>(),
        [("a", "3"), ("b", "2")]
    );
}

#[test]
fn invalid_names_and_values_are_refused_and_change_nothing() {
    let mut headers = Headers::new();
    headers.try_set("a", "1").unwrap();
    for name in ["", "a b", "a:", "a\r\n", "ä", "a\0"] {
        assert_eq!(
            headers.try_set(name, "x"),
            Err(HeaderError::Name),
            "{name:?}"
        );
    }
    for value in ["x\r\ny", "x\ny", "x\r", "\0", "\x7f", "\x1b[0m"] {
        assert_eq!(
            headers.try_set("a", value),
            Err(HeaderError::Value),
            "{value:?}"
        );
        assert_eq!(
            headers.try_add("a", value),
            Err(HeaderError::Value),
            "{value:?}"
        );
    }
    assert_eq!(written(&headers), "a: 1\r\n");
}

#[test]
fn tabs_and_text_beyond_ascii_are_values_and_outer_blanks_are_not() {
    let mut headers = Headers::new();
    headers.try_set("a", " \tgr\tün ").unwrap();
    headers.try_add("empty", "  ").unwrap();
    assert_eq!(
        (headers.get("a"), headers.get("empty")),
        (Some("gr\tün"), Some(""))
    );
}

#[test]
fn parsed_value_that_is_not_utf8_is_latin1() {
    let mut headers = Headers::new();
    headers.append_parsed("Name", b"caf\xe9");
    headers.append_parsed("utf8", "café".as_bytes());
    assert_eq!(
        (headers.get("name"), headers.get("utf8")),
        (Some("café"), Some("café"))
    );
}

#[test]
fn tokens_are_found_over_all_lists() {
    let mut headers = Headers::new();
    headers.try_add("connection", "keep-alive, , TE").unwrap();
    headers.try_add("Connection", "\tUpgrade ,").unwrap();
    for token in ["keep-alive", "te", "UPGRADE"] {
        assert!(headers.has_token("connection", token), "{token}");
    }
    for token in ["keep", "alive", "", "close"] {
        assert!(!headers.has_token("connection", token), "{token}");
    }
    headers.try_add("x-list", "a, b").unwrap();
    headers.try_add("x-empty", "").unwrap();
    assert!(!headers.has_token("x-list", "a, b"));
    assert!(!headers.has_token("x-empty", ""));
}

#[test]
fn clear_keeps_memory_and_shrink_gives_it_back() {
    let mut headers = Headers::new();
    headers.try_set("name", "x".repeat(500).as_str()).unwrap();
    headers.try_set("other", "y").unwrap();
    headers.remove("name");
    headers.shrink_to_fit();
    assert_eq!(headers.lines.capacity(), "other: y\r\n".len());
    assert_eq!(headers.get("other"), Some("y"));
    let capacity = headers.lines.capacity();
    headers.clear();
    assert!(headers.is_empty() && headers.get("other").is_none());
    assert_eq!(headers.lines.capacity(), capacity);
}

#[test]
fn setting_one_name_for_ever_does_not_grow() {
    let mut headers = Headers::new();
    headers.try_set("first", "kept").unwrap();
    for round in 0..10_000 {
        headers.try_set("a", &format!("value {round}")).unwrap();
        headers.try_set("b", &format!("value {round}")).unwrap();
    }
    assert!(
        headers.lines.capacity() < 4 * COMPACT_ABOVE,
        "{}",
        headers.lines.capacity()
    );
    assert_eq!(
        written(&headers),
        "first: kept\r\na: value 9999\r\nb: value 9999\r\n"
    );
}

#[test]
fn equality_is_about_fields_not_memory() {
    let (mut left, mut right) = (Headers::new(), Headers::new());
    left.try_set("gone", "x").unwrap();
    left.try_set("a", "1").unwrap();
    left.remove("gone");
    right.try_set("A", "1").unwrap();
    assert_eq!(left, right);
    assert_eq!(format!("{left:?}"), r#"{"a": "1"}"#);
}

#[test]
fn lines_past_four_gib_are_not_addressable() {
    assert!(Entry::new(u32::MAX as usize - 10, 3, 3).is_some());
    assert!(Entry::new(u32::MAX as usize - 9, 3, 3).is_none());
    assert!(Entry::new(usize::MAX, 1, 1).is_none());
}
