//! Frame headers: any bytes.
//!
//! A header that is read is the one that would be written, needs every byte of its own and none after
//! it, and a broken one stays broken whatever follows.

#![no_main]

use hyperlane_core::proto::ws::frame::{MAX_HEADER, encode_header, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let outcome = parse(input);
    match &outcome {
        Ok(Some((header, len))) => {
            assert!((2..=MAX_HEADER).contains(len));
            assert!(!header.opcode.is_reserved());
            assert!(header.length >> 63 == 0);
            assert!(header.fin || header.opcode.is_data());
            let encoded = encode_header(
                header.fin,
                header.rsv1,
                header.opcode,
                header.length,
                header.mask,
            );
            assert_eq!(encoded.as_ref(), &input[..*len]);
            for cut in 0..*len {
                assert_eq!(parse(&input[..cut]), Ok(None), "cut at {cut}");
            }
            assert_eq!(parse(&input[..*len]), outcome);
        }
        Ok(None) => {
            assert!(input.len() < MAX_HEADER);
            for cut in 0..input.len() {
                assert_eq!(parse(&input[..cut]), Ok(None), "cut at {cut}");
            }
        }
        Err(error) => {
            let mut broken = false;
            for cut in 0..input.len().min(MAX_HEADER) {
                match parse(&input[..cut]) {
                    Ok(None) => assert!(!broken, "cut at {cut}"),
                    Ok(Some(_)) => panic!("a header was read before it broke"),
                    Err(earlier) => {
                        broken = true;
                        assert_eq!(earlier, *error, "cut at {cut}");
                    }
                }
            }
        }
    }
});
