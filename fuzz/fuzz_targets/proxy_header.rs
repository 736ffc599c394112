//! The header of a load balancer: any bytes.
//!
//! However it is cut, it is read the same or waited for, and only whole headers name a source.

#![no_main]

use hyperlane_core::proto::proxy::{MAX_HEADER, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match parse(input) {
        Ok(Some(header)) => {
            assert!((16..=MAX_HEADER.min(input.len())).contains(&header.len));
            assert!(input.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
            assert_eq!(parse(&input[..header.len]), Ok(Some(header)));
            for cut in 0..header.len.min(64) {
                assert_eq!(parse(&input[..cut]), Ok(None));
            }
        }
        Ok(None) => assert!(input.len() < MAX_HEADER),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
