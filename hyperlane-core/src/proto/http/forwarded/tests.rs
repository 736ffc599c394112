use proptest::prelude::*;

use super::*;

const PEER: &str = "10.0.0.1";

type Seen = (Option<String>, Option<bool>, Option<String>);

fn read_one(field: ForwardedField, values: &[(&str, &str)]) -> Seen {
    let trusted: Vec<Cidr> = ["10.0.0.0/8", "fd00::/8", "192.0.2.1"]
        .iter()
        .map(|range| range.parse().unwrap())
        .collect();
    let of = |name: &str| -> Vec<&str> {
        values
            .iter()
            .filter(|(known, _)| *known == name)
            .map(|(_, value)| *value)
            .collect()
    };
    let seen = read(field, of, PEER.parse().ok(), &trusted).expect("a trusted peer");
    (
        seen.client.map(|client| client.to_string()),
        seen.secure,
        seen.host.map(str::to_owned),
    )
}

fn client(field: ForwardedField, value: &str) -> Option<String> {
    let name = match field {
        ForwardedField::Forwarded => "forwarded",
        ForwardedField::XForwardedFor => "x-forwarded-for",
    };
    read_one(field, &[(name, value)]).0
}

#[test]
fn ranges_hold_what_is_in_them() {
    for (range, inside, outside) in [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
        ("10.1.2.3/8", "10.0.0.0", "9.255.255.255"),
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.0/31", "192.0.2.1", "192.0.2.2"),
        ("0.0.0.0/0", "255.255.255.255", "::1"),
        ("::/0", "2001:db8::1", "10.0.0.1"),
        ("fd00::/8", "fdff::1", "fe00::1"),
        ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
    ] {
        let parsed: Cidr = range.parse().unwrap();
        assert!(
            parsed.contains(inside.parse().unwrap()),
            "{inside} in {range}"
        );
        assert!(
            !parsed.contains(outside.parse().unwrap()),
            "{outside} in {range}"
        );
        assert_eq!(parsed.to_string().parse(), Ok(parsed));
    }
    for wrong in [
        "",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/+8",
        "10.0.0/8",
        "::/129",
        "a/8",
        "10.0.0.0/8/8",
    ] {
        assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
    }
}

#[test]
fn the_first_address_from_the_right_that_is_not_trusted_is_the_client() {
    for (value, expected) in [
        ("203.0.113.9", Some("203.0.113.9")),
        ("203.0.113.9, 10.0.0.2", Some("203.0.113.9")),
        (
            "1.1.1.1, 203.0.113.9, 10.0.0.2,192.0.2.1",
            Some("203.0.113.9"),
        ),
        ("10.0.0.3, 10.0.0.2", Some("10.0.0.3")),
        ("203.0.113.9:4711", Some("203.0.113.9")),
        ("2001:db8::1", Some("2001:db8::1")),
        ("[2001:db8::1]:443", Some("2001:db8::1")),
        ("nonsense, 203.0.113.9", Some("203.0.113.9")),
        ("203.0.113.9, nonsense", None),
        ("203.0.113.9, unknown, 10.0.0.2", None),
        ("203.0.113.9,", None),
        ("", None),
    ] {
        let seen = client(ForwardedField::XForwardedFor, value);
        assert_eq!(seen.as_deref(), expected, "{value}");
    }
}

#[test]
fn the_standards_field_is_read_with_its_quotes_and_parameters() {
    for (value, expected) in [
        ("for=203.0.113.9", Some("203.0.113.9")),
        (
            "for=\"203.0.113.9:80\";proto=https;by=10.0.0.2",
            Some("203.0.113.9"),
        ),
        ("For=\"[2001:db8::1]:4711\"", Some("2001:db8::1")),
        (
            "for=1.1.1.1, for=203.0.113.9 , for=10.0.0.2",
            Some("203.0.113.9"),
        ),
        ("for=\"_gazonk\"", None),
        ("for=unknown", None),
        ("proto=https", None),
        ("for=203.0.113.9;for=1.1.1.1", None),
        ("for=\"203.0.113.9", None),
        ("for", None),
        ("=203.0.113.9", None),
        ("for=203.0.113.9 proto=https", None),
    ] {
        let seen = client(ForwardedField::Forwarded, value);
        assert_eq!(seen.as_deref(), expected, "{value}");
    }
}

#[test]
fn a_line_of_the_client_spoils_none_of_a_proxy() {
    for noise in ["for=\"", "for", "for=1.1.1.1;for=2.2.2.2", "=", "\u{1}"] {
        for field in ["forwarded", "x-forwarded-for"] {
            let (kind, own) = match field {
                "forwarded" => (ForwardedField::Forwarded, "for=203.0.113.9"),
                _ => (ForwardedField::XForwardedFor, "203.0.113.9"),
            };
            let read = read_one(kind, &[(field, noise), (field, own)]);
            assert_eq!(read.0, Some("203.0.113.9".into()), "{noise}");
        }
    }
}

