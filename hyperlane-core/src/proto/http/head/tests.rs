use super::*;

/// Passes a head in pieces through the scanner and the parser. Returns the result on one line.
fn feed(pieces: &[&[u8]], limits: &HeadLimits) -> Result<String, HeadError> {
    let mut scanner = HeadScanner::default();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let Some(length) = scanner.scan(&buffer, limits)? else {
            continue;
        };
        let mut storage = HeadStorage::new();
        return Ok(summary(&parse(&buffer[..length], limits, &mut storage)?));
    }
    Ok("incomplete".to_owned())
}

fn summary(head: &Head<'_, '_>) -> String {
    let target = match head.target {
        Target::Origin { path, query } => format!("{path} {}", query.unwrap_or("-")),
        Target::Absolute {
            scheme,
            authority,
            path,
            query,
        } => format!("{scheme}:{authority}:{path} {}", query.unwrap_or("-")),
        Target::Authority(authority) => format!("authority:{authority}"),
        Target::Asterisk => "asterisk".to_owned(),
    };
    let version = match head.version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
    };
    let mut words = vec![format!(
        "{} {target} {version} host={}",
        head.method, head.host
    )];
    match head.framing {
        BodyFraming::None => {}
        BodyFraming::Length(length) => words.push(format!("length={length}")),
        BodyFraming::Chunked => words.push("chunked".to_owned()),
        BodyFraming::UntilEnd => words.push("until the end".to_owned()),
    }
    words.extend((!head.keep_alive).then(|| "close".to_owned()));
    words.extend(head.upgrade.then(|| "upgrade".to_owned()));
    words.extend(head.expect_continue.then(|| "expect".to_owned()));
    words.join(" ")
}

/// Feeds a head as one piece, byte by byte, and in two pieces at every cut. All results must be equal.
fn check(rule: &str, head: &[u8], limits: &HeadLimits, want: Result<&str, HeadError>) {
    let want = want.map(str::to_owned);
    assert_eq!(feed(&[head], limits), want, "{rule}: whole");
    let single: Vec<&[u8]> = head.chunks(1).collect();
    assert_eq!(feed(&single, limits), want, "{rule}: byte by byte");
    for cut in 0..=head.len() {
        let (left, right) = head.split_at(cut);
        assert_eq!(feed(&[left, right], limits), want, "{rule}: cut at {cut}");
    }
}

/// Returns an HTTP/1.1 GET request with `lines` as header lines.
fn get(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n").into_bytes()
}

