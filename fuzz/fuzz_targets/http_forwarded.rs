//! What proxies say of a client: a line that names the field (`f` or else), then its values.
//!
//! Only what trusted proxies wrote is believed: whatever is put in front changes nothing.

#![no_main]

use hyperlane_core::{Cidr, ForwardedField, proto::http::forwarded::read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let mut lines = input.split('\n');
    let field = match lines.next() {
        Some("f") => ForwardedField::Forwarded,
        _ => ForwardedField::XForwardedFor,
    };
    let values: Vec<&str> = lines.collect();
    let trusted: Vec<Cidr> = ["10.0.0.0/8", "fd00::/8"]
        .iter()
        .map(|range| range.parse().expect("a range"))
        .collect();
    let peer = "10.0.0.1".parse().ok();
    let name = match field {
        ForwardedField::Forwarded => "forwarded",
        _ => "x-forwarded-for",
    };
    let seen = read(
        field,
        |wanted| {
            if wanted == name {
                values.clone()
            } else {
                Vec::new()
            }
        },
        peer,
        &trusted,
    );
    assert_eq!(
        read(
            field,
            |_| values.clone(),
            "192.0.2.1".parse().ok(),
            &trusted
        ),
        None
    );
    let seen = seen.expect("a trusted peer");
    let is_trusted = |client| trusted.iter().any(|range| range.contains(client));
    let is_blank = |line: &&str| {
        line.bytes()
            .all(|byte| byte.is_ascii_whitespace() || byte == b',')
    };
    // Then the search goes on into what is put in front.
    if seen.client.is_some_and(is_trusted) || values.iter().all(is_blank) {
        return;
    }
    // A client that is not trusted, or not known, ends the search.
    let forged = match field {
        ForwardedField::Forwarded => "for=198.51.100.99;proto=https;host=forged.example",
        _ => "198.51.100.99",
    };
    let mut more = vec![forged];
    more.extend(&values);
    let again = read(
        field,
        |wanted| {
            if wanted == name {
                more.clone()
            } else {
                Vec::new()
            }
        },
        peer,
        &trusted,
    );
    assert_eq!(again, Some(seen));
});
