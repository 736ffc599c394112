//! Observers and what they see: spans, events, metrics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hyperlane::{
    __private::{Guard, GuardKind},
    broadcast::{RoomLimits, RoomsConfig, SlowPolicy},
    prelude::*,
};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use test_support::{CLOSE, Client, address, eventually, hook, start};
use tracing::{
    Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer, layer::Context as LayerContext, layer::SubscriberExt, registry::LookupSpan,
};

// ---------------------------------------------------------------- spans

/// Fields of a span or an event, as text.
type Fields = BTreeMap<&'static str, String>;

/// A span that has ended.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: &'static str,
    fields: Fields,
    parent: Option<&'static str>,
    /// Messages of the events that belong to it.
    events: Vec<String>,
}

impl Seen {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> usize {
        self.field(name).parse().expect("a number")
    }
}

/// Keeps the spans of the server.
#[derive(Clone, Default)]
struct Log {
    ended: Arc<Mutex<Vec<Seen>>>,
    /// Messages of all events.
    messages: Arc<Mutex<Vec<String>>>,
    /// All events with their levels and fields.
    lines: Arc<Mutex<Vec<(Level, String, Fields)>>>,
}

impl Log {
    /// Returns the spans of this name that have ended so far.
    fn ended(&self, name: &str) -> Vec<Seen> {
        let all = self.ended.lock().unwrap();
        all.iter()
            .filter(|seen| seen.name == name)
            .cloned()
            .collect()
    }

    /// Returns true if an event with this message came.
    fn has(&self, message: &str) -> bool {
        self.messages
            .lock()
            .unwrap()
            .iter()
            .any(|known| known == message)
    }

    /// Waits for the end of so many requests, and returns the last.
    async fn request(&self, count: usize) -> Seen {
        eventually("a request ends", || self.ended("request").len() >= count).await;
        self.ended("request").swap_remove(count - 1)
    }
}

struct Text<'a>(&'a mut Fields);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: LayerContext<'_, S>) {
        let span = ctx.span(id).expect("a span");
        let mut seen = Seen {
            name: span.name(),
            parent: span.parent().map(|parent| parent.name()),
            ..Seen::default()
        };
        attributes.record(&mut Text(&mut seen.fields));
        span.extensions_mut().insert(seen);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: LayerContext<'_, S>) {
        let span = ctx.span(id).expect("a span");
        let mut extensions = span.extensions_mut();
        let seen: &mut Seen = extensions.get_mut().expect("fields");
        values.record(&mut Text(&mut seen.fields));
    }

    fn on_event(&self, event: &tracing::Event<'_>, ctx: LayerContext<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut Text(&mut fields));
        let message = fields.remove("message").unwrap_or_default();
        self.messages.lock().unwrap().push(message.clone());
        let line = (*event.metadata().level(), message.clone(), fields);
        self.lines.lock().unwrap().push(line);
        if let Some(span) = ctx.event_span(event)
            && let Some(seen) = span.extensions_mut().get_mut::<Seen>()
        {
            seen.events.push(message);
        }
    }

    fn on_close(&self, id: Id, ctx: LayerContext<'_, S>) {
        let span = ctx.span(&id).expect("a span");
        let seen = span.extensions_mut().remove::<Seen>();
        self.ended.lock().unwrap().extend(seen);
    }
}

/// Collects the log of this thread; a test's server runs on no other.
fn listen() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let subscriber = tracing_subscriber::registry().with(log.clone());
    (log, tracing::subscriber::set_default(subscriber))
}