#[test]
fn correct_heads_are_read() {
    let rows: &[(&str, &[u8], &str)] = &[
        (
            "9112 3: request line",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / - 1.1 host=a",
        ),
        (
            "9112 3: no fields in 1.0",
            b"GET / HTTP/1.0\r\n\r\n",
            "GET / - 1.0 host= close",
        ),
        (
            "9112 2.2: one empty line in front",
            b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / - 1.1 host=a",
        ),
        (
            "9112 9.3.2: pipelined",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET \0\n",
            "GET / - 1.1 host=a",
        ),
        (
            "9112 2.1: head not all there",
            b"GET / HTTP/1.1\r\nHost: a\r\n",
            "incomplete",
        ),
        (
            "9110 9.1: any token is a method",
            b"x-!#$%&'*+.^_`|~9 / HTTP/1.1\r\nHost: a\r\n\r\n",
            "x-!#$%&'*+.^_`|~9 / - 1.1 host=a",
        ),
        (
            "9110 9.1: methods keep their case",
            b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
            "get / - 1.1 host=a",
        ),
        (
            "9112 3.2.1: query",
            b"GET /a/b?c=d?e HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a/b c=d?e 1.1 host=a",
        ),
        (
            "9112 3.2.1: empty query",
            b"GET /a? HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a  1.1 host=a",
        ),
        (
            "9112 3.2.1: nothing is decoded or normalised",
            b"GET //a/../%2F/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET //a/../%2F/ - 1.1 host=a",
        ),
        (
            "9112 3.2.2: absolute form",
            b"GET http://b:80/c?d HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http:b:80:/c d 1.1 host=b:80",
        ),
        (
            "9112 3.2.2: without a path",
            b"GET HTTPS://b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET HTTPS:b:/ - 1.1 host=b",
        ),
        (
            "9112 3.2.2: without a path, with a query",
            b"GET http://b?x=/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http:b:/ x=/ 1.1 host=b",
        ),
        (
            "9112 3.2.2: absolute form in 1.0",
            b"GET http://b/ HTTP/1.0\r\n\r\n",
            "GET http:b:/ - 1.0 host=b close",
        ),
        (
            "9112 3.2.3: authority form",
            b"CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT authority:b:443 1.1 host=b:443",
        ),
        (
            "9112 3.2.4: asterisk form",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS asterisk 1.1 host=a",
        ),
        (
            "9112 3.2.1: OPTIONS of a path",
            b"OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS /x - 1.1 host=a",
        ),
        (
            "3986 3.2.2: IPv4 and port",
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
            "GET / - 1.1 host=127.0.0.1:8080",
        ),
        (
            "3986 3.2.2: IPv6",
            b"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n",
            "GET / - 1.1 host=[::1]",
        ),
        (
            "3986 3.2.2: IPv6 and port",
            b"GET / HTTP/1.1\r\nHost: [2001:db8::7]:65535\r\n\r\n",
            "GET / - 1.1 host=[2001:db8::7]:65535",
        ),
        (
            "3986 3.2.2: registered name",
            b"GET / HTTP/1.1\r\nHost: a-b_c.~!%2a\r\n\r\n",
            "GET / - 1.1 host=a-b_c.~!%2a",
        ),
        (
            "3986 3.2.3: empty port",
            b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n",
            "GET / - 1.1 host=a:",
        ),
        (
            "9110 5.1: names in any case",
            b"GET / HTTP/1.1\r\nhOST: a\r\nCONTENT-LENGTH: 1\r\n\r\n",
            "GET / - 1.1 host=a length=1",
        ),
        (
            "9112 5.1: blanks around a value",
            b"GET / HTTP/1.1\r\nHost:\t a \t\r\n\r\n",
            "GET / - 1.1 host=a",
        ),
        (
            "9112 5.1: no blank",
            b"GET / HTTP/1.1\r\nHost:a\r\n\r\n",
            "GET / - 1.1 host=a",
        ),
        (
            "9110 5.5: empty value, tab, high bytes",
            b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: a\tb\r\nZ: \xff\xe9\r\n\r\n",
            "GET / - 1.1 host=a",
        ),
        (
            "9112 6.2: length",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0042\r\n\r\n",
            "POST / - 1.1 host=a length=42",
        ),
        (
            "9112 6.2: length zero",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "POST / - 1.1 host=a length=0",
        ),
        (
            "9110 8.6: the largest length",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n",
            "POST / - 1.1 host=a length=18446744073709551615",
        ),
        (
            "9112 6.3: a list of the same length",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
            "POST / - 1.1 host=a length=1",
        ),
        (
            "9112 6.3: twice the same length",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n",
            "POST / - 1.1 host=a length=1",
        ),
        (
            "9112 6.1: chunked",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / - 1.1 host=a chunked",
        ),
        (
            "9112 7: codings in any case",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n",
            "POST / - 1.1 host=a chunked",
        ),
        (
            "9112 9.6: close",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET / - 1.1 host=a close",
        ),
        (
            "9110 7.6.1: close in a list",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: TE ,\tClose\r\n\r\n",
            "GET / - 1.1 host=a close",
        ),
        (
            "9110 7.6.1: close in a second field",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
            "GET / - 1.1 host=a close",
        ),
        (
            "9110 7.6.1: tokens are whole",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n",
            "GET / - 1.1 host=a",
        ),
        (
            "9110 7.8: upgrade",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\r\n",
            "GET / - 1.1 host=a upgrade",
        ),
        (
            "9112 9.3: 1.0 keep-alive",
            b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
            "GET / - 1.0 host=",
        ),
        (
            "9112 9.3: 1.0 keep-alive and close",
            b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
            "GET / - 1.0 host= close",
        ),
        (
            "9110 7.2: Host in 1.0",
            b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET / - 1.0 host=a close",
        ),
        (
            "9110 10.1.1: expect",
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n",
            "PUT / - 1.1 host=a length=1 expect",
        ),
        (
            "9110 10.1.1: expect is ignored in 1.0",
            b"PUT / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
            "PUT / - 1.0 host= length=1 close",
        ),
    ];
    for (rule, head, want) in rows {
        check(rule, head, &HeadLimits::default(), Ok(want));
    }
}

