//! Named channels: several per session, each with its own messages, ids and end.

use super::*;
use hyperlane::{
    IntoResponse,
    session::{ChannelError, NamedChannel},
};

mod endpoints;

/// Limit of named channels per session.
const MOST: usize = 16;

async fn send_all(ctx: &mut Context, channel: Result<ServerSentEvents, ChannelError>) {
    match channel {
        Ok(channel) => {
            let mut sent = Ok(());
            for text in texts(ctx) {
                sent = channel.send(text).await;
            }
            report(sent, ctx).await;
        }
        Err(error) => Error::from(error).into_response(ctx.get_mut_response()),
    }
}

fn named(ctx: &mut Context) -> NamedChannel {
    let name = ctx.get_route_params().get("name").unwrap().to_owned();
    ctx.channel(name)
}

hook! {
    // Opens a channel, and sends the texts of `t` on it.
    Send |_, ctx| {
        let channel = named(ctx).sse();
        send_all(ctx, channel).await;
    }
    SendSocket |_, ctx| {
        let channel = named(ctx).ws();
        match channel {
            Ok(channel) => {
                let mut sent = Ok(());
                for text in texts(ctx) {
                    sent = channel.send(text).await;
                }
                report(sent, ctx).await;
            }
            Err(error) => Error::from(error).into_response(ctx.get_mut_response()),
        }
    }
    Receive |_, ctx| {
        let channel = named(ctx).ws().unwrap();
        let text = channel.recv().await.unwrap().to_string();
        ctx.get_mut_response().set_body(text);
    }
    Close |_, ctx| {
        named(ctx).close();
    }
    // The request of a page, which asks for its channel before and after a wait.
    SlowPage |_, ctx| {
        let name = ctx.get_request().try_get_query("name").unwrap();
        ctx.channel("page").sse().unwrap().send(format!("{name}1")).await.unwrap();
        ctx.state::<Gates>().wait(&name).await;
        ctx.channel("page").sse().unwrap().send(format!("{name}2")).await.unwrap();
    }
    GoOn |_, ctx| {
        let name = ctx.get_request().try_get_query("name").unwrap();
        ctx.state::<Gates>().of(&name).notify_one();
    }
    // The request of a page, which sends to two channels.
    Page |_, ctx| {
        for _ in 0..2 {
            ctx.channel("page").sse().unwrap().send("own").await.unwrap();
        }
        ctx.channel("ws-page").ws().unwrap().send("own").await.unwrap();
    }
}

/// Lets the requests of `SlowPage` go on, by their names.
#[derive(Default)]
struct Gates([tokio::sync::Notify; 2]);

impl Gates {
    fn of(&self, name: &str) -> &tokio::sync::Notify {
        &self.0[usize::from(name == "b")]
    }

    async fn wait(&self, name: &str) {
        self.of(name).notified().await;
    }
}

struct Options {
    grace: Duration,
    memory: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(120),
            memory: 4 * 1024 * 1024,
        }
    }
}

async fn serve(options: Options) -> (ServerControlHook, Channels) {
    let Options { grace, memory } = options;
    let mut all = None;
    let control = start(|server| {
        server.get_mut_server_config().session_memory = memory;
        routes(server, ws(), sse());
        server
            .at("/sse/{name}")
            .get(sse().named("{name}").grace(grace));
        let socket = || ws().named("ws-{name}").grace(grace);
        server.at("/ws/{name}").get(socket());
        server.at("/counted/{name}").get(socket().resume_ids());
        server
            .route::<Send>("/send/{name}")
            .route::<SendSocket>("/send-ws/{name}")
            .route::<Receive>("/recv/{name}")
            .route::<Close>("/close/{name}")
            .route::<Page>("/page")
            .route::<SlowPage>("/slow-page")
            .route::<GoOn>("/go-on")
            .state(Gates::default());
        all = Some(server.channels());
    })
    .await;
    (control, all.unwrap())
}

async fn plain() -> (ServerControlHook, Channels) {
    serve(Options::default()).await
}