hook! {
    Hello |_, ctx| {
        ctx.get_mut_response().set_body("hello");
    }
    Thinks |_, ctx| {
        tracing::info!("before");
        tokio::time::sleep(Duration::from_millis(1)).await;
        tracing::info!("after");
        ctx.get_mut_response().set_body("done");
    }
    Panics |_, _| {
        if true {
            panic!("on purpose");
        }
    }
    Pieces |_, ctx| {
        let pieces = ["one", "two", "three"].map(|piece| Ok::<_, std::io::Error>(bytes::Bytes::from(piece)));
        let pieces = futures_util::stream::iter(pieces);
        ctx.get_mut_response().set_body(Body::stream(pieces));
    }
    ByHand |stream, _| {
        stream.send("HTTP/1.1 203 Fine\r\ncontent-length: 2\r\n\r\nok").await;
    }
    Echo |stream, ctx| {
        let Ok(socket) = ctx.upgrade(stream).await else { return Status::Reject };
        while let Ok(message) = socket.recv().await {
            tracing::info!("message");
            if socket.send(message).await.is_err() {
                break;
            }
        }
    }
    Events |stream, ctx| {
        let Ok(events) = ctx.event_stream(stream).await else { return Status::Reject };
        if events.send("first").await.is_ok() {
            events.closed().await;
        }
    }
    Waits |_, _| {
        tracing::info!("waits");
        std::future::pending::<()>().await;
    }
    Marks |_, _| {
        tracing::info!("middleware");
    }
    Talk |stream, ctx| {
        let (Ok(socket), Ok(room)) = (ctx.upgrade(stream).await, ctx.room("measured")) else {
            return Status::Reject;
        };
        let other = ctx.room("other");
        if room.join(&socket).await.is_err() {
            return Status::Reject;
        }
        if let Ok(other) = other {
            let _ = other.join(&socket).await;
        }
        while let Ok(message) = socket.recv().await {
            if message.to_str().is_ok_and(|text| text == "panic") {
                panic!("on purpose");
            }
            room.broadcast(message).await.unwrap();
        }
    }
    Floods |stream, ctx| {
        let Ok(socket) = ctx.upgrade(stream).await else { return Status::Reject };
        let message = vec![0; 64 * 1024];
        while socket.send(message.clone()).await.is_ok() {}
    }
    // Sends while a message is on its way that comes when the client says so.
    Holds |stream, ctx| {
        let Ok(socket) = ctx.upgrade(stream).await else { return Status::Reject };
        let outbox = socket.outbox();
        let way = Arc::new(OnItsWay::default());
        outbox.__add_barrier(way.clone());
        socket.send("held").await.unwrap();
        while socket.recv().await.is_ok() {
            for ticket in std::mem::take(&mut *way.0.lock().unwrap()) {
                outbox.__release(ticket);
            }
        }
    }
}

/// A path by which a message comes to a connection, with the tickets of what the connection holds.
#[derive(Default)]
struct OnItsWay(Mutex<Vec<u64>>);

impl hyperlane_core::hub::Barrier for OnItsWay {
    fn is_clear(&self) -> bool {
        false
    }

    fn hold(&self, ticket: u64) {
        self.0.lock().unwrap().push(ticket);
    }
}

fn routes(server: &mut Server) {
    server
        .route::<Hello>("/hello/{name}")
        .route::<Thinks>("/thinks")
        .route::<Panics>("/panics")
        .route::<Pieces>("/pieces")
        .route::<ByHand>("/by-hand")
        .route::<Echo>("/echo")
        .route::<Events>("/events")
        .route::<Waits>("/waits")
        .route::<Talk>("/talk")
        .route::<Floods>("/floods")
        .route::<Holds>("/holds");
}

#[tokio::test]
async fn a_request_has_a_span_with_what_was_asked_and_answered() {
    let (log, _listening) = listen();
    let control = start(routes).await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/hello/a%20b?secret=1").await;
    let seen = log.request(1).await;
    assert_eq!(seen.field("method"), "GET");
    assert_eq!(seen.field("route"), "/hello/{name}");
    assert_eq!(
        seen.field("path"),
        "/hello/a%20b",
        "as it came, without the query"
    );
    assert_eq!(seen.field("status"), "200");
    assert_eq!(seen.number("bytes"), reply.head.len() + reply.body.len());
    assert!(seen.fields.contains_key("time_us"));
    assert_eq!(seen.parent, Some("connection"));
    assert_eq!(seen.events, ["request ended"]);

    let reply = client.get("/nowhere").await;
    let seen = log.request(2).await;
    assert_eq!((seen.field("route"), seen.field("path")), ("", "/nowhere"));
    assert_eq!(seen.field("status"), "404");
    assert_eq!(
        seen.number("bytes"),
        reply.head.len() + reply.body.len(),
        "of this request alone"
    );

    let local = client.stream.local_addr().unwrap().to_string();
    drop(client);
    eventually("the connection ends", || {
        !log.ended("connection").is_empty()
    })
    .await;
    let connection = log.ended("connection").remove(0);
    assert_eq!(connection.field("peer"), local);
    assert!(connection.number("id") > 0);
    control.shutdown().await;
}