#[test]
fn what_is_ambiguous_or_malformed_is_refused() {
    use HeadError::*;
    let rows: &[(&str, &[u8], HeadError)] = &[
        ("8446 5.1: TLS", b"\x16\x03\x01\x02\x00", TlsOnPlainPort),
        (
            "9113 3.4: HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            Http2Preface,
        ),
        (
            "9110 9.1: first byte is no token",
            b" GET / HTTP/1.1\r\n",
            InvalidFirstByte { byte: b' ' },
        ),
        (
            "9110 9.1: first byte is over 0x7f",
            b"\xffGET",
            InvalidFirstByte { byte: 0xff },
        ),
        (
            "9112 2.2: two empty lines",
            b"\r\n\r\nGET / HTTP/1.1\r\n",
            InvalidFirstByte { byte: b'\r' },
        ),
        (
            "9112 2.2: bare LF in front",
            b"\nGET / HTTP/1.1\r\n",
            BareLf { at: 0 },
        ),
        (
            "9112 2.2: bare CR in front",
            b"\rGET / HTTP/1.1\r\n",
            BareCr { at: 0 },
        ),
        ("9112 2.2: NUL in front", b"\0GET", Nul { at: 0 }),
        (
            "9112 2.2: bare LF ends the request line",
            b"GET / HTTP/1.1\nHost: a\r\n",
            BareLf { at: 14 },
        ),
        (
            "9112 2.2: bare LF ends a field",
            b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n",
            BareLf { at: 23 },
        ),
        (
            "9112 2.2: bare LF ends the head",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            BareLf { at: 25 },
        ),
        (
            "9112 2.2: bare CR in the request line",
            b"GET / HTTP/1.1\rHost: a\r\n",
            BareCr { at: 14 },
        ),
        (
            "9112 2.2: bare CR in a field",
            b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n",
            BareCr { at: 23 },
        ),
        (
            "9112 2.2: CR CR LF",
            b"GET / HTTP/1.1\r\r\n",
            BareCr { at: 14 },
        ),
        (
            "9110 5.5: NUL in a field",
            b"GET / HTTP/1.1\r\nX: \0\r\n",
            Nul { at: 19 },
        ),
        (
            "9112 3: NUL in the request line",
            b"GET /\0 HTTP/1.1\r\n",
            Nul { at: 5 },
        ),
        (
            "9112 3: no target and no version",
            b"GET\r\n\r\n",
            MalformedRequestLine,
        ),
        (
            "9112 3: no version, as in 0.9",
            b"GET /\r\n\r\n",
            MalformedRequestLine,
        ),
        (
            "9112 3: two blanks",
            b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            MalformedRequestLine,
        ),
        (
            "9112 3: two blanks before the version",
            b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
            MalformedRequestLine,
        ),
        (
            "9112 3: blank at the end",
            b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            MalformedRequestLine,
        ),
        (
            "9112 3: blank in the target",
            b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            MalformedRequestLine,
        ),
        (
            "9112 3: empty target",
            b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
            MalformedRequestLine,
        ),
        (
            "9112 3: tab for a blank",
            b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            MalformedRequestLine,
        ),
        (
            "9110 9.1: method is no token",
            b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            InvalidMethod,
        ),
        (
            "9110 9.1: method is not ASCII",
            b"G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n",
            InvalidMethod,
        ),
        (
            "9112 3.2: target is not ASCII",
            "GET /é HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes(),
            InvalidTargetByte { byte: 0xc3 },
        ),
        (
            "9112 3.2: target is not UTF-8",
            b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
            InvalidTargetByte { byte: 0xff },
        ),
        (
            "9112 3.2: control in the target",
            b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
            InvalidTargetByte { byte: 1 },
        ),
        (
            "9112 3.2: DEL in the target",
            b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
            InvalidTargetByte { byte: 0x7f },
        ),
        (
            "9110 7.1: fragment",
            b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            FragmentInTarget,
        ),
        (
            "9112 3.2: no form at all",
            b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n",
            InvalidTarget,
        ),
        (
            "9112 3.2.3: authority form without CONNECT",
            b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            InvalidTarget,
        ),
        (
            "3986 3.1: invalid scheme",
            b"GET 1a://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            InvalidTarget,
        ),
        (
            "9110 4.2.1: empty authority",
            b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
            InvalidAuthority,
        ),
        (
            "9110 4.2.4: userinfo",
            b"GET http://u:p@b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            InvalidAuthority,
        ),
        (
            "9112 3.2.4: asterisk without OPTIONS",
            b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            AsteriskNeedsOptions,
        ),
        (
            "9112 3.2.3: CONNECT to a path",
            b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
            ConnectNeedsAuthority,
        ),
        (
            "9110 9.3.6: CONNECT without a port",
            b"CONNECT b HTTP/1.1\r\nHost: a\r\n\r\n",
            ConnectNeedsAuthority,
        ),
        (
            "9110 9.3.6: CONNECT with an empty port",
            b"CONNECT b: HTTP/1.1\r\nHost: a\r\n\r\n",
            ConnectNeedsAuthority,
        ),
        (
            "9112 2.3: lower case",
            b"GET / http/1.1\r\nHost: a\r\n\r\n",
            MalformedVersion,
        ),
        (
            "9112 2.3: two digits",
            b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
            MalformedVersion,
        ),
        (
            "9112 2.3: no minor version",
            b"GET / HTTP/1\r\nHost: a\r\n\r\n",
            MalformedVersion,
        ),
        (
            "9110 15.6.6: 2.0",
            b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            VersionNotSupported,
        ),
        (
            "9110 15.6.6: 1.2",
            b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
            VersionNotSupported,
        ),
        (
            "9110 15.6.6: 0.9",
            b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
            VersionNotSupported,
        ),
        (
            "9112 5.2: folded line",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
            FoldedLine { line: 4 },
        ),
        (
            "9112 2.2: blank before the first field",
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            FoldedLine { line: 2 },
        ),
        (
            "9112 5: no colon",
            b"GET / HTTP/1.1\r\nHost a\r\n\r\n",
            MissingColon { line: 2 },
        ),
        (
            "9112 5.1: blank before the colon",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\n",
            BlankBeforeColon { line: 3 },
        ),
        (
            "9112 5.1: tab before the colon",
            b"GET / HTTP/1.1\r\nHost\t: a\r\n\r\n",
            BlankBeforeColon { line: 2 },
        ),
        (
            "9110 5.1: empty name",
            b"GET / HTTP/1.1\r\n: a\r\n\r\n",
            InvalidFieldName { line: 2 },
        ),
        (
            "9110 5.1: blank in a name",
            b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
            InvalidFieldName { line: 2 },
        ),
        (
            "9110 5.1: name is not ASCII",
            b"GET / HTTP/1.1\r\n\xc3\xa9: c\r\n\r\n",
            InvalidFieldName { line: 2 },
        ),
        (
            "9110 5.5: control in a value",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: \x0b\r\n\r\n",
            InvalidFieldValue { line: 3 },
        ),
        (
            "9110 5.5: DEL in a value",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
            InvalidFieldValue { line: 3 },
        ),
        ("9112 3.2: no Host", b"GET / HTTP/1.1\r\n\r\n", MissingHost),
        (
            "9112 3.2.2: no Host beside absolute form",
            b"GET http://b/ HTTP/1.1\r\n\r\n",
            MissingHost,
        ),
        (
            "9112 3.2: two Hosts",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            DuplicateHost,
        ),
        (
            "9112 3.2: two Hosts in 1.0",
            b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            DuplicateHost,
        ),
        (
            "9112 3.2: invalid Host beside absolute form",
            b"GET http://b/ HTTP/1.1\r\nHost: a/b\r\n\r\n",
            InvalidHost,
        ),
    ];
    for (rule, head, error) in rows {
        check(rule, head, &HeadLimits::default(), Err(*error));
    }
}

