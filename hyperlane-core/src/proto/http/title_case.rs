//! Header names in the spelling of the RFCs, for clients that compare names byte by byte.

/// The words in field names that have a special spelling. In all other words, only the first letter is a capital
/// letter.
const WORDS: [&str; 24] = [
    "CDN",
    "CH",
    "CSP",
    "CT",
    "DAV",
    "DNS",
    "DNT",
    "DPoP",
    "ETag",
    "GPC",
    "ID",
    "IM",
    "MD5",
    "MIME",
    "NEL",
    "RTT",
    "SourceMap",
    "TE",
    "TTL",
    "UA",
    "WebSocket",
    "WWW",
    "XML",
    "XSS",
];

/// Rewrites the lower-case field names of a head, for example to `Content-Type`, `ETag` or `Sec-WebSocket-Accept`. The
/// head begins with its status line. All other bytes stay the same. Field names are case-insensitive (RFC 9110 §5.1).
pub(crate) fn title_case(head: &mut [u8]) {
    let mut lines = head.split_mut(|byte| *byte == b'\n');
    // Skips the status line.
    lines.next();
    for line in lines {
        if let Some(colon) = memchr::memchr(b':', line)
            && let Some(name) = line.get_mut(..colon)
        {
            name.split_mut(|byte| *byte == b'-').for_each(capitalize);
        }
    }
}

fn capitalize(word: &mut [u8]) {
    let special = WORDS
        .iter()
        .find(|special| special.as_bytes().eq_ignore_ascii_case(word));
    match special {
        Some(special) => word.copy_from_slice(special.as_bytes()),
        None => {
            if let Some(first) = word.first_mut() {
                first.make_ascii_uppercase();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_the_rfcs_write_them() {
        for name in [
            "Content-Type",
            "Connection",
            "Date",
            "ETag",
            "WWW-Authenticate",
            "Sec-WebSocket-Accept",
            "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Extensions",
            "Sec-WebSocket-Version",
            "Set-Cookie",
            "X-Accel-Buffering",
            "X-XSS-Protection",
            "X-Request-ID",
            "Access-Control-Allow-Origin",
            "Content-MD5",
            "DPoP-Nonce",
            "X-1",
            "X--_a-",
        ] {
            let lower = name.to_ascii_lowercase();
            let mut head = format!("HTTP/1.1 200 x: etag\r\n{lower}: te: etag-www\r\n\r\n");
            let expected = format!("HTTP/1.1 200 x: etag\r\n{name}: te: etag-www\r\n\r\n");
            title_case_str(&mut head);
            assert_eq!(head, expected);
        }
        for mut head in ["", "HTTP/1.1 200 OK\r\n\r\n"].map(str::to_owned) {
            let before = head.clone();
            title_case_str(&mut head);
            assert_eq!(head, before);
        }
    }

    fn title_case_str(head: &mut String) {
        let mut bytes = std::mem::take(head).into_bytes();
        title_case(&mut bytes);
        *head = String::from_utf8(bytes).unwrap();
    }
}
