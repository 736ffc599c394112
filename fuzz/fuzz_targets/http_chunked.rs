//! Chunked bodies: a byte that chooses the limits, one for the size of a read (0: all at once), and the stream.
//!
//! What is a whole body is held against RFC 9112 §7.1 written out once more.

#![no_main]

use hyperlane_core::proto::http::chunked::{
    CHUNK_END, ChunkedDecoder, ChunkedError, ChunkedLimits, LAST_CHUNK, encode_chunk_head,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [tightness, size, stream @ ..] = input else {
        return;
    };
    let limits = match tightness % 2 {
        0 => ChunkedLimits::default(),
        _ => ChunkedLimits {
            extension_line: 8,
            extension_total: 16,
            trailer_bytes: 24,
        },
    };
    let whole = decode(stream, stream.len().max(1), &limits);
    if *size > 0 {
        assert_eq!(decode(stream, usize::from(*size), &limits), whole);
    }
    let wanted = reference(stream, &limits);
    match whole {
        Outcome::Whole(body, consumed) => {
            assert_eq!(wanted, Some((body.clone(), consumed)));
            check_round_trip(&body, usize::from(*size).max(1), &limits);
        }
        Outcome::Partial => assert_eq!(wanted, None),
        Outcome::Broken(error) => {
            assert_eq!(wanted, None, "{error}");
            assert!(matches!(error.status(), 400 | 431));
        }
    }
});

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The body, and the length of its coding.
    Whole(Vec<u8>, usize),
    Partial,
    Broken(ChunkedError),
}

fn decode(stream: &[u8], size: usize, limits: &ChunkedLimits) -> Outcome {
    let mut decoder = ChunkedDecoder::new(limits);
    let mut body = Vec::new();
    let mut consumed = 0;
    for read in stream.chunks(size) {
        let mut rest = read;
        while !rest.is_empty() {
            let step = match decoder.decode(rest) {
                Ok(step) => step,
                Err(error) => return Outcome::Broken(error),
            };
            body.extend_from_slice(step.data);
            consumed += step.consumed;
            rest = &rest[step.consumed..];
            if step.done {
                assert!(decoder.is_done());
                return Outcome::Whole(body, consumed);
            }
            assert!(step.consumed > 0, "it goes on");
        }
    }
    assert_eq!(consumed, stream.len(), "nothing is left before the end");
    Outcome::Partial
}

fn check_round_trip(body: &[u8], size: usize, limits: &ChunkedLimits) {
    let mut coded = Vec::new();
    for chunk in body.chunks(size) {
        encode_chunk_head(chunk.len(), &mut coded);
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(CHUNK_END);
    }
    coded.extend_from_slice(LAST_CHUNK);
    let again = decode(&coded, coded.len(), limits);
    assert_eq!(again, Outcome::Whole(body.to_vec(), coded.len()));
}

/// Reads a whole body, line by line; nothing if there is none.
fn reference(stream: &[u8], limits: &ChunkedLimits) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut rest = stream;
    let mut extensions = 0;
    loop {
        let line = take_line(&mut rest)?;
        let digits = line
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let (size, extension) = line.split_at(digits);
        let after_blanks = extension.trim_ascii_start();
        let is_extension = extension.is_empty() || after_blanks.starts_with(b";");
        if !(1..=16).contains(&digits) || !is_extension || !extension.iter().all(is_text) {
            return None;
        }
        extensions += extension.len();
        if extension.len() > limits.extension_line as usize
            || extensions > limits.extension_total as usize
        {
            return None;
        }
        let size = u64::from_str_radix(str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let data = rest.get(..usize::try_from(size).ok()?)?;
        body.extend_from_slice(data);
        rest = rest[data.len()..].strip_prefix(b"\r\n")?;
    }
    let trailers = rest.len();
    loop {
        let line = take_line(&mut rest)?;
        if trailers - rest.len() > limits.trailer_bytes as usize {
            return None;
        }
        if line.is_empty() {
            return Some((body, stream.len() - rest.len()));
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        let is_token =
            |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if name.is_empty() || !name.iter().all(is_token) || !value.iter().all(is_text) {
            return None;
        }
    }
}

/// Takes a line that ends with carriage return and line feed, and has neither in itself.
fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    let line = &rest[..end];
    *rest = &rest[end + 2..];
    (!line.contains(&b'\r') && !line.contains(&b'\n')).then_some(line)
}

fn is_text(byte: &u8) -> bool {
    *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)
}
