use super::*;

/// Returns the tracker's state after all writes, on one line.
fn summary(tracker: &ResponseTracker) -> String {
    let mut words = vec![
        match &tracker.state {
            State::Nothing => "nothing",
            State::Head(_) => "head",
            State::Body { .. } => "body",
            State::Chunked(_) => "chunked",
            State::UntilClose => "until-close",
            State::Complete | State::Muted { .. } => "complete",
            State::Switching => "switching",
            State::Garbage => "garbage",
        }
        .to_owned(),
    ];
    words.extend(tracker.status().map(|status| status.to_string()));
    words.extend(tracker.must_close().then(|| "close".to_owned()));
    words.extend(tracker.is_event_stream().then(|| "events".to_owned()));
    words.join(" ")
}

fn feed(pieces: &[&[u8]], head_request: bool) -> (Vec<u8>, usize, usize, String) {
    let mut tracker = ResponseTracker::default();
    // `begin` must remove the state of this previous response.
    tracker.track(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    tracker.begin(head_request);
    let (mut wire, mut muted, mut excess) = (Vec::new(), 0, 0);
    for piece in pieces {
        let tracked = tracker.track(piece);
        assert_eq!(tracked.wire + tracked.muted + tracked.excess, piece.len());
        wire.extend_from_slice(tracked.to_wire(piece));
        muted += tracked.muted;
        excess += tracked.excess;
    }
    assert_eq!(
        tracker.complete(),
        summary(&tracker).starts_with("complete")
    );
    assert_eq!(
        tracker.switching(),
        summary(&tracker).starts_with("switching")
    );
    assert_eq!(tracker.started(), !summary(&tracker).starts_with("nothing"));
    (wire, muted, excess, summary(&tracker))
}

/// Feeds a response to the tracker. The last `muted + excess` bytes of the response must not reach the wire.
fn check(rule: &str, head_request: bool, response: &[u8], muted: usize, excess: usize, want: &str) {
    let wire = response[..response.len() - muted - excess].to_vec();
    let want = (wire, muted, excess, want.to_owned());
    assert_eq!(feed(&[response], head_request), want, "{rule}: whole");
    let single: Vec<&[u8]> = response.chunks(1).collect();
    assert_eq!(feed(&single, head_request), want, "{rule}: byte by byte");
    for cut in 0..=response.len() {
        let (left, right) = response.split_at(cut);
        assert_eq!(
            feed(&[left, right], head_request),
            want,
            "{rule}: cut at {cut}"
        );
    }
}

#[test]
fn responses_are_followed_however_they_are_written() {
    let rows: &[(&str, &[u8], usize, usize, &str)] = &[
        ("nothing written", b"", 0, 0, "nothing"),
        ("6.3 length", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 0, 0, "complete 200"),
        ("6.3 length zero", b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", 0, 0, "complete 200"),
        ("6.3 body not all there", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", 0, 0, "body 200 close"),
        ("6.3 bytes beyond", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!!", 0, 2, "complete 200"),
        ("6.3 second response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 0, 19, "complete 200"),
        ("6.3 the same length twice", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 0, 0, "complete 200"),
        ("6.3 lengths that differ", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxyz", 0, 0, "until-close 200 close"),
        ("6.3 length is no number", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nxyz", 0, 0, "until-close 200 close"),
        ("6.3 neither length nor chunks", b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nhi", 0, 0, "until-close 200 close"),
        ("6.3 no fields", b"HTTP/1.1 404\r\n\r\nhi", 0, 0, "until-close 404 close"),
        ("7.1 chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 0, 0, "complete 200"),
        ("7.1 chunks go on", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n", 0, 0, "chunked 200 close"),
        ("7.1 bytes beyond chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\nxyz", 0, 3, "complete 200"),
        ("7.1 broken chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello", 0, 0, "garbage 200 close"),
        ("6.1 chunks and length", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 0, "complete 200 close"),
        ("6.3 coding other than chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxyz", 0, 0, "until-close 200 close"),
        ("9.6 close", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: TE, Close\r\n\r\n", 0, 0, "complete 200 close"),
        ("9.3 1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 0, 0, "complete 200 close"),
        ("9.3 1.0 that stays", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", 0, 0, "complete 200"),
        ("15.3.5 204", b"HTTP/1.1 204 No Content\r\n\r\n", 0, 0, "complete 204"),
        ("15.3.5 204 with a body", b"HTTP/1.1 204 No Content\r\n\r\nhello", 5, 0, "complete 204"),
        ("15.4.5 304 keeps its length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nhi!", 2, 1, "complete 304"),
        ("15.2 interim first", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, 0, "complete 200"),
        ("15.2 only interim", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 0, 0, "nothing"),
        ("15.2.2 101", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi", 0, 0, "switching 101 close"),
        ("SSE", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\ndata: 1\n\n", 0, 0, "until-close 200 close events"),
        ("SSE with a length", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: Text/Event-Stream\r\n\r\ndata: 1\n\n", 0, 0, "until-close 200 close events"),
        ("SSE in chunks", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n", 0, 0, "chunked 200 close"),
        ("2.2 bare line feeds", b"HTTP/1.1 200 OK\nContent-Length: 1\n\nxy", 0, 1, "complete 200"),
        ("head not all there", b"HTTP/1.1 200 OK\r\nContent-Len", 0, 0, "head close"),
        ("first byte of a head", b"H", 0, 0, "head close"),
        ("not HTTP", b"hello", 0, 0, "garbage close"),
        ("nearly HTTP", b"HTTP/2 200\r\n\r\n", 0, 0, "garbage close"),
        ("unknown minor version", b"HTTP/1.2 200 OK\r\n\r\n", 0, 0, "garbage close"),
        ("status too short", b"HTTP/1.1 20\r\n\r\nx", 0, 0, "garbage close"),
        ("status too long", b"HTTP/1.1 2000 OK\r\n\r\nx", 0, 0, "garbage close"),
        ("status below 100", b"HTTP/1.1 099 OK\r\n\r\nx", 0, 0, "garbage close"),
        ("line without a colon", b"HTTP/1.1 200 OK\r\nhello\r\n\r\nx", 0, 0, "garbage close"),
        ("interim, then no HTTP", b"HTTP/1.1 100 Continue\r\n\r\nhello", 0, 0, "garbage close"),
    ];
    for (rule, response, muted, excess, want) in rows {
        check(rule, false, response, *muted, *excess, want);
    }
}

#[test]
fn head_responses_lose_their_body() {
    let rows: &[(&str, &[u8], usize, usize, &str)] = &[
        (
            "9.3.2 length",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            2,
            0,
            "complete 200",
        ),
        (
            "9.3.2 no body written",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
            0,
            0,
            "complete 200",
        ),
        (
            "9.3.2 bytes beyond",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!",
            2,
            1,
            "complete 200",
        ),
        (
            "9.3.2 chunks",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            5,
            0,
            "complete 200",
        ),
        (
            "9.3.2 no length",
            b"HTTP/1.1 200 OK\r\n\r\nhello",
            5,
            0,
            "complete 200",
        ),
        (
            "9.3.2 interim first",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello",
            5,
            0,
            "complete 200",
        ),
    ];
    for (rule, response, muted, excess, want) in rows {
        check(rule, true, response, *muted, *excess, want);
    }
}

#[test]
fn an_endless_head_is_given_up_and_passes() {
    let mut head = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
    head.resize(MAX_HEAD + 10, b'x');
    for size in [head.len(), 1000, 1] {
        let mut tracker = ResponseTracker::default();
        for piece in head.chunks(size) {
            assert_eq!(tracker.track(piece).wire, piece.len());
        }
        assert_eq!(summary(&tracker), "garbage close");
    }
}

#[test]
fn the_tracker_is_small() {
    assert!(size_of::<ResponseTracker>() <= 64);
}

#[test]
fn the_body_of_an_event_stream_is_its_events() {
    for (response, events) in [
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\ndata: 1\n\n",
            Some("data: 1\n\n"),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
            Some(""),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\ndata: 1\n\n",
            None,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n",
            None,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/event-stream\r\n\r\nab",
            Some("ab"),
        ),
        ("data: 1\r\n\r\n", None),
    ] {
        assert_eq!(
            events_of(response.as_bytes()),
            events.map(str::as_bytes),
            "{response}"
        );
    }
}