#[tokio::test]
async fn requests_of_one_read_are_told_apart() {
    let (log, _listening) = listen();
    let control = start(routes).await;
    let mut client = Client::connect(address(&control)).await;
    let request = "GET /hello/x HTTP/1.1\r\nhost: a\r\n\r\n";
    client.send(request.repeat(3)).await;
    for count in 1..=3 {
        let reply = client.reply().await;
        let seen = log.request(count).await;
        assert_eq!(seen.number("bytes"), reply.head.len() + reply.body.len());
    }
    control.shutdown().await;
}

#[tokio::test]
async fn a_declined_method_and_a_refused_head_have_a_span() {
    let (log, _listening) = listen();
    let control = start(|server| {
        server.route::<OnlyPut>("/put");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/put").await.status, 405);
    let seen = log.request(1).await;
    assert_eq!((seen.field("status"), seen.field("route")), ("405", ""));

    client.send("GET / HTTP/1.1\r\nhost : x\r\n\r\n").await;
    let reply = client.reply().await;
    let seen = log.request(2).await;
    assert_eq!(seen.field("status"), "400");
    assert_eq!((seen.field("method"), seen.field("path")), ("", ""));
    assert_eq!(seen.number("bytes"), reply.head.len() + reply.body.len());
    control.shutdown().await;
}

struct OnlyPut;

impl ServerHook for OnlyPut {
    const GUARDS: &'static [Guard] = &[Guard {
        kind: GuardKind::Method(&["PUT"]),
        check: |_| true,
    }];

    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        Status::Continue
    }
}

#[tokio::test]
async fn a_panic_is_logged_in_the_span_of_its_request() {
    let (log, _listening) = listen();
    let control = start(routes).await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/panics").await.status, 500);
    let seen = log.request(1).await;
    assert_eq!(
        (seen.field("status"), seen.field("route")),
        ("500", "/panics")
    );
    assert_eq!(
        seen.events,
        [
            "panic: on purpose in observability::Panics",
            "request ended"
        ]
    );
    control.shutdown().await;
}

#[get("/fails/{how}")]
async fn fails(
    Path(how): Path<String>,
    ctx: &mut Context,
    stream: &mut Stream,
) -> Result<Status, Error> {
    match how.as_str() {
        "io" => Err(std::io::Error::other("disk on fire"))?,
        "panic" => panic!("on purpose"),
        "answer" => return Err(Error::new(503, "the pump is broken")),
        "client" => return Err(Error::new(404, "no such room")),
        "body" => {
            let pieces = futures_util::stream::iter([Ok("one"), Err("disk on fire")]);
            ctx.get_mut_response()
                .set_body(hyperlane::Body::stream(pieces));
        }
        "body-at-once" => {
            let pieces = futures_util::stream::iter([Err::<&str, _>("disk on fire")]);
            ctx.get_mut_response()
                .set_body(hyperlane::Body::stream(pieces));
        }
        "file" => {
            ctx.get_mut_response().set_body(std::path::Path::new("/"));
        }
        "events" => {
            ctx.event_stream(stream).await?;
            return Err(Error::new(404, "no such room"));
        }
        "socket" => {
            ctx.upgrade(stream).await?;
            return Err(Error::new(404, "no such room"));
        }
        "refused" => {
            ctx.upgrade(stream).await?;
            let _ = hyperlane::__private::refuse(RequestError::refused(401, "log in first")).await;
        }
        "json" => {
            let keyed_by_list = BTreeMap::from([(vec![1], 2)]);
            Json(keyed_by_list).into_response(ctx.get_mut_response());
        }
        "interim" => {
            ctx.get_mut_response().set_status_code(102);
        }
        "sent-interim" => {
            ctx.get_mut_response().set_status_code(102);
            hyperlane::__private::send(stream, ctx).await;
        }
        "no-events" => {
            ctx.get_mut_response().set_status_code(204);
            let _ = hyperlane::__private::sse(stream, ctx).await;
        }
        "end" => {
            let socket = ctx.upgrade(stream).await?;
            loop {
                socket.recv().await?;
            }
        }
        "end-by-stream" => {
            ctx.upgrade(stream).await?;
            loop {
                stream.try_get_websocket_request().await?;
            }
        }
        _ => {}
    }
    Ok(Status::Continue)
}