/// The epoch and the offset of an id.
fn parts(id: &str) -> (String, u64) {
    let (epoch, offset) = id.split_once('-').unwrap();
    (epoch.to_owned(), offset.parse().unwrap())
}

#[tokio::test]
async fn each_name_has_messages_offsets_and_an_epoch_of_its_own() {
    let (control, _) = plain().await;
    let mut browser = Browser::new(&control);
    let mut streams = Vec::new();
    for target in ["/sse/a", "/sse/b", "/sse", "/sse/b"] {
        streams.push(browser.follow(target, "").await);
    }
    let mut sockets = Vec::new();
    for target in ["/ws/a", "/ws/b", "/ws"] {
        sockets.push(browser.socket(target).await);
    }
    for target in [
        "/send/a?t=a1,a2",
        "/send/b?t=b1",
        "/send-sse?t=u1",
        "/send/a?t=a3",
        "/send-ws/ws-a?t=wa",
        "/send-ws/ws-b?t=wb",
        "/send-ws?t=wu",
    ] {
        assert_eq!(browser.send(target).await, "sent", "{target}");
    }
    let mut epochs = Vec::new();
    for (stream, texts) in
        streams
            .iter_mut()
            .zip([&["a1", "a2", "a3"][..], &["b1"], &["u1"], &["b1"]])
    {
        for (offset, text) in (1..).zip(texts) {
            let event = stream.next().await;
            assert_eq!((event.data.as_str(), parts(&event.id).1), (*text, offset));
        }
        epochs.push(parts(&stream.id().await).0);
    }
    assert_eq!(epochs[1], epochs[3], "two tabs of one name");
    epochs.sort();
    epochs.dedup();
    assert_eq!(epochs.len(), 3);
    for (socket, text) in sockets.iter_mut().zip(["wa", "wb", "wu"]) {
        assert_eq!(next_text(socket).await, text);
    }
    sockets[0].say("from a").await;
    assert_eq!(browser.send("/recv/ws-a").await, "from a");
}

#[tokio::test]
async fn a_name_is_another_channel_in_another_session() {
    let (control, _) = plain().await;
    let (mut ann, mut bob) = (Browser::new(&control), Browser::new(&control));
    let mut of_ann = ann.follow("/sse/run", "").await;
    let mut of_bob = bob.follow("/sse/run", "").await;
    ann.send("/send/run?t=ann").await;
    bob.send("/send/run?t=bob").await;
    assert_eq!(of_ann.text().await, "ann");
    assert_eq!(of_bob.text().await, "bob");
}

#[tokio::test]
async fn messages_wait_and_clients_resume_by_name() {
    let (control, _) = plain().await;
    let mut browser = Browser::new(&control);
    assert_eq!(browser.send("/send/a?t=1,2").await, "sent");
    assert_eq!(browser.send("/send/b?t=x").await, "sent");
    let mut events = browser.follow("/sse/a", "").await;
    let first = events.next().await;
    assert_eq!(first.data, "1");
    drop(events);
    browser.send("/send/a?t=3").await;
    let mut events = browser
        .follow("/sse/a", &format!("last-event-id: {}\r\n", first.id))
        .await;
    for text in ["2", "3"] {
        assert_eq!(events.text().await, text);
    }
    // An id of another channel is a reset, as after the end of a channel.
    let mut other = browser
        .follow("/sse/b", &format!("last-event-id: {}\r\n", first.id))
        .await;
    assert_eq!(other.next().await.event, "reset");
    // A WebSocket that counts.
    let mut socket = browser.socket("/counted/c").await;
    let hello: serde_json::Value = serde_json::from_str(&next_text(&mut socket).await).unwrap();
    let (epoch, tab) = (field(&hello, "epoch"), field(&hello, "tab"));
    socket.reset();
    assert_eq!(browser.send("/send-ws/ws-c?t=1,2").await, "sent");
    let mut socket = browser
        .socket(&format!("/counted/c?last_event_id={epoch}-1&tab={tab}"))
        .await;
    let hello: serde_json::Value = serde_json::from_str(&next_text(&mut socket).await).unwrap();
    assert_eq!(hello["reset"], false);
    assert_eq!(next_text(&mut socket).await, "2");
    // A plain WebSocket gets all that it has not acknowledged.
    let mut socket = browser.socket("/ws/d?tab=7").await;
    browser.send("/send-ws/ws-d?t=1").await;
    assert_eq!(next_unanswered(&mut socket).await, "1");
    socket.reset();
    let mut socket = browser.socket("/ws/d?tab=7").await;
    assert_eq!(next_text(&mut socket).await, "1");
}

