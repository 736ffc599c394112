//! What a WebSocket's bytes cost: masking, taking frames apart, checking text, compression.
//!
//! ```text
//! cargo bench -p hyperlane-core --features deflate --bench ws [-- mask]
//! ```

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hyperlane_core::{
    Message, Utf8Bytes, WebSocketOpcode,
    proto::ws::{Decoder, Limits, Role, encode_frame, encode_masked_message, mask},
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

/// Messages as programs send them: a line of chat, a record in JSON, a list of them.
#[cfg(feature = "deflate")]
fn deflate(c: &mut Criterion) {
    use hyperlane_core::proto::ws::Incoming;
    use hyperlane_core::{DeflateConfig, proto::ws::deflate::negotiate};

    let record = |id: usize| {
        format!(
            r#"{{"id":{id},"user":"user{}","room":"general","text":"message number {id}","seen":{}}}"#,
            id % 7,
            id.is_multiple_of(3)
        )
    };
    let list: Vec<String> = (0..200).map(record).collect();
    let messages = [
        (
            "chat",
            "The quick brown fox jumps over the lazy dog, again.".to_owned(),
        ),
        ("record", record(4711)),
        ("list", format!("[{}]", list.join(","))),
    ];
    for (name, text) in messages {
        let message = Message::from(text);
        let mut group = c.benchmark_group(format!("deflate {name}"));
        group.throughput(Throughput::Bytes(message.len() as u64));
        for (kind, takeover) in [("alone", false), ("takeover", true)] {
            for level in [1, 2, 4, 6, 9] {
                let config = DeflateConfig::default()
                    .min_size(0)
                    .level(level)
                    .server_context_takeover(takeover);
                let Ok(Some(agreement)) = negotiate(["permessage-deflate"], &config) else {
                    continue;
                };
                let mut compressor = agreement.compressor(Role::Server, &config);
                let mut frame = Vec::new();
                let id = format!("compress {kind} level {level}");
                group.bench_function(id, |b| {
                    b.iter(|| {
                        frame.clear();
                        compressor.encode(black_box(&message), None, &mut frame);
                    });
                });
                println!(
                    "{name} {kind} level {level}: {} of {}",
                    frame.len(),
                    message.len()
                );
                let limits = Limits::default().rsv1_allowed(true);
                let decoded = Decoder::new(Role::Client, limits).next(&frame);
                let event = decoded.ok().and_then(|decoded| decoded.event);
                if let (false, Some(Incoming::Compressed(packed))) = (takeover, event) {
                    let mut decompressor = agreement.decompressor(Role::Client, &config);
                    group.bench_function(format!("inflate {kind} level {level}"), |b| {
                        b.iter(|| decompressor.decode(black_box(&packed), limits.message));
                    });
                }
            }
        }
    }
}

/// Nothing to measure without the feature.
#[cfg(not(feature = "deflate"))]
fn deflate(_: &mut Criterion) {}

criterion_group!(benches, masking, parsing, text, deflate);
criterion_main!(benches);