#[tokio::test]
async fn an_error_line_names_method_route_and_hook() {
    let (log, _listening) = listen();
    let control = start(|server| {
        server.__register_all();
    })
    .await;
    for (how, level, error) in [
        ("io", Level::ERROR, "disk on fire"),
        ("panic", Level::ERROR, ""),
        ("answer", Level::ERROR, "the pump is broken"),
        ("body", Level::ERROR, "response stream failed: disk on fire"),
        (
            "body-at-once",
            Level::ERROR,
            "response stream failed: disk on fire",
        ),
        ("events", Level::WARN, "no such room"),
        ("socket", Level::WARN, "no such room"),
        ("refused", Level::WARN, "log in first"),
        (
            "json",
            Level::ERROR,
            "the body is not serializable: key must be a string",
        ),
        (
            "interim",
            Level::ERROR,
            "102 is an interim status and no answer (RFC 9110 15.2)",
        ),
        (
            "sent-interim",
            Level::ERROR,
            "102 is an interim status and no answer (RFC 9110 15.2)",
        ),
        (
            "no-events",
            Level::ERROR,
            "no event stream can begin: a response of this status has no content, so that no stream can begin with it",
        ),
        ("end", Level::DEBUG, "the client left without a Close"),
        (
            "end-by-stream",
            Level::DEBUG,
            "the client left in the middle of a request",
        ),
    ] {
        log.lines.lock().unwrap().clear();
        let mut client = Client::connect(address(&control)).await;
        if matches!(how, "socket" | "refused" | "end" | "end-by-stream") {
            assert_eq!(
                client.upgrade(&format!("/fails/{how}"), "").await.status,
                101
            );
        } else {
            client.request("GET", &format!("/fails/{how}"), "").await;
            client.until(b"\r\n\r\n").await;
        }
        drop(client);
        let line = || {
            let lines = log.lines.lock().unwrap();
            let found = lines
                .iter()
                .find(|(_, _, fields)| fields.contains_key("hook"));
            found.cloned()
        };
        eventually(how, || line().is_some()).await;
        let (logged, _, fields) = line().unwrap();
        assert_eq!(logged, level, "{how}: {fields:?}");
        assert_eq!(fields["method"], "GET", "{how}");
        assert_eq!(fields["route"], "/fails/{how}", "{how}");
        assert_eq!(fields["hook"], "fails", "{how}");
        assert_eq!(
            fields.get("error").map_or("", String::as_str),
            error,
            "{how}"
        );
        // The line comes once, and no other tells of it.
        let lines = log.lines.lock().unwrap();
        let loud = lines.iter().filter(|(level, ..)| *level <= Level::WARN);
        assert_eq!(
            loud.count(),
            usize::from(level <= Level::WARN),
            "{how}: {lines:?}"
        );
    }
    // The text for the client is no news for the log.
    log.lines.lock().unwrap().clear();
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/fails/client").await.status, 404);
    let lines = log.lines.lock().unwrap();
    assert!(
        lines.iter().all(|(level, ..)| *level > Level::WARN),
        "{lines:?}"
    );
}

/// Sets a status without content before the stream that it asks for.
struct NoStream;

impl ServerHook for NoStream {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[response_status_code(204)]
    #[sse(_events)]
    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        Status::Continue
    }
}