#[test]
fn fields_that_frame_or_name_the_host_are_refused_unless_plain() {
    use HeadError::*;
    let hosts = [
        ("9110 7.2: empty", ""),
        ("3986 3.2: userinfo", "u@a"),
        ("3986 3.2: path", "a/b"),
        ("3986 3.2: blank inside", "a b"),
        ("3986 3.2.2: not ASCII", "é"),
        ("3986 3.2.2: bad percent-encoding", "a%2"),
        ("3986 3.2.2: bad percent-encoding, digits", "a%zz"),
        ("3986 3.2.3: port is no number", "a:b"),
        ("3986 3.2.3: signed port", "a:+80"),
        ("3986 3.2.3: port over 65535", "a:65536"),
        ("3986 3.2.3: two ports", "a:1:2"),
        ("3986 3.2.3: only a port", ":80"),
        ("3986 3.2.2: IPv6 without brackets", "::1"),
        ("3986 3.2.2: IPv6 not closed", "[::1"),
        ("3986 3.2.2: IPv6 invalid", "[::g]"),
        ("3986 3.2.2: IPv6 with a tail", "[::1]a"),
        ("6874: IPv6 zone", "[fe80::1%25eth0]"),
    ];
    for (rule, host) in hosts {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        check(
            rule,
            head.as_bytes(),
            &HeadLimits::default(),
            Err(InvalidHost),
        );
    }
    let rows = [
        (
            "9110 8.6: empty length",
            "Content-Length:",
            InvalidContentLength,
        ),
        ("9110 8.6: plus", "Content-Length: +1", InvalidContentLength),
        (
            "9110 8.6: minus",
            "Content-Length: -1",
            InvalidContentLength,
        ),
        (
            "9110 8.6: hexadecimal",
            "Content-Length: 0x1",
            InvalidContentLength,
        ),
        (
            "9110 8.6: blank inside",
            "Content-Length: 1 1",
            InvalidContentLength,
        ),
        (
            "9110 8.6: fraction",
            "Content-Length: 1.0",
            InvalidContentLength,
        ),
        (
            "9112 6.3: list that differs",
            "Content-Length: 1, 2",
            ContradictoryContentLength,
        ),
        (
            "9112 6.3: list in different digits",
            "Content-Length: 1, 01",
            ContradictoryContentLength,
        ),
        (
            "9112 6.3: list with an empty element",
            "Content-Length: 1,",
            InvalidContentLength,
        ),
        (
            "9112 6.3: two that differ",
            "Content-Length: 1\r\nContent-Length: 2",
            ContradictoryContentLength,
        ),
        (
            "9110 8.6: more than 64 bits",
            "Content-Length: 18446744073709551616",
            ContentLengthOverflow,
        ),
        (
            "9110 8.6: many digits",
            "Content-Length: 99999999999999999999999999",
            ContentLengthOverflow,
        ),
        (
            "9112 6.1: empty coding",
            "Transfer-Encoding:",
            InvalidTransferEncoding,
        ),
        (
            "9112 6.1: empty element",
            "Transfer-Encoding: ,chunked",
            InvalidTransferEncoding,
        ),
        (
            "9112 6.1: other coding",
            "Transfer-Encoding: gzip",
            UnsupportedTransferCoding,
        ),
        (
            "9112 6.1: other coding first",
            "Transfer-Encoding: gzip, chunked",
            UnsupportedTransferCoding,
        ),
        (
            "9112 6.1: other coding last",
            "Transfer-Encoding: chunked, gzip",
            UnsupportedTransferCoding,
        ),
        (
            "9112 7: identity is gone",
            "Transfer-Encoding: identity",
            UnsupportedTransferCoding,
        ),
        (
            "9112 6.1: nearly chunked",
            "Transfer-Encoding: xchunked",
            UnsupportedTransferCoding,
        ),
        (
            "9112 6.1: chunked with a parameter",
            "Transfer-Encoding: chunked;a=b",
            UnsupportedTransferCoding,
        ),
        (
            "9112 6.1: in two fields",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
            UnsupportedTransferCoding,
        ),
        (
            "9112 6.1: chunked twice",
            "Transfer-Encoding: chunked, chunked",
            RepeatedChunked,
        ),
        (
            "9112 6.1: chunked in two fields",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            RepeatedChunked,
        ),
        (
            "9112 6.3: length and coding",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            LengthAndTransferEncoding,
        ),
        (
            "9112 6.3: coding and length",
            "Transfer-Encoding: chunked\r\nContent-Length: 1",
            LengthAndTransferEncoding,
        ),
        (
            "9110 10.1.1: unknown expectation",
            "Expect: coffee",
            UnknownExpectation,
        ),
        (
            "9110 10.1.1: one of two unknown",
            "Expect: 100-continue, coffee",
            UnknownExpectation,
        ),
        ("9110 10.1.1: empty", "Expect:", UnknownExpectation),
    ];
    for (rule, lines, error) in rows {
        check(rule, &get(lines), &HeadLimits::default(), Err(error));
    }
    check(
        "9112 6.1: coding in 1.0",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        &HeadLimits::default(),
        Err(TransferEncodingInHttp10),
    );
}