#[tokio::test]
async fn a_session_has_16_named_channels() {
    let (control, channels) = plain().await;
    let mut browser = Browser::new(&control);
    let mut kept = Vec::new();
    // Channels that the program opens and that clients open, of both kinds, count alike.
    for number in 0..MOST {
        match number % 3 {
            0 => assert_eq!(browser.send(&format!("/send/{number}?t=x")).await, "sent"),
            1 => {
                _ = browser
                    .follow(&format!("/sse/{number}"), "")
                    .await
                    .id()
                    .await
            }
            _ => kept.push(browser.socket(&format!("/ws/{number}")).await),
        }
    }
    // The program gets a typed error, and its client a 429.
    let session = channels.all().remove(0);
    assert_eq!(
        session.channel("more").ws().unwrap_err(),
        ChannelError::TooMany { limit: MOST }
    );
    let reply = browser.get("/send/more?t=x").await;
    assert_eq!(reply.status, 429, "{}", reply.text());
    assert!(reply.text().contains("16 named channels"));
    // So does a client that connects, also by a handshake.
    let stream = browser
        .request("GET", "/sse/more", "accept: text/event-stream\r\n", "")
        .await;
    assert_eq!(stream.status, 429);
    let mut client = Client::connect(browser.address).await;
    let refused = client.upgrade("/ws/more", &browser.fields()).await;
    assert_eq!(refused.status, 429);
    // The connection goes on after the refusal.
    client.request("GET", "/open", &browser.fields()).await;
    assert_eq!(client.reply().await.text(), "false false");
    // The known names, the channels without a name and other sessions are as before.
    assert_eq!(browser.send("/send/0?t=y").await, "sent");
    assert_eq!(browser.send("/send-sse?t=y").await, "sent");
    browser.socket("/ws").await;
    assert_eq!(Browser::new(&control).send("/send/more?t=x").await, "sent");
    // The end of a channel frees its place at once.
    browser.get("/close/0").await;
    assert_eq!(browser.send("/send/more?t=x").await, "sent");
    assert_eq!(browser.get("/send/still-more?t=x").await.status, 429);
}

#[tokio::test]
async fn a_name_is_1_to_64_visible_ascii_characters() {
    let (control, channels) = plain().await;
    let mut browser = Browser::new(&control);
    browser.get("/send-sse?t=x").await;
    let session = channels.all().remove(0);
    let (long, longer) = ("x".repeat(64), "x".repeat(65));
    for name in ["a", "run:7", "ann@example.org", "a/b", &long] {
        let channel = session.channel(name).sse().unwrap();
        assert_eq!(channel.channel_name(), Some(name));
        channel.close();
    }
    assert_eq!(session.sse().channel_name(), None);
    for name in ["", " ", "a b", "a\tb", "é", &longer] {
        let error = session.channel(name).sse().unwrap_err();
        assert_eq!(error, ChannelError::InvalidName, "{name:?}");
    }
    for name in ["a%20b", "%C3%A9", "a%0Db", &longer] {
        for target in [format!("/sse/{name}"), format!("/send/{name}?t=x")] {
            assert_eq!(browser.get(&target).await.status, 400, "{target}");
        }
        let mut client = Client::connect(browser.address).await;
        let reply = client.upgrade(&format!("/ws/{name}"), "").await;
        assert_eq!(reply.status, 400);
        assert!(
            reply.all("set-cookie").is_empty(),
            "nothing is begun for it"
        );
        let target = format!("/ws/{name}");
        let posted = browser.request("POST", &target, "", "x").await;
        assert_eq!(posted.status, 400);
    }
}