#[tokio::test]
async fn the_reason_for_a_missing_event_stream_is_logged() {
    let (log, _listening) = listen();
    let control = start(|server| {
        server.route::<NoStream>("/");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/").await.status, 500);
    let lines = log.lines.lock().unwrap();
    let why = |fields: &Fields| {
        let error = fields.get("error");
        error.is_some_and(|error| error.starts_with("no event stream can begin"))
    };
    assert!(
        lines
            .iter()
            .any(|(level, _, fields)| *level == Level::ERROR && why(fields)),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_websocket_that_a_mounted_service_refuses_is_logged() {
    let (log, _listening) = listen();
    let refuse = |_: http::Request<BodyStream>| async {
        let mut response = http::Response::new(String::new());
        *response.status_mut() = http::StatusCode::UPGRADE_REQUIRED;
        Ok::<_, std::convert::Infallible>(response)
    };
    let control = start(|server| {
        server.mount("/", tower::service_fn(refuse));
    })
    .await;
    let text =
        "a mounted service refuses a WebSocket, as it gets no connection: serve it by a route";
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/").await.status, 426);
    assert!(!log.has(text));
    assert_eq!(client.upgrade("/", "").await.status, 426);
    assert!(log.has(text));
}

#[tokio::test]
async fn log_lines_of_hooks_belong_to_the_request_also_across_awaits() {
    let (log, _listening) = listen();
    let control = start(|server| {
        routes(server);
        server
            .request_middleware::<Marks>()
            .response_middleware::<Marks>();
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    // Other requests log meanwhile, on the same thread.
    let mut other = Client::connect(address(&control)).await;
    client.request("GET", "/thinks", "").await;
    other.get("/hello/x").await;
    client.reply().await;
    log.request(2).await;
    let ended = log.ended("request");
    let seen = ended.iter().find(|seen| seen.field("path") == "/thinks");
    assert_eq!(
        seen.expect("the request").events,
        [
            "middleware",
            "before",
            "after",
            "middleware",
            "request ended"
        ]
    );
    assert!(tracing::Span::current().is_none(), "nothing stays entered");
    control.shutdown().await;
}

#[tokio::test]
async fn streamed_answers_and_those_by_hand_are_counted_to_the_last_byte() {
    let (log, _listening) = listen();
    let control = start(routes).await;
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/pieces", "").await;
    let head = client.until(b"\r\n\r\n").await;
    let body = client.until(b"0\r\n\r\n").await;
    let seen = log.request(1).await;
    assert_eq!(seen.field("status"), "200");
    assert_eq!(seen.number("bytes"), head.len() + body.len());

    let reply = client.get("/by-hand").await;
    let seen = log.request(2).await;
    assert_eq!(seen.field("status"), "203");
    assert_eq!(seen.number("bytes"), reply.head.len() + reply.body.len());
    control.shutdown().await;
}

#[tokio::test]
async fn a_websocket_is_one_request_up_to_its_end() {
    let (log, _listening) = listen();
    let control = start(routes).await;
    let mut client = Client::connect(address(&control)).await;
    let handshake = client.upgrade("/echo", "").await;
    assert_eq!(handshake.status, 101);
    client.say("hello").await;
    client.next_frame().await;
    assert!(log.ended("request").is_empty(), "it goes on");
    client.close().await;
    let seen = log.request(1).await;
    assert_eq!(
        (seen.field("status"), seen.field("route")),
        ("101", "/echo")
    );
    // The bytes are those of the echo and the Close.
    assert_eq!(seen.number("bytes"), handshake.head.len() + 7 + 4);
    assert_eq!(seen.events, ["message", "request ended"]);
    control.shutdown().await;
}

#[tokio::test]
async fn an_event_stream_is_one_request_up_to_its_end() {
    let (log, _listening) = listen();
    let control = start(routes).await;
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/events", "").await;
    client.until(b"\r\n\r\n").await;
    client.chunk().await;
    assert!(log.ended("request").is_empty(), "it goes on");
    drop(client);
    let seen = log.request(1).await;
    assert_eq!(
        (seen.field("status"), seen.field("route")),
        ("200", "/events")
    );
    control.shutdown().await;
}

#[tokio::test]
async fn a_handler_that_is_dropped_ends_its_request() {
    let (log, _listening) = listen();
    let control = start(|server| {
        routes(server);
        let config = server.get_mut_server_config();
        config.shutdown_timeout = Duration::from_millis(1);
        config.handler_linger = Duration::from_millis(1);
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/waits", "").await;
    eventually("it runs", || log.has("waits")).await;
    control.shutdown().await;
    let seen = log.request(1).await;
    assert_eq!(seen.field("route"), "/waits");
    assert_eq!(seen.field("status"), "", "nothing was answered");
    assert_eq!(seen.field("bytes"), "0");
}

// ---------------------------------------------------------------- metrics

/// Keeps the counts.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    counters: BTreeMap<String, Arc<AtomicU64>>,
    gauges: BTreeMap<String, Arc<AtomicU64>>,
    histograms: BTreeMap<String, Arc<Values>>,
    described: Vec<String>,
}

#[derive(Default)]
struct Values(Mutex<Vec<f64>>);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

/// Returns `name{label=value,..}`.
fn text(key: &Key) -> String {
    let labels: Vec<_> = key
        .labels()
        .map(|label| format!("{}={}", label.key(), label.value()))
        .collect();
    match labels.is_empty() {
        true => key.name().to_owned(),
        false => format!("{}{{{}}}", key.name(), labels.join(",")),
    }
}

impl Recorder for Numbers {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.0
            .lock()
            .unwrap()
            .described
            .push(key.as_str().to_owned());
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe_counter(key, unit, text);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe_counter(key, unit, text);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut kept = self.0.lock().unwrap();
        Counter::from_arc(kept.counters.entry(text(key)).or_default().clone())
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut kept = self.0.lock().unwrap();
        Gauge::from_arc(kept.gauges.entry(text(key)).or_default().clone())
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let mut kept = self.0.lock().unwrap();
        Histogram::from_arc(kept.histograms.entry(text(key)).or_default().clone())
    }
}

impl Numbers {
    fn counter(&self, key: &str) -> u64 {
        let kept = self.0.lock().unwrap();
        kept.counters
            .get(key)
            .map_or(0, |counter| counter.load(Ordering::SeqCst))
    }

    fn gauge(&self, key: &str) -> f64 {
        let kept = self.0.lock().unwrap();
        f64::from_bits(
            kept.gauges
                .get(key)
                .map_or(0, |gauge| gauge.load(Ordering::SeqCst)),
        )
    }

    fn histogram(&self, key: &str) -> Vec<f64> {
        let kept = self.0.lock().unwrap();
        kept.histograms
            .get(key)
            .map_or(Vec::new(), |values| values.0.lock().unwrap().clone())
    }

    /// Waits until every gauge is back at zero.
    async fn settle(&self) {
        let names: Vec<_> = self.0.lock().unwrap().gauges.keys().cloned().collect();
        assert!(!names.is_empty());
        for name in names {
            eventually(&format!("{name} is 0"), || self.gauge(&name) == 0.0).await;
        }
    }
}

/// Installs a recorder for this thread; a test's server runs on no other.
fn count() -> (Numbers, metrics::LocalRecorderGuard<'static>) {
    // Tests are few, and the guard needs a place that outlives it.
    let numbers: &'static Numbers = Box::leak(Box::default());
    (
        numbers.clone(),
        metrics::set_default_local_recorder(numbers),
    )
}

#[tokio::test]
async fn requests_are_counted_by_route_method_and_status() {
    let (numbers, _counting) = count();
    let found = tower::service_fn(async |_: http::Request<BodyStream>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
    });
    let control = start(|server| {
        routes(server);
        server.mount("/mount", found);
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for target in ["/mount", "/mount/", "/mount/x"] {
        client.get(target).await;
    }
    client.get("/hello/a").await;
    client.get("/hello/b").await;
    client.get("/nowhere/c").await;
    client.request("BREW", "/hello/d", "").await;
    client.reply().await;
    client.get("/panics").await;
    drop(client);
    let mut client = Client::connect(address(&control)).await;
    client.send("GET / HTTP/1.1\r\nhost : x\r\n\r\n").await;
    client.reply().await;
    drop(client);
    numbers.settle().await;
    for (key, count) in [
        ("route=/hello/{name},method=GET,status=200", 2),
        ("route=/mount/{*rest},method=GET,status=200", 3),
        ("route=,method=GET,status=404", 1),
        ("route=/hello/{name},method=OTHER,status=200", 1),
        ("route=/panics,method=GET,status=500", 1),
        ("route=,method=,status=400", 1),
    ] {
        assert_eq!(
            numbers.counter(&format!("hyperlane_requests_total{{{key}}}")),
            count,
            "{key}"
        );
    }
    let times = numbers.histogram("hyperlane_request_seconds{route=/hello/{name},method=GET}");
    assert_eq!(times.len(), 2);
    assert!(
        times.iter().all(|seconds| (0.0..20.0).contains(seconds)),
        "{times:?}"
    );
    assert_eq!(
        numbers.counter("hyperlane_connections_total{outcome=accepted}"),
        2
    );
    control.shutdown().await;
}

#[tokio::test]
async fn connections_of_each_kind_are_counted_while_they_live() {
    let (numbers, _counting) = count();
    let control = start(routes).await;
    let idle = Client::connect(address(&control)).await;
    let mut socket = Client::websocket(address(&control), "/echo").await;
    let mut events = Client::connect(address(&control)).await;
    events.request("GET", "/events", "").await;
    events.until(b"\r\n\r\n").await;
    events.chunk().await;
    socket.say("one").await;
    socket.next_frame().await;
    eventually("all are there", || {
        numbers.gauge("hyperlane_connections") == 3.0
    })
    .await;
    assert_eq!(numbers.gauge("hyperlane_websocket_connections"), 1.0);
    assert_eq!(numbers.gauge("hyperlane_sse_connections"), 1.0);
    assert_eq!(numbers.counter("hyperlane_messages_received_total"), 1);
    // These are the echo and the event.
    assert_eq!(numbers.counter("hyperlane_messages_sent_total"), 2);
    drop((idle, events));
    socket.close().await;
    numbers.settle().await;
    control.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_that_cuts_leaves_no_gauge_behind() {
    let (numbers, _counting) = count();
    let control = start(|server| {
        routes(server);
        let config = server.get_mut_server_config();
        config.shutdown_timeout = Duration::from_millis(1);
        config.handler_linger = Duration::from_millis(1);
    })
    .await;
    let mut waits = Client::connect(address(&control)).await;
    waits.request("GET", "/waits", "").await;
    let mut floods = Client::websocket(address(&control), "/floods").await;
    floods.exactly(16).await;
    eventually("something waits", || {
        numbers.gauge("hyperlane_outbox_bytes") > 0.0
    })
    .await;
    control.shutdown().await;
    numbers.settle().await;
    let key = "hyperlane_requests_total{route=/waits,method=GET,status=none}";
    assert_eq!(numbers.counter(key), 1);
}

#[tokio::test]
async fn held_bytes_count_until_they_are_sent_or_dropped() {
    let (numbers, _counting) = count();
    let control = start(routes).await;
    let held = || numbers.gauge("hyperlane_outbox_bytes") > 0.0;
    for end in ["release", "close", "loss"] {
        let mut client = Client::websocket(address(&control), "/holds").await;
        eventually("something is held", held).await;
        match end {
            "release" => client.say("release").await,
            "close" => client.frame(CLOSE, 1000u16.to_be_bytes()).await,
            _ => {}
        }
        if end != "loss" {
            assert_eq!(client.next_frame().await.text(), "held");
        }
        if end == "release" {
            assert!(!held());
        }
        drop(client);
        numbers.settle().await;
    }
    control.shutdown().await;
}

#[tokio::test]
async fn a_runtime_that_ends_leaves_no_gauge_behind() {
    let (numbers, _counting) = count();
    tokio::task::spawn_blocking({
        let numbers = numbers.clone();
        move || {
            let _counting =
                metrics::set_default_local_recorder(Box::leak(Box::new(numbers.clone())));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let control = start(routes).await;
                let mut talks = Client::websocket(address(&control), "/talk").await;
                talks.say("hello").await;
                talks.next_frame().await;
                let mut floods = Client::websocket(address(&control), "/floods").await;
                floods.exactly(16).await;
                eventually("something waits", || {
                    numbers.gauge("hyperlane_outbox_bytes") > 0.0
                })
                .await;
            });
        }
    })
    .await
    .expect("no panic");
    numbers.settle().await;
}

#[tokio::test]
async fn rooms_their_members_and_deliveries_are_counted() {
    let (numbers, _counting) = count();
    let rooms = Rooms::with_config(
        RoomsConfig::default()
            .measured_rooms(["measured"])
            .history_messages(0),
    );
    let control = start(|server| {
        routes(server);
        server.state(rooms);
    })
    .await;
    let mut one = Client::websocket(address(&control), "/talk").await;
    let mut two = Client::websocket(address(&control), "/talk").await;
    eventually("both are in", || {
        numbers.gauge("hyperlane_room_members") == 4.0
    })
    .await;
    assert_eq!(numbers.gauge("hyperlane_rooms"), 2.0);
    assert_eq!(numbers.gauge("hyperlane_room_size{room=measured}"), 2.0);
    assert_eq!(
        numbers.gauge("hyperlane_room_size{room=other}"),
        0.0,
        "not listed"
    );
    one.say("hello").await;
    one.next_frame().await;
    two.next_frame().await;
    eventually("both got it", || {
        numbers.counter("hyperlane_deliveries_total") == 2
    })
    .await;
    // A handler panics, and a client leaves without a Close.
    two.say("panic").await;
    assert_eq!(two.next_message().await.opcode, CLOSE);
    drop((one, two));
    numbers.settle().await;
    control.shutdown().await;
}

#[tokio::test]
async fn clients_that_do_not_keep_up_are_counted() {
    let (numbers, _counting) = count();
    let control = start(|server| {
        routes(server);
        let config = server.get_mut_server_config();
        config.outbox_stall = Duration::from_millis(200);
        config.close_timeout = Duration::from_millis(200);
    })
    .await;
    let _floods = Client::websocket(address(&control), "/floods").await;
    eventually("it is let go", || {
        numbers.counter("hyperlane_drops_total{reason=stalled}") == 1
    })
    .await;
    control.shutdown().await;
    numbers.settle().await;
}

#[tokio::test]
async fn slow_members_and_what_they_miss_are_counted_and_logged() {
    for policy in [SlowPolicy::Disconnect, SlowPolicy::DropNewest] {
        let (numbers, _counting) = count();
        let (log, _listening) = listen();
        let limits = RoomLimits::default().slow(policy).outbox_bytes(0);
        let limits = limits.slow_messages(10).history_messages(0);
        let rooms = Rooms::with_config(RoomsConfig::default().limits(limits));
        let room = rooms.room("room").unwrap();
        let (sender, mut received) = tokio::sync::mpsc::channel(1);
        let sink = futures_util::sink::unfold(sender, async |sender, text: String| {
            tokio::sync::mpsc::Sender::send(&sender, text)
                .await
                .map(|()| sender)
        });
        let member = rooms.sink(sink, |message| message.to_str().ok().map(str::to_owned));
        room.join(&member).await.unwrap();
        for number in 0..100 {
            room.broadcast(number.to_string()).await.unwrap();
            tokio::task::yield_now().await;
        }
        eventually("it is slow", || {
            numbers.counter("hyperlane_slow_members_total") == 1
        })
        .await;
        assert!(log.has("room member is slow"));
        if policy == SlowPolicy::Disconnect {
            let closed = "hyperlane_drops_total{reason=slow_member}";
            eventually("it is closed", || numbers.counter(closed) == 1).await;
            assert!(log.has("slow room member closed"));
            assert_eq!(numbers.counter("hyperlane_missed_messages_total"), 0);
            continue;
        }
        let mut count = 0;
        room.broadcast("end").await.unwrap();
        while numbers.counter("hyperlane_missed_messages_total") == 0 {
            received.recv().await.unwrap();
            count += 1;
        }
        assert!(log.has("slow room member missed messages"));
        assert!(count < 50, "{count} messages before the first is missed");
        assert_eq!(
            numbers.counter("hyperlane_drops_total{reason=slow_member}"),
            0
        );
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_of_an_address_are_counted() {
    let (numbers, _counting) = count();
    let control = start(|server| {
        routes(server);
        server.get_mut_server_config().max_connections_per_address = 1;
    })
    .await;
    // The address is not a loopback one.
    let peer = "192.0.2.1:1".parse().ok();
    let (_first, theirs) = tokio::io::duplex(64);
    control.serve(theirs, peer).await;
    let (_second, theirs) = tokio::io::duplex(64);
    control.serve(theirs, peer).await;
    let refused = "hyperlane_connections_total{outcome=refused_address}";
    assert_eq!(numbers.counter(refused), 1);
    assert_eq!(
        numbers.counter("hyperlane_connections_total{outcome=accepted}"),
        1
    );
    control.shutdown().await;
    numbers.settle().await;
}

#[tokio::test]
async fn every_metric_is_described() {
    let (numbers, _counting) = count();
    let control = start(|server| {
        routes(server);
    })
    .await;
    let mut client = Client::websocket(address(&control), "/talk").await;
    client.say("hello").await;
    client.next_frame().await;
    client.close().await;
    control.shutdown().await;
    let kept = numbers.0.lock().unwrap();
    let names = kept
        .counters
        .keys()
        .chain(kept.gauges.keys())
        .chain(kept.histograms.keys());
    for key in names {
        let name = key.split('{').next().unwrap_or_default();
        assert!(kept.described.iter().any(|known| known == name), "{name}");
    }
}
