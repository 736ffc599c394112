use super::*;

/// The rule, the input, the expected body, and the expected number of bytes after the body.
type Accepted<'a> = (&'a str, &'a [u8], &'a [u8], Option<usize>);

/// The body and the number of input bytes after the body. The number is `None` if the body is incomplete.
type Outcome = Result<(Vec<u8>, Option<usize>), ChunkedError>;

fn feed(pieces: &[&[u8]], limits: &ChunkedLimits) -> Outcome {
    let mut decoder = ChunkedDecoder::new(limits);
    let mut body = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let mut input = *piece;
        while !input.is_empty() {
            let step = decoder.decode(input)?;
            body.extend_from_slice(step.data);
            input = &input[step.consumed..];
            if step.done {
                let later: usize = pieces[index + 1..].iter().map(|piece| piece.len()).sum();
                return Ok((body, Some(input.len() + later)));
            }
            assert!(step.consumed > 0, "no progress");
        }
    }
    Ok((body, None))
}

fn check(rule: &str, input: &[u8], limits: &ChunkedLimits, want: Outcome) {
    assert_eq!(feed(&[input], limits), want, "{rule}: whole");
    let single: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(feed(&single, limits), want, "{rule}: byte by byte");
    for cut in 0..=input.len() {
        let (left, right) = input.split_at(cut);
        assert_eq!(feed(&[left, right], limits), want, "{rule}: cut at {cut}");
    }
}

#[test]
fn chunked_bodies_are_read_strictly() {
    use ChunkedError::*;
    let accepted: &[Accepted<'_>] = &[
        ("7.1 empty body", b"0\r\n\r\n", b"", Some(0)),
        (
            "7.1 one chunk",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"hello",
            Some(0),
        ),
        (
            "7.1 two chunks",
            b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
            b"hello",
            Some(0),
        ),
        (
            "7.1 digits in both cases",
            b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
            b"01234567890123456789",
            Some(0),
        ),
        (
            "7.1 leading zeros",
            b"0000000000000001\r\nx\r\n000\r\n\r\n",
            b"x",
            Some(0),
        ),
        (
            "7.1 line ends are data inside a chunk",
            b"4\r\n\r\n\r\n\r\n0\r\n\r\n",
            b"\r\n\r\n",
            Some(0),
        ),
        (
            "7.1 the next message is left",
            b"1\r\nx\r\n0\r\n\r\nGET /",
            b"x",
            Some(5),
        ),
        ("7.1 not yet at its end", b"5\r\nhel", b"hel", None),
        (
            "7.1 last chunk without the empty line",
            b"1\r\nx\r\n0\r\n",
            b"x",
            None,
        ),
        (
            "7.1.1 extension",
            b"1;a\r\nx\r\n0;b=c\r\n\r\n",
            b"x",
            Some(0),
        ),
        (
            "7.1.1 quoted extension",
            b"1;a=\"b;c\"\r\nx\r\n0\r\n\r\n",
            b"x",
            Some(0),
        ),
        (
            "7.1.1 blanks around an extension",
            b"1 \t; a = b \r\nx\r\n0\r\n\r\n",
            b"x",
            Some(0),
        ),
        (
            "7.1.2 trailers are dropped",
            b"1\r\nx\r\n0\r\nA: b\r\nC:\r\n\r\nrest",
            b"x",
            Some(4),
        ),
    ];
    for (rule, input, body, rest) in accepted {
        check(
            rule,
            input,
            &ChunkedLimits::default(),
            Ok((body.to_vec(), *rest)),
        );
    }
    let refused: &[(&str, &[u8], ChunkedError)] = &[
        ("7.1 no size", b"\r\n", InvalidSize { byte: b'\r' }),
        (
            "7.1 extension without a size",
            b";a\r\n",
            InvalidSize { byte: b';' },
        ),
        ("7.1 sign", b"+1\r\nx", InvalidSize { byte: b'+' }),
        ("7.1 negative", b"-1\r\nx", InvalidSize { byte: b'-' }),
        ("7.1 prefix", b"0x1\r\nx", InvalidSize { byte: b'x' }),
        (
            "7.1 not hexadecimal",
            b"1g\r\nx",
            InvalidSize { byte: b'g' },
        ),
        ("7.1 blank in front", b" 1\r\nx", InvalidSize { byte: b' ' }),
        ("7.1 blank behind", b"1 \r\nx", InvalidSize { byte: b'\r' }),
        (
            "7.1 blank between digits",
            b"1 1\r\nx",
            InvalidSize { byte: b'1' },
        ),
        ("7.1 NUL", b"1\0\r\nx", InvalidSize { byte: 0 }),
        (
            "7.1 too many digits",
            b"00000000000000001\r\nx",
            SizeTooLong,
        ),
        (
            "7.1 more than 64 bits",
            b"10000000000000000\r\nx",
            SizeTooLong,
        ),
        ("2.2 bare LF after the size", b"1\nx\r\n", BareLf),
        ("2.2 bare CR after the size", b"1\rx\r\n", BareCr),
        ("2.2 bare LF in an extension", b"1;a\nx\r\n", BareLf),
        ("2.2 bare CR in an extension", b"1;a\rb\r\n", BareCr),
        (
            "7.1.1 control in an extension",
            b"1;a\x07\r\n",
            InvalidExtension { byte: 7 },
        ),
        (
            "7.1 data longer than its size",
            b"1\r\nxy\r\n",
            MissingChunkEnd,
        ),
        (
            "7.1 bare LF after the data",
            b"1\r\nx\n0\r\n\r\n",
            MissingChunkEnd,
        ),
        ("2.2 bare CR after the data", b"1\r\nx\r0\r\n\r\n", BareCr),
        ("2.2 bare LF at the end", b"0\r\n\n", BareLf),
        ("2.2 bare CR at the end", b"0\r\n\rx", BareCr),
        (
            "7.1.2 folded trailer",
            b"0\r\nA: b\r\n c\r\n\r\n",
            InvalidTrailer { byte: b' ' },
        ),
        (
            "7.1.2 trailer without a name",
            b"0\r\n: b\r\n\r\n",
            InvalidTrailer { byte: b':' },
        ),
        (
            "7.1.2 trailer without a colon",
            b"0\r\nA\r\n\r\n",
            InvalidTrailer { byte: b'\r' },
        ),
        (
            "7.1.2 blank before the colon",
            b"0\r\nA : b\r\n\r\n",
            InvalidTrailer { byte: b' ' },
        ),
        (
            "7.1.2 NUL in a trailer",
            b"0\r\nA: \0\r\n\r\n",
            InvalidTrailer { byte: 0 },
        ),
        ("2.2 bare LF in a trailer", b"0\r\nA: b\n\r\n", BareLf),
        ("2.2 bare CR in a trailer", b"0\r\nA: b\rc\r\n", BareCr),
    ];
    for (rule, input, error) in refused {
        check(rule, input, &ChunkedLimits::default(), Err(*error));
        assert_eq!(error.status(), 400);
    }
}