#[tokio::test]
async fn clients_of_a_closed_name_stop() {
    let (control, _) = plain().await;
    let mut browser = Browser::new(&control);
    let mut events = browser.follow("/sse/run", "").await;
    let mut socket = browser.socket("/ws/run").await;
    browser.send("/send/run?t=last").await;
    browser.send("/send-ws/ws-run?t=last").await;
    browser.get("/close/run").await;
    browser.get("/close/ws-run").await;
    // The connected clients get all messages before the end.
    let last = events.next().await;
    assert_eq!(last.data, "last");
    events.rest().await;
    assert_eq!(next_text(&mut socket).await, "last");
    assert_eq!(socket.next_message().await.code(), 1000);
    // An event stream gets 204, with an id and without one: a browser then stops.
    for fields in [format!("last-event-id: {}\r\n", last.id), String::new()] {
        let reply = browser.request("GET", "/sse/run", &fields, "").await;
        assert_eq!(reply.status, 204);
    }
    // A WebSocket is opened and closed, since a page cannot read the status of a handshake.
    for target in ["/ws/run", "/counted/run"] {
        let mut socket = browser.socket(target).await;
        assert_eq!(socket.next_message().await.code(), 1000, "{target}");
    }
    let reply = browser
        .request("GET", "/ws/run", "accept: text/event-stream\r\n", "")
        .await;
    assert_eq!(reply.status, 204);
    assert_eq!(
        browser.request("POST", "/ws/run", "", "x").await.status,
        409
    );
    // Other names of the session, and this name in other sessions, are not closed.
    browser.follow("/sse/other", "").await.id().await;
    Browser::new(&control)
        .follow("/sse/run", "")
        .await
        .id()
        .await;
    // The program may open the name again. The ids of the former channel are still over.
    assert_eq!(browser.send("/send/run?t=again").await, "sent");
    let fields = format!("last-event-id: {}\r\n", last.id);
    assert_eq!(
        browser.request("GET", "/sse/run", &fields, "").await.status,
        204
    );
    assert_eq!(browser.follow("/sse/run", "").await.text().await, "again");
}

