//! Counts the frames of a client, to recognize floods.

use std::time::Duration;

use crate::{
    env::timers::{TICK, Tick},
    proto::http::head::HTTP2_PREFACE_LENGTH,
};

/// Length of the head of a frame (RFC 9113 §4.1).
const HEAD: usize = 9;

/// The number of points with which a connection begins, and the most that it can have.
const POINTS: u32 = 2_000;

/// The number of points that come back in a second.
const POINTS_PER_SECOND: u32 = 200;

/// The increment from which a `WINDOW_UPDATE` costs nothing.
const FREE_INCREMENT: u32 = 512;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const WINDOW_UPDATE: u8 = 0x8;
const END_STREAM: u8 = 0x1;

/// Follows the heads of the frames of a client. Each frame that asks for work and brings nothing costs points: `PING`,
/// `SETTINGS`, `PRIORITY`, cancelled streams, empty `DATA`, small window updates, `CONTINUATION`, unknown frames. The
/// points come back with time. A client without points floods the server.
#[derive(Debug)]
pub(super) struct Frames {
    /// The head of the current frame, as far as it has arrived, with the first four bytes of its payload.
    head: [u8; HEAD + 4],
    known: usize,
    /// The number of bytes of the payload that have not arrived yet.
    payload: usize,
    /// Bytes of the preface that have not arrived yet.
    preface: usize,
    points: u32,
    refilled: Tick,
}

impl Frames {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            head: [0; HEAD + 4],
            known: 0,
            payload: 0,
            preface: HTTP2_PREFACE_LENGTH,
            points: POINTS,
            refilled: now,
        }
    }

    /// Returns whether the client has spent its points.
    pub(super) fn is_flooded(&self) -> bool {
        self.points == 0
    }

    /// Follows bytes that have arrived.
    pub(super) fn follow(&mut self, mut bytes: &[u8], now: Tick) {
        self.refill(now);
        let skipped = self.preface.min(bytes.len());
        self.preface -= skipped;
        bytes = bytes.get(skipped..).unwrap_or_default();
        while !bytes.is_empty() {
            if self.known >= HEAD && self.payload > 0 && self.known == self.wanted() {
                let skipped = self.payload.min(bytes.len());
                self.payload -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
            } else {
                let wanted = match self.known < HEAD {
                    true => HEAD,
                    false => self.wanted(),
                };
                let room = self.head.get_mut(self.known..wanted).unwrap_or_default();
                let count = room.len().min(bytes.len());
                if let (Some(to), Some(from)) = (room.get_mut(..count), bytes.get(..count)) {
                    to.copy_from_slice(from);
                }
                bytes = bytes.get(count..).unwrap_or_default();
                let was_head = self.known < HEAD;
                self.known += count;
                if was_head && self.known == HEAD {
                    self.payload = self.length();
                }
                if self.known >= HEAD && self.known == self.wanted() {
                    self.payload = self.length() - (self.known - HEAD);
                    self.count();
                }
            }
            if self.known >= HEAD && self.known == self.wanted() && self.payload == 0 {
                self.known = 0;
            }
        }
    }

    /// Returns the number of bytes of the frame that decide its cost.
    fn wanted(&self) -> usize {
        match self.head.get(3) {
            Some(&WINDOW_UPDATE) => HEAD + self.length().min(4),
            _ => HEAD,
        }
    }

    fn length(&self) -> usize {
        let [a, b, c, ..] = self.head;
        usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
    }

    fn count(&mut self) {
        let [_, _, _, kind, flags, _, _, _, _, increment @ ..] = self.head;
        let cost = match kind {
            DATA if self.length() > 0 || flags & END_STREAM != 0 => 0,
            HEADERS => 0,
            // The server has begun to work on the request.
            RST_STREAM => 4,
            WINDOW_UPDATE if u32::from_be_bytes(increment) & 0x7FFF_FFFF >= FREE_INCREMENT => 0,
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
        bytes.extend([kind, flags, 0, 0, 0, 1]);
        bytes.extend(payload);
        bytes
    }

    fn spent(stream: &[u8], piece: usize) -> u32 {
        let mut frames = Frames::new(Tick(0));
        let whole = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], stream].concat();
        for piece in whole.chunks(piece) {
            frames.follow(piece, Tick(0));
        }
        POINTS - frames.points
    }

    #[test]
    fn only_frames_that_bring_nothing_cost() {
        let cases: &[(u8, u8, &[u8], u32)] = &[
            (DATA, 0, b"abc", 0),
            (DATA, END_STREAM, b"", 0),
            (DATA, 0, b"", 1),
            (HEADERS, 0, b"block", 0),
            (RST_STREAM, 0, &[0, 0, 0, 8], 4),
            (0x4, 0, b"", 1),
            (0x6, 0, &[0; 8], 1),
            (0x2, 0, &[0; 5], 1),
            (0x9, 0, b"more", 1),
            (0xEE, 0, b"unknown", 1),
            (WINDOW_UPDATE, 0, &[0, 0, 0, 1], 1),
            (WINDOW_UPDATE, 0, &[0, 1, 0, 0], 0),
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
        frames.follow(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Tick(0));
        let ping = frame(0x6, 0, &[0; 8]);
        for _ in 0..POINTS - 1 {
            frames.follow(&ping, Tick(0));
        }
        assert_eq!(frames.points, 1);
        frames.follow(&[], Tick(10));
        assert_eq!(frames.points, 1 + POINTS_PER_SECOND);
        for _ in 0..=POINTS_PER_SECOND {
            frames.follow(&ping, Tick(10));
        }
        frames.follow(&[], Tick(1000));
        assert!(frames.is_flooded());
    }
}