#[test]
fn limits_hold_to_the_byte_and_before_any_line_end() {
    let limits = HeadLimits {
        request_line: 16,
        header_bytes: 24,
        header_count: 2,
    };
    let line = HeadError::RequestLineTooLong { limit: 16 };
    let bytes = HeadError::HeadersTooLarge { limit: 24 };
    let count = HeadError::TooManyHeaders { limit: 2 };
    let rows: &[(&str, &[u8], Result<&str, HeadError>)] = &[
        (
            "request line at its limit",
            b"GET /ab HTTP/1.0\r\n\r\n",
            Ok("GET /ab - 1.0 host= close"),
        ),
        (
            "request line at its limit, empty line in front",
            b"\r\nGET /ab HTTP/1.0\r\n\r\n",
            Ok("GET /ab - 1.0 host= close"),
        ),
        (
            "request line over its limit",
            b"GET /abc HTTP/1.0\r\n\r\n",
            Err(line),
        ),
        (
            "request line without an end",
            b"GET /abcdefghijklmnopq",
            Err(line),
        ),
        (
            "garbage after the limit is not reached",
            b"GET /abcdefghijklmnopq\0\n",
            Err(line),
        ),
        (
            "header section at its limit",
            b"GET / HTTP/1.0\r\nX: 0123456789abcdef0\r\n\r\n",
            Ok("GET / - 1.0 host= close"),
        ),
        (
            "header section over its limit",
            b"GET / HTTP/1.0\r\nX: 0123456789abcdef01\r\n\r\n",
            Err(bytes),
        ),
        (
            "header section without an end",
            b"GET / HTTP/1.0\r\nX: 0123456789abcdef012345",
            Err(bytes),
        ),
        (
            "what follows the head does not count",
            b"GET / HTTP/1.0\r\n\r\n0123456789abcdef0123456789abcdef",
            Ok("GET / - 1.0 host= close"),
        ),
        (
            "number of fields at its limit",
            b"GET / HTTP/1.0\r\na:\r\nb:\r\n\r\n",
            Ok("GET / - 1.0 host= close"),
        ),
        (
            "number of fields over its limit",
            b"GET / HTTP/1.0\r\na:\r\nb:\r\nc:\r\n\r\n",
            Err(count),
        ),
    ];
    for (rule, head, want) in rows {
        check(rule, head, &limits, *want);
    }
}