#[tokio::test]
async fn a_session_remembers_64_closed_names() {
    let (control, channels) = plain().await;
    let mut browser = Browser::new(&control);
    browser.get("/send-sse?t=x").await;
    let session = channels.all().remove(0);
    for number in 0..=64 {
        session
            .channel(format!("run-{number}"))
            .sse()
            .unwrap()
            .close();
    }
    let status = async |browser: &mut Browser, number: u64| {
        let mut client = Client::connect(browser.address).await;
        let fields = format!("{}accept: text/event-stream\r\n", browser.fields());
        client
            .request("GET", &format!("/sse/run-{number}"), &fields)
            .await;
        let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
        head.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(
        status(&mut browser, 0).await,
        "200",
        "the first is forgotten"
    );
    for number in 1..=64 {
        assert_eq!(status(&mut browser, number).await, "204", "{number}");
    }
}

#[tokio::test]
async fn a_name_without_clients_ends_after_the_grace_and_is_not_closed() {
    let grace = Duration::from_secs(1);
    let (control, channels) = serve(Options {
        grace,
        ..Options::default()
    })
    .await;
    let mut browser = Browser::new(&control);
    browser.get("/send-sse?t=x").await;
    let session = channels.all().remove(0);
    // Channels that are never used, that have messages, and whose client has left.
    let mut all: Vec<_> = (0..14)
        .map(|number| session.channel(format!("{number}")).sse().unwrap())
        .collect();
    all[1].send("x").await.unwrap();
    drop(browser.follow("/sse/left", "").await);
    let mut stays = browser.follow("/sse/stays", "").await;
    stays.id().await;
    all.push(session.channel("left").sse().unwrap());
    assert!(session.channel("more").sse().is_err());
    for channel in &all {
        channel.closed().await;
        let error = channel.send("x").await.unwrap_err().to_string();
        assert!(error.contains("did not come back within 1s"), "{error}");
    }
    let mut events = browser.follow("/sse/left", "").await;
    browser.send("/send/left?t=new").await;
    assert_eq!(events.text().await, "new");
    for number in 0..14 {
        session.channel(format!("again-{number}")).sse().unwrap();
    }
    browser.send("/send/stays?t=still").await;
    assert_eq!(stays.text().await, "still");
}

#[tokio::test]
async fn a_name_that_was_opened_again_is_closed_only_by_the_program() {
    let (control, channels) = serve(Options {
        grace: SHORT,
        ..Options::default()
    })
    .await;
    let mut browser = Browser::new(&control);
    // The program closes the first generation, opens the name again, and no client comes.
    let mut events = browser.follow("/sse/run", "").await;
    let old = events.id().await;
    let mut socket = browser.socket("/ws/run").await;
    let session = channels.all().remove(0);
    for name in ["run", "ws-run"] {
        session.channel(name).close();
    }
    events.rest().await;
    assert_eq!(socket.next_message().await.code(), 1000);
    assert_eq!(browser.get("/sse/run").await.status, 204);
    let reopened = session.channel("run").sse().unwrap();
    reopened.closed().await;
    let error = reopened.send("x").await.unwrap_err().to_string();
    assert!(error.contains("did not come back"), "{error}");
    let socket = session.channel("ws-run").ws().unwrap();
    socket.closed().await;
    // The second generation was not closed. Clients of the first one are still over.
    let fields = format!("last-event-id: {old}\r\n");
    let reply = browser.request("GET", "/sse/run", &fields, "").await;
    assert_eq!(reply.status, 204);
    let mut events = browser.follow("/sse/run", "").await;
    browser.send("/send/run?t=third").await;
    assert_eq!(events.text().await, "third");
    let mut socket = browser.socket("/ws/run").await;
    browser.send("/send-ws/ws-run?t=third").await;
    assert_eq!(next_text(&mut socket).await, "third");
    // The third generation is closed again, and so is the name.
    session.channel("run").close();
    events.rest().await;
    assert_eq!(browser.get("/sse/run").await.status, 204);
}

#[tokio::test]
async fn handles_of_sessions_and_users_reach_named_channels() {
    let (control, channels) = plain().await;
    let mut ann = Browser::new(&control);
    ann.get("/login?name=ann").await;
    let mut events = ann.follow("/sse/run", "").await;
    let mut socket = ann.socket("/ws/run").await;
    let id = channels.user("ann")[0].id();
    let session = channels.session(&id).unwrap();
    session
        .channel("run")
        .sse()
        .unwrap()
        .send("by id")
        .await
        .unwrap();
    for session in channels.user("ann") {
        let run = session.channel("run").sse().unwrap();
        run.send("by user").await.unwrap();
        let run = session.channel("ws-run").ws().unwrap();
        run.send("by user").await.unwrap();
    }
    assert_eq!(events.text().await, "by id");
    assert_eq!(events.text().await, "by user");
    assert_eq!(next_text(&mut socket).await, "by user");
}

#[tokio::test]
async fn a_renewal_keeps_named_channels_and_the_end_of_the_session_ends_them() {
    let (control, _) = plain().await;
    let mut browser = Browser::new(&control);
    let mut events = browser.follow("/sse/run", "").await;
    let mut socket = browser.socket("/ws/run").await;
    browser.send("/send/waits?t=waiting").await;
    browser.send("/send/over?t=x").await;
    browser.get("/close/over").await;
    browser.get("/login?name=ann").await;
    browser.send("/send/run?t=after").await;
    browser.send("/send-ws/ws-run?t=after").await;
    assert_eq!(events.text().await, "after");
    assert_eq!(next_text(&mut socket).await, "after");
    let waiting = browser.follow("/sse/waits", "").await.text().await;
    assert_eq!(waiting, "waiting");
    assert_eq!(browser.get("/sse/over").await.status, 204);
    browser.get("/logout").await;
    events.rest().await;
    assert_eq!(socket.next_message().await.code(), 1008);
    // The next session knows no name of this one.
    browser.follow("/sse/over", "").await.id().await;
}

#[tokio::test]
async fn named_channels_count_towards_the_memory_of_sessions() {
    let (control, channels) = serve(Options {
        memory: 64 * 1024,
        ..Options::default()
    })
    .await;
    // Channels without any message fill the memory: sessions that nothing uses go first, and their channels end.
    let mut idle = Browser::new(&control);
    idle.get("/send-sse?t=x").await;
    let session = channels.all().remove(0);
    let first = session.channel("first").sse().unwrap();
    let mut live = Vec::new();
    let refused = 'full: {
        for _ in 0..20 {
            let mut browser = Browser::new(&control);
            // A session with a connected channel stays.
            let mut stream = browser.follow("/sse/0", "").await;
            stream.id().await;
            for number in 1..MOST {
                let reply = browser.get(&format!("/send/{number}?t=x")).await;
                if reply.status != 200 || reply.text() != "sent" {
                    live.push((browser, stream));
                    break 'full reply;
                }
            }
            live.push((browser, stream));
        }
        panic!("320 channels in 64 kB");
    };
    // 64 kB hold few sessions of 16 channels, of which each takes more than a kilobyte.
    assert!((1..5).contains(&live.len()), "{}", live.len());
    assert!(
        refused.status == 503 || refused.text().starts_with("OutOfMemory"),
        "{} {}",
        refused.status,
        refused.text()
    );
    first.closed().await;
    let error = first.send("x").await.unwrap_err().to_string();
    assert!(error.contains("its session has ended"), "{error}");
    // Ends give the memory back, all of it, as often as they come.
    let mut browser = Browser::new(&control);
    for (mut browser, mut stream) in live {
        browser.get("/logout").await;
        stream.rest().await;
    }
    for round in 0..300 {
        let reply = browser.get(&format!("/send/{round}?t=x")).await;
        assert_eq!(reply.text(), "sent", "{round}");
        assert_eq!(browser.get(&format!("/close/{round}")).await.status, 200);
    }
}

