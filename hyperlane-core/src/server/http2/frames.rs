//! Follows the frames of a client, before the crate `h2` sees them: checks their syntax, and recognizes floods.
//!
//! The crate answers most faults of syntax with `PROTOCOL_ERROR`, and lets some pass. Here each has the code that RFC 9113
//! names. A fault ends the connection; its bytes never reach the crate.

use std::time::Duration;

use h2::Reason;

use super::block::{self, BlockFault};
use crate::{
    env::timers::{TICK, Tick},
    proto::http::head::HTTP2_PREFACE_LENGTH,
};

/// Length of the head of a frame (RFC 9113 §4.1).
const HEAD: usize = 9;

/// Maximum length of the part of a payload that is collected: a setting.
const PART: usize = 6;

/// Maximum length of a payload, as the server's settings have it.
const MAX_PAYLOAD: usize = 16 * 1024;

/// Length of the length before a field block that is kept.
const LENGTH: usize = size_of::<u32>();

/// Maximum number of bytes of field blocks that are kept.
const MAX_BLOCKS: usize = 64 * 1024;

/// Capacity for field blocks that an idle connection keeps.
const KEEP_BLOCKS: usize = 256;

/// Maximum number of streams that are known to be open on the side of the client.
const MAX_OPEN: usize = 256;

/// The number of points with which a connection begins, and the most that it can have.
const POINTS: u32 = 2_000;

/// The number of points that come back in a second.
const POINTS_PER_SECOND: u32 = 200;

/// The increment from which a `WINDOW_UPDATE` costs nothing.
const FREE_INCREMENT: u32 = 512;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const PRIORITY: u8 = 0x2;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PUSH_PROMISE: u8 = 0x5;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const HAS_PRIORITY: u8 = 0x20;

/// The head of a frame.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Returns the number of bytes at the beginning of the payload that are collected.
    fn part(self) -> usize {
        match self.kind {
            DATA => usize::from(self.has(PADDED)),
            HEADERS => self.before_block(),
            SETTINGS => PART,
            WINDOW_UPDATE => 4,
            _ => 0,
        }
    }

    /// Returns the length of the fields of `HEADERS` before the field block.
    fn before_block(self) -> usize {
        usize::from(self.has(PADDED)) + 5 * usize::from(self.has(HAS_PRIORITY))
    }
}

/// Follows the frames of a client.
///
/// Each frame that asks for work and brings nothing costs points: `PING`, `SETTINGS`, `PRIORITY`, cancelled streams, empty
/// `DATA`, small window updates, `CONTINUATION`, unknown frames. The points come back with time. A client without points
/// floods the server.
#[derive(Debug)]
pub(super) struct Frames {
    /// The head of the current frame, as far as it has arrived.
    bytes: [u8; HEAD],
    known: usize,
    head: Head,
    /// The collected part of the payload.
    part: [u8; PART],
    part_known: usize,
    /// Length of the padding of the current frame.
    padding: usize,
    /// The number of bytes of the payload that have not arrived yet.
    payload: usize,
    /// Bytes of the preface that have not arrived yet.
    preface: usize,
    has_settings: bool,
    has_acknowledged: bool,
    /// The stream whose field block is not complete, and the tick at which the block began.
    block: Option<(u32, Tick)>,
    /// True if the current block is that of trailers.
    is_trailers: bool,
    /// Field blocks that have arrived with the last bytes, each behind its length.
    blocks: Vec<u8>,
    /// The place in `blocks` where the current block begins.
    block_start: usize,
    /// The highest stream that the client has opened.
    last: u32,
    /// The last streams that the client has skipped.
    skipped: (u32, u32),
    /// Streams that are open on the side of the client.
    open: Vec<u32>,
    /// The state of streams up to this one may be unknown.
    forgotten: u32,
    /// The fault that ends the connection.
    fault: Option<Reason>,
    points: u32,
    refilled: Tick,
}

