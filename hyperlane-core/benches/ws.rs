//! What a WebSocket's bytes cost: masking, taking frames apart, checking text.
//!
//! ```text
//! cargo bench -p hyperlane-core --bench ws [-- mask]
//! ```

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hyperlane_core::proto::ws::{
    Decoder, Limits, Message, Role, Utf8Bytes, WebSocketOpcode, encode_frame,
    encode_masked_message, mask,
};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a connection reads at once.
const READ: usize = 64 * 1024;

/// Payloads in bytes: a keystroke, the longest of a short header, a page, a large message.
const PAYLOADS: [usize; 5] = [16, 125, 1024, 16 * 1024, 1024 * 1024];

fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group("mask");
    for len in PAYLOADS {
        let mut payload = vec![0x5a; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("apply", len), |b| {
            b.iter(|| mask::apply(black_box(&mut payload), KEY, 0));
        });
        let mut plain = Vec::with_capacity(len);
        group.bench_function(BenchmarkId::new("copy", len), |b| {
            b.iter(|| {
                plain.clear();
                mask::copy(black_box(&payload), KEY, 0, &mut plain);
                black_box(&plain);
            });
        });
    }
}

/// Decodes a stream in reads of `read` bytes and counts the messages.
fn decode(stream: &[u8], read: usize) -> usize {
    let mut decoder = Decoder::new(Role::Server, Limits::default());
    let mut messages = 0;
    for mut input in stream.chunks(read) {
        while let Ok(decoded) = decoder.next(input) {
            if black_box(decoded.event).is_none() {
                break;
            }
            messages += 1;
            input = input.get(decoded.consumed..).unwrap_or_default();
        }
    }
    messages
}

fn parsing(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for len in [0, 16, 125, 1024] {
        let mut read = Vec::new();
        let mut frames = 0;
        while read.len() < READ {
            encode_masked_message(&Message::from(vec![b'x'; len]), KEY, &mut read);
            frames += 1;
        }
        assert_eq!(decode(&read, read.len()), frames);
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(BenchmarkId::new("frames of one read", len), |b| {
            b.iter(|| decode(black_box(&read), read.len()));
        });
    }

    let mut fragments = Vec::new();
    for n in 0..1024 {
        let opcode = match n {
            0 => WebSocketOpcode::Binary,
            _ => WebSocketOpcode::Continuation,
        };
        encode_frame(
            n == 1023,
            false,
            opcode,
            &[7; 64],
            Some(KEY),
            &mut fragments,
        );
    }
    assert_eq!(decode(&fragments, READ), 1);
    group.throughput(Throughput::Elements(1024));
    group.bench_function("fragments of 64 bytes", |b| {
        b.iter(|| decode(black_box(&fragments), READ));
    });
}

fn text(c: &mut Criterion) {
    let mut group = c.benchmark_group("utf-8");
    for (script, letters) in [
        ("ascii", "The quick brown fox. "),
        ("multibyte", "Привет, 世界 🎉 "),
    ] {
        for len in [32, 1024, READ] {
            let text = letters.repeat(len.div_ceil(letters.len()));
            let bytes = Bytes::from(text.clone());
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            group.bench_function(BenchmarkId::new(format!("{script} whole"), len), |b| {
                b.iter(|| Utf8Bytes::try_from(black_box(bytes.clone())).is_ok());
            });
        }
        // Characters are cut by the reads, and what cannot become text is refused at once.
        let mut frame = Vec::new();
        let text = letters.repeat(READ / letters.len());
        encode_masked_message(&Message::from(&text), KEY, &mut frame);
        assert_eq!(decode(&frame, 1021), 1);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{script} in reads of 1021"), |b| {
            b.iter(|| decode(black_box(&frame), 1021));
        });
    }
}

criterion_group!(benches, masking, parsing, text);
criterion_main!(benches);