#[test]
fn more_fields_than_fit_the_stack_are_read() {
    let limits = HeadLimits {
        header_count: 300,
        ..HeadLimits::default()
    };
    let mut head = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    for index in 1..300 {
        head.extend_from_slice(format!("X-{index}: {index}\r\n").as_bytes());
    }
    let complete = [head.as_slice(), b"\r\n"].concat();
    let mut storage = HeadStorage::new();
    let parsed = parse(&complete, &limits, &mut storage).unwrap();
    assert_eq!(parsed.fields.len(), 300);
    assert_eq!(parsed.fields.get("x-299"), Some(&b"299"[..]));
    let over = [head.as_slice(), b"Y:\r\n\r\n"].concat();
    let error = parse(&over, &limits, &mut HeadStorage::new()).unwrap_err();
    assert_eq!(error, HeadError::TooManyHeaders { limit: 300 });
}

#[test]
fn the_parser_needs_no_scanner_to_be_strict() {
    let rows: &[(&[u8], HeadError)] = &[
        (b"", HeadError::Incomplete),
        (b"\r\n", HeadError::Incomplete),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", HeadError::Incomplete),
        (
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            HeadError::InvalidFirstByte { byte: b'\r' },
        ),
        (
            b"GET / HTTP/1.1\nHost: a\r\n\r\n",
            HeadError::BareLf { at: 14 },
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            HeadError::BareLf { at: 23 },
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            HeadError::BareLf { at: 25 },
        ),
    ];
    for (head, error) in rows {
        let mut storage = HeadStorage::new();
        assert_eq!(
            parse(head, &HeadLimits::default(), &mut storage).unwrap_err(),
            *error
        );
    }
}