impl Frames {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            bytes: [0; HEAD],
            known: 0,
            head: Head::default(),
            part: [0; PART],
            part_known: 0,
            padding: 0,
            payload: 0,
            preface: HTTP2_PREFACE_LENGTH,
            has_settings: false,
            has_acknowledged: false,
            block: None,
            is_trailers: false,
            blocks: Vec::new(),
            block_start: 0,
            last: 0,
            skipped: (0, 0),
            open: Vec::new(),
            forgotten: 0,
            fault: None,
            points: POINTS,
            refilled: now,
        }
    }

    /// Returns the reason to end the connection, if there is one.
    pub(super) fn fault(&self) -> Option<Reason> {
        match self.points {
            0 => Some(Reason::ENHANCE_YOUR_CALM),
            _ => self.fault,
        }
    }

    /// Returns the tick since which the client owes the rest of a field block.
    pub(super) fn block_since(&self) -> Option<Tick> {
        self.block.map(|(_, since)| since)
    }

    /// Returns the code for a connection that the crate has ended with `PROTOCOL_ERROR`. Every other fault with this code is
    /// found here first, so the crate could not decode a field block, or the block has a name or a value that is not allowed.
    pub(super) fn reason_of_block(&self) -> Reason {
        let mut rest = self.blocks.as_slice();
        while let Some((length, blocks)) = rest.split_first_chunk::<LENGTH>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let (block, blocks) = blocks.split_at_checked(length).unwrap_or((blocks, &[]));
            match block::fault(block) {
                Some(BlockFault::Field) => return Reason::PROTOCOL_ERROR,
                Some(BlockFault::Code) => break,
                None => rest = blocks,
            }
        }
        Reason::COMPRESSION_ERROR
    }

    /// Frees the memory that an idle connection does not need.
    pub(super) fn settle(&mut self) {
        if self.blocks.capacity() > KEEP_BLOCKS && self.block.is_none() {
            self.blocks = Vec::new();
        }
    }

    /// Follows bytes that have arrived. Returns the number of those before the first fault.
    pub(super) fn follow(&mut self, bytes: &[u8], now: Tick) -> usize {
        self.refill(now);
        if self.block.is_none() {
            self.blocks.clear();
        }
        let mut left = bytes;
        let skipped = self.preface.min(left.len());
        self.preface -= skipped;
        left = left.get(skipped..).unwrap_or_default();
        while !left.is_empty() && self.fault().is_none() {
            let count = match self.known < HEAD {
                true => self.follow_head(left, now),
                false => self.follow_payload(left),
            };
            match count {
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(reason) => self.fault = Some(reason),
            }
        }
        bytes.len() - left.len()
    }

    fn follow_head(&mut self, bytes: &[u8], now: Tick) -> Result<usize, Reason> {
        let room = self.bytes.get_mut(self.known..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        if let (Some(to), Some(from)) = (room.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        self.known += count;
        if self.known == HEAD {
            let [a, b, c, kind, flags, stream @ ..] = self.bytes;
            self.head = Head {
                length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
                kind,
                flags,
                // The first bit is reserved, and ignored.
                stream: u32::from_be_bytes(stream) & 0x7FFF_FFFF,
            };
            self.begin(now)?;
        }
        Ok(count)
    }

    // ---------------------------------------------------------------- heads

    /// Checks the head of a frame.
    fn begin(&mut self, now: Tick) -> Result<(), Reason> {
        let head = self.head;
        self.check_order()?;
        self.check_length()?;
        self.check_stream()?;
        self.payload = head.length;
        self.part_known = 0;
        self.padding = 0;
        match head.kind {
            HEADERS => {
                self.block = Some((head.stream, now));
                // The length comes with the end of the block.
                self.blocks.extend_from_slice(&[0; LENGTH]);
                self.block_start = self.blocks.len();
            }
            SETTINGS if head.has(ACK) && std::mem::replace(&mut self.has_acknowledged, true) => {
                return Err(Reason::PROTOCOL_ERROR);
            }
            _ => {}
        }
        if head.kind != WINDOW_UPDATE {
            self.count(false);
        }
        match head.length {
            0 => self.finish(),
            _ => Ok(()),
        }
    }

    /// Checks that the frame may come now (RFC 9113 §3.4, §4.3).
    fn check_order(&mut self) -> Result<(), Reason> {
        let head = self.head;
        let is_settings = head.kind == SETTINGS && !head.has(ACK);
        if !std::mem::replace(&mut self.has_settings, true) && !is_settings {
            return Err(Reason::PROTOCOL_ERROR);
        }
        match self.block {
            Some((stream, _)) if head.kind == CONTINUATION && head.stream == stream => Ok(()),
            None if head.kind != CONTINUATION => Ok(()),
            _ => Err(Reason::PROTOCOL_ERROR),
        }
    }

    /// Checks the length of the payload (RFC 9113 §4.2).
    fn check_length(&self) -> Result<(), Reason> {
        let head = self.head;
        let fits = match head.kind {
            DATA | HEADERS => head.length >= head.part(),
            PRIORITY => head.length == 5,
            RST_STREAM | WINDOW_UPDATE => head.length == 4,
            SETTINGS if head.has(ACK) => head.length == 0,
            SETTINGS => head.length.is_multiple_of(6),
            PING => head.length == 8,
            GOAWAY => head.length >= 8,
            _ => true,
        };
        match fits && head.length <= MAX_PAYLOAD {
            true => Ok(()),
            false => Err(Reason::FRAME_SIZE_ERROR),
        }
    }

    /// Checks that the stream has a state in which the frame may come (RFC 9113 §5.1).
    fn check_stream(&mut self) -> Result<(), Reason> {
        let Head { kind, stream, .. } = self.head;
        let is_idle = stream > self.last || stream.is_multiple_of(2);
        let is_allowed = match kind {
            HEADERS if stream.is_multiple_of(2) => false,
            HEADERS if is_idle => {
                if stream > self.last + 2 {
                    self.skipped = (self.last, stream);
                }
                self.last = stream;
                self.is_trailers = false;
                self.open(stream);
                true
            }
            HEADERS if self.skipped.0 < stream && stream < self.skipped.1 => false,
            HEADERS => {
                self.is_trailers = true;
                return self.check_open(stream);
            }
            DATA if !is_idle => return self.check_open(stream),
            PRIORITY => stream != 0,
            RST_STREAM if !is_idle => {
                self.close(stream);
                true
            }
            WINDOW_UPDATE => stream == 0 || !is_idle,
            DATA | RST_STREAM | PUSH_PROMISE => false,
            SETTINGS | PING | GOAWAY => stream == 0,
            _ => true,
        };
        match is_allowed {
            true => Ok(()),
            false => Err(Reason::PROTOCOL_ERROR),
        }
    }

    fn check_open(&self, stream: u32) -> Result<(), Reason> {
        match stream <= self.forgotten || self.open.contains(&stream) {
            true => Ok(()),
            false => Err(Reason::STREAM_CLOSED),
        }
    }

    fn open(&mut self, stream: u32) {
        if self.head.has(END_STREAM) {
            return;
        }
        if self.open.len() >= MAX_OPEN {
            // The client may have kept it open after the server has reset it.
            self.forgotten = self.open.remove(0);
        }
        self.open.push(stream);
    }

    fn close(&mut self, stream: u32) {
        self.open.retain(|open| *open != stream);
    }

    // ---------------------------------------------------------------- payloads

    fn follow_payload(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        let head = self.head;
        let wanted = head.part();
        let count = match self.part_known < wanted {
            true => self.collect(bytes, wanted)?,
            false => {
                let count = self.payload.min(bytes.len());
                if matches!(head.kind, HEADERS | CONTINUATION) {
                    let room = MAX_BLOCKS.saturating_sub(self.blocks.len());
                    // The padding comes last.
                    let fields = self.payload.saturating_sub(self.padding);
                    let copied = count.min(fields).min(room);
                    self.blocks
                        .extend_from_slice(bytes.get(..copied).unwrap_or_default());
                }
                self.payload -= count;
                count
            }
        };
        if self.payload == 0 {
            self.finish()?;
        }
        Ok(count)
    }

    /// Collects the first bytes of a payload, or a setting.
    fn collect(&mut self, bytes: &[u8], wanted: usize) -> Result<usize, Reason> {
        let room = self
            .part
            .get_mut(self.part_known..wanted)
            .unwrap_or_default();
        let count = room.len().min(bytes.len());
        if let (Some(to), Some(from)) = (room.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        self.part_known += count;
        self.payload -= count;
        if self.part_known == wanted {
            self.check_part()?;
        }
        Ok(count)
    }

    fn check_part(&mut self) -> Result<(), Reason> {
        let head = self.head;
        let [a, b, c, d, e, f] = self.part;
        match head.kind {
            SETTINGS => {
                // Further settings may follow.
                self.part_known = 0;
                check_setting(u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))
            }
            WINDOW_UPDATE => {
                let increment = u32::from_be_bytes([a, b, c, d]) & 0x7FFF_FFFF;
                self.count(increment >= FREE_INCREMENT);
                match increment {
                    0 => Err(Reason::PROTOCOL_ERROR),
                    _ => Ok(()),
                }
            }
            _ => {
                let dependency = match head.has(PADDED) {
                    true => [b, c, d, e],
                    false => [a, b, c, d],
                };
                let dependency = u32::from_be_bytes(dependency) & 0x7FFF_FFFF;
                self.padding = usize::from(a) * usize::from(head.has(PADDED));
                // A stream cannot depend on itself (RFC 7540 §5.3.1).
                let is_loop =
                    head.has(HAS_PRIORITY) && head.kind == HEADERS && dependency == head.stream;
                match is_loop || self.padding > self.payload {
                    true => Err(Reason::PROTOCOL_ERROR),
                    false => Ok(()),
                }
            }
        }
    }

    /// Ends a frame.
    fn finish(&mut self) -> Result<(), Reason> {
        self.known = 0;
        let head = self.head;
        let is_block = matches!(head.kind, HEADERS | CONTINUATION);
        if matches!(head.kind, DATA | HEADERS) && head.has(END_STREAM) {
            self.close(head.stream);
        }
        if is_block && head.has(END_HEADERS) {
            self.block = None;
            let (lengths, block) = self
                .blocks
                .split_at_mut_checked(self.block_start)
                .unwrap_or_default();
            if let Some(length) = lengths.last_chunk_mut::<LENGTH>() {
                *length = u32::try_from(block.len()).unwrap_or(u32::MAX).to_be_bytes();
            }
            // The crate drops the pseudo-fields of trailers. They are malformed (RFC 9113 §8.1).
            if self.is_trailers && block::has_pseudo_field(block) {
                return Err(Reason::PROTOCOL_ERROR);
            }
        }
        Ok(())
    }

    fn count(&mut self, is_free: bool) {
        let head = self.head;
        let cost = match head.kind {
            _ if is_free => 0,
            DATA if head.length > 0 || head.has(END_STREAM) => 0,
            HEADERS => 0,
            // The server has begun to work on the request.
            RST_STREAM => 4,
            _ => 1,
        };
        self.points = self.points.saturating_sub(cost);
    }

    fn refill(&mut self, now: Tick) {
        let ticks = now.0.saturating_sub(self.refilled.0);
        if ticks > 0 && self.points > 0 {
            let each = POINTS_PER_SECOND / ticks_per_second();
            self.points = self
                .points
                .saturating_add(ticks.saturating_mul(each))
                .min(POINTS);
        }
        self.refilled = now;
    }
}

/// Checks a setting (RFC 9113 §6.5.2, RFC 8441 §3).
fn check_setting(id: u16, value: u32) -> Result<(), Reason> {
    match (id, value) {
        (0x2 | 0x8, 2..) => Err(Reason::PROTOCOL_ERROR),
        (0x4, 0x8000_0000..) => Err(Reason::FLOW_CONTROL_ERROR),
        (0x5, ..0x4000 | 0x0100_0000..) => Err(Reason::PROTOCOL_ERROR),
        _ => Ok(()),
    }
}

fn ticks_per_second() -> u32 {
    let ticks = Duration::from_secs(1).as_millis() / TICK.as_millis();
    u32::try_from(ticks).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        let stream = u8::from(!matches!(kind, SETTINGS | PING));
        bytes.extend([kind, flags, 0, 0, 0, stream]);
        bytes.extend(payload);
        bytes
    }

    fn spent(stream: &[u8], piece: usize) -> u32 {
        let mut frames = Frames::new(Tick(0));
        let whole = [
            &[0; HTTP2_PREFACE_LENGTH][..],
            &frame(SETTINGS, 0, b""),
            &frame(HEADERS, END_HEADERS, b"\x82"),
            stream,
        ]
        .concat();
        for piece in whole.chunks(piece) {
            assert_eq!(frames.follow(piece, Tick(0)), piece.len());
        }
        assert_eq!(frames.fault(), None);
        // The settings have cost one.
        POINTS - frames.points - 1
    }

    #[test]
    fn only_frames_that_bring_nothing_cost() {
        let cases: &[(u8, u8, &[u8], u32)] = &[
            (DATA, 0, b"abc", 0),
            (DATA, 0, b"", 1),
            (HEADERS, END_HEADERS, b"\x40\x01a\x00", 0),
            (SETTINGS, 0, b"", 1),
            (PING, 0, &[0; 8], 1),
            (PRIORITY, 0, &[0; 5], 1),
            (0xEE, 0, b"unknown", 1),
            (WINDOW_UPDATE, 0, &[0, 0, 0, 1], 1),
            (WINDOW_UPDATE, 0, &[0, 1, 0, 0], 0),
            (RST_STREAM, 0, &[0, 0, 0, 8], 4),
        ];
        let mut all = Vec::new();
        let mut sum = 0;
        for (kind, flags, payload, cost) in cases {
            let bytes = frame(*kind, *flags, payload);
            assert_eq!(spent(&bytes, 1000), *cost, "frame {kind}");
            all.extend(bytes);
            sum += cost;
        }
        for piece in 1..=all.len() {
            assert_eq!(spent(&all, piece), sum, "pieces of {piece}");
        }
    }

    #[test]
    fn points_come_back_unless_all_are_spent() {
        let mut frames = Frames::new(Tick(0));
        frames.follow(&[0; HTTP2_PREFACE_LENGTH], Tick(0));
        frames.follow(&frame(SETTINGS, 0, b""), Tick(0));
        let ping = frame(PING, 0, &[0; 8]);
        for _ in 0..POINTS - 2 {
            frames.follow(&ping, Tick(0));
        }
        assert_eq!(frames.points, 1);
        frames.follow(&[], Tick(10));
        assert_eq!(frames.points, 1 + POINTS_PER_SECOND);
        for _ in 0..=POINTS_PER_SECOND {
            frames.follow(&ping, Tick(10));
        }
        frames.follow(&[], Tick(1000));
        assert_eq!(frames.fault(), Some(Reason::ENHANCE_YOUR_CALM));
    }

    /// Returns the fault of frames behind the preface and the settings, and how many bytes came before it.
    fn fault(frames: &[u8], piece: usize) -> (Option<Reason>, usize) {
        let mut known = Frames::new(Tick(0));
        known.follow(&[0; HTTP2_PREFACE_LENGTH], Tick(0));
        known.follow(&frame(SETTINGS, 0, b""), Tick(0));
        let pieces = frames.chunks(piece);
        let before = pieces.map(|piece| known.follow(piece, Tick(0))).sum();
        (known.fault(), before)
    }

    #[test]
    fn a_fault_is_found_wherever_the_bytes_are_cut() {
        let get = frame(HEADERS, END_HEADERS, b"\x82");
        let cases: &[(&[u8], Reason)] = &[
            (&frame(DATA, 0, b"x"), Reason::PROTOCOL_ERROR),
            (
                &frame(SETTINGS, 0, &[0, 4, 0x80, 0, 0, 0]),
                Reason::FLOW_CONTROL_ERROR,
            ),
            (&frame(PING, 0, &[0; 7]), Reason::FRAME_SIZE_ERROR),
            (
                &[&*get, &frame(DATA, PADDED, b"\x02x")].concat(),
                Reason::PROTOCOL_ERROR,
            ),
            (
                &[&*get, &frame(DATA, END_STREAM, b""), &frame(DATA, 0, b"x")].concat(),
                Reason::STREAM_CLOSED,
            ),
            (
                &[&*get, &frame(HEADERS, END_HEADERS | END_STREAM, b"\x84")].concat(),
                Reason::PROTOCOL_ERROR,
            ),
            (
                &frame(HEADERS, END_HEADERS | HAS_PRIORITY, &[0, 0, 0, 1, 0]),
                Reason::PROTOCOL_ERROR,
            ),
        ];
        for (number, (bytes, reason)) in cases.iter().enumerate() {
            for piece in 1..=bytes.len() {
                let (fault, before) = fault(bytes, piece);
                assert_eq!(fault, Some(*reason), "case {number}, pieces of {piece}");
                assert!(before < bytes.len(), "case {number}, pieces of {piece}");
            }
        }
    }

    #[test]
    fn streams_that_the_server_may_have_reset_stay_bounded() {
        let mut frames = Frames::new(Tick(0));
        frames.follow(&[0; HTTP2_PREFACE_LENGTH], Tick(0));
        frames.follow(&frame(SETTINGS, 0, b""), Tick(0));
        for stream in (1..10_000_u32).step_by(2) {
            let mut get = frame(HEADERS, END_HEADERS, b"\x82");
            get[5..9].copy_from_slice(&stream.to_be_bytes());
            frames.follow(&get, Tick(0));
        }
        assert_eq!(frames.open.len(), MAX_OPEN);
        // The first is forgotten. The crate knows it.
        frames.follow(&frame(DATA, 0, b"x"), Tick(0));
        assert_eq!(frames.fault(), None);
    }
}