#[test]
fn what_is_not_data_is_bounded() {
    let limits = ChunkedLimits {
        extension_line: 4,
        extension_total: 6,
        trailer_bytes: 8,
    };
    let check = |rule, input, want| check(rule, input, &limits, want);
    let body = |body: &[u8]| Ok((body.to_vec(), Some(0)));
    let too_large = || Err(ChunkedError::ExtensionsTooLarge);
    check(
        "a line at its limit",
        b"1;abc\r\nx\r\n0;a\r\n\r\n",
        body(b"x"),
    );
    check("a line over its limit", b"1;abcd\r\nx\r\n", too_large());
    check("blanks count too", b"1     ;a\r\nx\r\n", too_large());
    check(
        "all lines over their limit",
        b"1;abc\r\nx\r\n1;ab\r\nx\r\n0\r\n\r\n",
        too_large(),
    );
    check("trailers at their limit", b"0\r\na: b\r\n\r\n", body(b""));
    check(
        "trailers over their limit",
        b"0\r\na: bc\r\n\r\n",
        Err(ChunkedError::TrailersTooLarge),
    );
    assert_eq!(ChunkedError::TrailersTooLarge.status(), 431);
}

#[test]
fn the_largest_size_does_not_overflow() {
    let mut decoder = ChunkedDecoder::default();
    let step = decoder.decode(b"ffffffffffffffff\r\nabc").unwrap();
    assert_eq!(
        (step.data, step.consumed, step.done),
        (&b"abc"[..], 21, false)
    );
}

#[test]
fn nothing_is_consumed_after_the_end() {
    let mut decoder = ChunkedDecoder::default();
    assert!(decoder.decode(LAST_CHUNK).unwrap().done);
    let step = decoder.decode(b"5\r\nhello").unwrap();
    assert_eq!((step.data, step.consumed, step.done), (&b""[..], 0, true));
}

#[test]
fn encoded_chunk_heads_decode_to_their_length() {
    for len in [1, 9, 10, 15, 16, 255, 256, 4095, 65_536, usize::MAX] {
        let mut head = Vec::new();
        encode_chunk_head(len, &mut head);
        assert_eq!(head, format!("{len:x}\r\n").into_bytes());
    }
}

#[test]
fn the_decoder_is_small() {
    assert!(size_of::<ChunkedDecoder>() <= 32);
}