#[test]
fn a_scanner_can_be_used_again() {
    let limits = HeadLimits::default();
    let mut scanner = HeadScanner::default();
    let long = b"GET /some/long/path HTTP/1.0\r\nX: y\r\n\r\n";
    assert_eq!(scanner.scan(long, &limits), Ok(Some(long.len())));
    scanner.reset();
    assert_eq!(
        scanner.scan(b"GET / HTTP/1.0\r\n\r\n", &limits),
        Ok(Some(18))
    );
}

#[test]
fn errors_say_which_answer_they_are() {
    let rows = [
        (HeadError::BareLf { at: 7 }, 400, "bare line feed at byte 7"),
        (
            HeadError::RequestLineTooLong { limit: 8192 },
            414,
            "the request line is longer than 8192 bytes",
        ),
        (
            HeadError::UnknownExpectation,
            417,
            "the only expectation that can be met is `100-continue`",
        ),
        (
            HeadError::HeadersTooLarge { limit: 1 },
            431,
            "the header section is larger than 1 bytes",
        ),
        (
            HeadError::TooManyHeaders { limit: 100 },
            431,
            "there are more than 100 header fields",
        ),
        (
            HeadError::UnsupportedTransferCoding,
            501,
            "the only transfer coding supported is `chunked`",
        ),
        (
            HeadError::Http2Preface,
            505,
            "an HTTP/2 preface arrived where only HTTP/1 is spoken",
        ),
        (
            HeadError::VersionNotSupported,
            505,
            "the HTTP version is neither 1.0 nor 1.1",
        ),
    ];
    for (error, status, text) in rows {
        assert_eq!((error.status(), error.to_string().as_str()), (status, text));
    }
    assert!(size_of::<HeadError>() <= 16);
    assert!(size_of::<HeadScanner>() <= 24);
}