#[test]
fn no_separator_within_a_quoted_string_splits_an_element() {
    for (text, expected) in [
        (r#"x,for="y"a,b""#, &[r#"for="y"a,b""#, "x"][..]),
        (
            r#"x,for="y"a,b","c,d""#,
            &[r#""c,d""#, r#"for="y"a,b""#, "x"],
        ),
        (r#"a,"b,c""#, &[r#""b,c""#, "a"]),
        (r#"a,b",c"#, &["c", r#"b""#, "a"]),
        (r#"a"b,c"d,e""#, &[r#"c"d,e""#, r#"a"b"#]),
    ] {
        let pieces: Vec<&str> = Pieces::of(text, b',').collect();
        assert_eq!(pieces, expected, "{text}");
    }
}

/// Checks the address, scheme and host that a field reports.
fn check(field: ForwardedField, lines: &[(&str, &str)], expected: [&str; 3]) {
    let (client, secure, host) = read_one(field, lines);
    let secure = match secure {
        Some(true) => "https",
        Some(false) => "http",
        None => "",
    };
    let seen = [
        client.as_deref().unwrap_or_default(),
        secure,
        host.as_deref().unwrap_or_default(),
    ];
    assert_eq!(seen, expected, "{lines:?}");
}

#[test]
fn address_scheme_and_host_are_at_one_place_from_the_right() {
    for (nodes, protos, hosts, expected) in [
        // One proxy: the last item of each list applies.
        (
            "1.1.1.1, 203.0.113.9",
            "http, HTTPS",
            "evil.example, app.example",
            ["203.0.113.9", "https", "app.example"],
        ),
        // Two proxies, and both append to the fields.
        (
            "1.1.1.1, 203.0.113.9, 10.0.0.2",
            "http, https, http",
            "evil.example, app.example, inner:8080",
            ["203.0.113.9", "https", "app.example"],
        ),
        // Two proxies. The second proxy does not append to the scheme and host of the first proxy.
        (
            "203.0.113.9, 10.0.0.2",
            "https",
            "app.example",
            ["203.0.113.9", "https", "app.example"],
        ),
        // The proxies report only trusted addresses, or a value that is not an address.
        ("10.0.0.2", "https, http", "", ["10.0.0.2", "https", ""]),
        (
            "unknown, 10.0.0.2",
            "https, http",
            "app.example, inner",
            ["", "https", "app.example"],
        ),
        (
            "unix:",
            "https",
            "app.example",
            ["", "https", "app.example"],
        ),
        // The reader ignores a malformed value, and still reports the other values.
        ("203.0.113.9", "gopher", "a b/c", ["203.0.113.9", "", ""]),
        (
            "203.0.113.9",
            "https",
            "a b/c",
            ["203.0.113.9", "https", ""],
        ),
        (
            "203.0.113.9",
            "https,",
            "app.example",
            ["203.0.113.9", "", "app.example"],
        ),
        ("x", "x", "app.example", ["", "", "app.example"]),
    ] {
        check(
            ForwardedField::XForwardedFor,
            &[
                ("x-forwarded-for", nodes),
                ("x-forwarded-proto", protos),
                ("x-forwarded-host", hosts),
            ],
            expected,
        );
    }
    // Without an address, the last scheme and the last host apply. The scheme `wss` counts as `https`.
    let field = ForwardedField::XForwardedFor;
    check(field, &[], ["", "", ""]);
    check(field, &[("x-forwarded-proto", "https")], ["", "https", ""]);
    check(
        field,
        &[("x-forwarded-proto", "http, wss")],
        ["", "https", ""],
    );
    check(
        field,
        &[("x-forwarded-host", "[::1]:80")],
        ["", "", "[::1]:80"],
    );
    // The values of several lines of a field form one list.
    check(
        field,
        &[
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-proto", "http"),
        ],
        ["203.0.113.9", "https", ""],
    );
}

#[test]
fn parameters_of_an_element_count_each_on_their_own() {
    for (value, expected) in [
        ("proto=https", ["", "https", ""]),
        ("proto=https;host=app.example", ["", "https", "app.example"]),
        (
            "Host=\"app.example:8443\" ; PROTO=HTTPS",
            ["", "https", "app.example:8443"],
        ),
        ("for=unknown;proto=https;host=a", ["", "https", "a"]),
        ("for=\"_hidden\";proto=https", ["", "https", ""]),
        (
            "for=203.0.113.9;proto=gopher;host=a",
            ["203.0.113.9", "", "a"],
        ),
        (
            "for=203.0.113.9;proto=https;host=\"a b\"",
            ["203.0.113.9", "https", ""],
        ),
        // If a parameter is repeated, the reader reports no value for it.
        ("for=203.0.113.9;for=1.1.1.1;proto=https", ["", "https", ""]),
        (
            "for=203.0.113.9;proto=https;proto=http",
            ["203.0.113.9", "", ""],
        ),
        // Each of these elements violates the grammar. The reader still reports the values that it can read.
        ("for;proto=https", ["", "https", ""]),
        (
            "for=203.0.113.9;=;;x;proto=https",
            ["203.0.113.9", "https", ""],
        ),
        (
            "for=203.0.113.9;b@d=1;proto=https",
            ["203.0.113.9", "https", ""],
        ),
        ("proto=https;for=\"203.0.113.9", ["", "https", ""]),
        ("for=\"203.0.113.9;proto=https", ["", "https", ""]),
        ("for=\"a\\\"b\";proto=https;host=a", ["", "https", "a"]),
        (
            "for=203.0.113.9:80;host=a:8443",
            ["203.0.113.9", "", "a:8443"],
        ),
        // A separator within quotes does not end the parameter or the element.
        (
            "for=203.0.113.9;x=\"a;proto=https, for=1.1.1.1\"",
            ["203.0.113.9", "", ""],
        ),
        // For each parameter, the leftmost value from a trusted proxy applies.
        (
            "for=203.0.113.9;proto=https;host=a, for=10.0.0.2;proto=http;host=b",
            ["203.0.113.9", "https", "a"],
        ),
        (
            "for=203.0.113.9, for=10.0.0.2;proto=https;host=b",
            ["203.0.113.9", "https", "b"],
        ),
        (
            "proto=https;host=a, for=10.0.0.2",
            ["10.0.0.2", "https", "a"],
        ),
        (
            "proto=https;host=evil, for=203.0.113.9",
            ["203.0.113.9", "", ""],
        ),
        ("for=1.1.1.1, proto=https", ["", "https", ""]),
        // The client leaves a quote open. The quoted string does not extend into the text that a proxy appends.
        (
            "for=1.1.1.1;x=\", for=203.0.113.9;host=\"a\"",
            ["203.0.113.9", "", "a"],
        ),
        (
            "x=\"\\, for=203.0.113.9;host=\"a\"",
            ["203.0.113.9", "", "a"],
        ),
        ("for=1.1.1.1, for=\"203.0.113.9", ["", "", ""]),
    ] {
        check(ForwardedField::Forwarded, &[("forwarded", value)], expected);
    }
    let lines = [
        ("forwarded", "for=1.1.1.1;host=evil.example;proto=http"),
        (
            "forwarded",
            "for=203.0.113.9;host=\"app.example:8443\";proto=https, for=10.0.0.2;host=inner",
        ),
    ];
    check(
        ForwardedField::Forwarded,
        &lines,
        ["203.0.113.9", "https", "app.example:8443"],
    );
}

#[test]
fn nobody_is_believed_whom_we_do_not_trust() {
    let values = |_: &str| ["203.0.113.9"];
    for peer in [PEER.parse().ok(), None] {
        assert_eq!(read(ForwardedField::XForwardedFor, values, peer, &[]), None);
    }
    let trusted = ["192.0.2.1".parse().unwrap()];
    let local = read(ForwardedField::XForwardedFor, values, None, &trusted).unwrap();
    assert!(local.client.is_some(), "a proxy at a Unix socket");
    let peer = PEER.parse().ok();
    assert_eq!(
        read(ForwardedField::XForwardedFor, values, peer, &trusted),
        None
    );
}

proptest! {
    #[test]
    fn what_is_left_of_the_client_changes_nothing(noise in "[ -~]{0,60}") {
        let value = format!("{noise}, 203.0.113.9, 10.0.0.2");
        prop_assert_eq!(
            client(ForwardedField::XForwardedFor, &value),
            Some("203.0.113.9".to_owned())
        );
    }

    #[test]
    fn no_quote_of_the_client_reaches_into_an_element_of_a_proxy(noise in "[ -~]{0,60}") {
        for own in ["for=203.0.113.9;host=\"app.example:1\";proto=https", "proto=https;host=\"app.example:1\";for=\"203.0.113.9:1\""] {
            let value = format!("{noise}, {own}, for=10.0.0.2");
            let seen = read_one(ForwardedField::Forwarded, &[("forwarded", &value)]);
            prop_assert_eq!(seen, (Some("203.0.113.9".to_owned()), Some(true), Some("app.example:1".to_owned())));
        }
    }

    #[test]
    fn no_text_breaks_the_reader(value in "\\PC{0,80}") {
        for field in [ForwardedField::Forwarded, ForwardedField::XForwardedFor] {
            let _ = client(field, &value);
        }
    }
}