#[tokio::test]
async fn the_own_request_of_a_page_sends_to_named_channels() {
    let (control, _) = plain().await;
    let mut browser = Browser::new(&control);
    let mut before = browser.follow("/sse/page", "").await;
    let mut socket = browser.socket("/ws/page").await;
    browser
        .request("GET", "/page", "accept: text/html\r\n", "")
        .await;
    for _ in 0..2 {
        assert_eq!(before.text().await, "own");
    }
    assert_eq!(next_text(&mut socket).await, "own");
    // The page connects, and gets the messages of its request. Another tab gets new ones.
    let mut page = browser.follow("/sse/page", "").await;
    let mut page_socket = browser.socket("/ws/page?tab=1").await;
    let mut other = browser.follow("/sse/page", "").await;
    browser.send("/send/page?t=new").await;
    for text in ["own", "own", "new"] {
        assert_eq!(page.text().await, text);
    }
    assert_eq!(other.text().await, "new");
    assert_eq!(next_text(&mut page_socket).await, "own");
}

#[tokio::test]
async fn requests_of_pages_that_interleave_are_a_page_each() {
    let (control, _) = plain().await;
    let mut browser = Browser::new(&control);
    let mut before = browser.follow("/sse/page", "").await;
    before.id().await;
    let mut pages = Vec::new();
    for name in ["a", "b"] {
        let mut page = Client::connect(browser.address).await;
        let fields = format!("{}accept: text/html\r\n", browser.fields());
        page.request("GET", &format!("/slow-page?name={name}"), &fields)
            .await;
        assert_eq!(before.text().await, format!("{name}1"));
        pages.push(page);
    }
    for (name, page) in ["a", "b"].into_iter().zip(&mut pages) {
        browser.get(&format!("/go-on?name={name}")).await;
        assert_eq!(page.reply().await.status, 200);
        assert_eq!(before.text().await, format!("{name}2"));
    }
    // Two pages connect, and get the messages since their requests. The next stream is no page.
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(browser.follow("/sse/page", "").await);
    }
    browser.send("/send/page?t=new").await;
    let expected: [&[&str]; 3] = [
        &["a1", "b1", "a2", "b2", "new"],
        &["b1", "a2", "b2", "new"],
        &["new"],
    ];
    for (stream, expected) in streams.iter_mut().zip(expected) {
        for text in expected {
            assert_eq!(stream.text().await, *text);
        }
    }
}
