//! Endpoints of named channels: their function, their settings, their checks.

use test_support::BindLocal as _;

use super::*;

#[tokio::test]
async fn an_endpoint_calls_its_function_once_per_name() {
    static CALLS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let control = start(|server| {
        let echo = async |socket: WebSocket, _| {
            let name = socket.channel_name().unwrap().to_owned();
            CALLS.lock().unwrap().push(name.clone());
            while let Ok(message) = socket.recv().await {
                let _ = socket.send(format!("{name}: {message}")).await;
            }
        };
        server.at("/{a}/{b}").get(ws_with(echo).named("{b}:{a}"));
    })
    .await;
    let mut browser = Browser::new(&control);
    let mut sockets = Vec::new();
    for target in ["/x/1", "/x/2", "/x/1"] {
        sockets.push(browser.socket(target).await);
    }
    sockets[1].say("hello").await;
    assert_eq!(next_text(&mut sockets[1]).await, "2:x: hello");
    sockets[0].say("hello").await;
    for at in [0, 2] {
        assert_eq!(next_text(&mut sockets[at]).await, "1:x: hello");
    }
    let mut calls = CALLS.lock().unwrap().clone();
    calls.sort();
    assert_eq!(calls, ["1:x", "2:x"]);
}

#[tokio::test]
async fn a_channel_has_the_settings_of_the_endpoint_whose_names_fit() {
    let mut all = None;
    let control = start(|server| {
        routes(server, ws(), sse().buffer(1).timeout(SHORT));
        let two = sse().named("two-{id}").buffer(2).timeout(SHORT);
        server.at("/two/{id}").get(two);
        let three = sse().named("{id}-three").buffer(3).timeout(SHORT);
        server.at("/three/{id}").get(three);
        all = Some(server.channels());
    })
    .await;
    Browser::new(&control).get("/open").await;
    let session = all.unwrap().all().remove(0);
    for (name, buffer) in [("two-x", 2), ("x-three", 3), ("two-three", 2), ("x", 1)] {
        let channel = session.channel(name).sse().unwrap();
        for _ in 0..buffer {
            channel.send("x").await.unwrap();
        }
        let error = channel.send("x").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{name}");
    }
}

#[tokio::test]
async fn every_tab_of_an_endpoint_from_the_start_gets_all() {
    let control = start(|server| {
        routes(server, ws(), sse());
        let runs = sse().named("{name}").from_start().buffer(4);
        server.at("/sse/{name}").get(runs);
        server.route::<Send>("/send/{name}");
    })
    .await;
    let mut browser = Browser::new(&control);
    browser.send("/send/run?t=1,2").await;
    let mut first = browser.follow("/sse/run", "").await;
    let mut second = browser.follow("/sse/run", "").await;
    browser.send("/send/run?t=3").await;
    let mut third = browser.follow("/sse/run", "").await;
    for stream in [&mut first, &mut second, &mut third] {
        for text in ["1", "2", "3"] {
            assert_eq!(stream.text().await, text);
        }
    }
    // A new tab gets all as well if its page numbers the tabs, and so does a tab that has kept no id.
    let mut numbered = browser.follow("/sse/run?tab=7", "").await;
    for text in ["1", "2", "3"] {
        assert_eq!(numbered.text().await, text);
    }
    drop(numbered);
    let mut reloaded = browser.follow("/sse/run?tab=7", "").await;
    for text in ["1", "2", "3"] {
        assert_eq!(reloaded.text().await, text);
    }
    // A client with an id goes on after it.
    let id = third.id().await;
    drop(third);
    browser.send("/send/run?t=4,5").await;
    let mut third = browser
        .follow("/sse/run", &format!("last-event-id: {id}\r\n"))
        .await;
    assert_eq!(third.text().await, "4");
    // The first message has left the buffer.
    let mut late = browser.follow("/sse/run", "").await;
    assert_eq!(late.next().await.event, "reset");
    browser.send("/send/run?t=6").await;
    assert_eq!(late.text().await, "6");
}

#[tokio::test]
async fn names_are_checked_when_the_server_starts() {
    for (pattern, name, words) in [
        ("/runs/{id}", "run-{run}", "no parameter `run`"),
        ("/runs", "run-{id}", "no parameter `id`"),
        ("/runs/{id}", "run {id}", "visible ASCII"),
        ("/runs/{id}", "run-{id", "does not belong to a parameter"),
        ("/runs/{id}", "", "1 to 64 bytes"),
    ] {
        for is_socket in [true, false] {
            let mut server = Server::new();
            server.bind_local();
            match is_socket {
                true => server.at(pattern).get(ws().named(name)),
                false => server.at(pattern).get(sse().named(name)),
            };
            let error = server.run().await.err().expect("the server does not start");
            assert!(matches!(error, ServerError::Handler { .. }), "{error}");
            let text = error.to_string();
            assert!(
                text.contains(words) && text.contains("endpoints.rs"),
                "{text}"
            );
        }
    }
    let mut server = Server::new();
    server.bind_local();
    server.at("/runs/{*rest}").get(sse().named("run-{rest}"));
    server.at("/news").get(sse().named("news"));
    server.run().await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_parameter_of_a_name_may_stand_in_the_prefix_of_a_scope() {
    let control = start(|server| {
        server.scope("/tenants/{tenant}", |tenant| {
            tenant.at("/runs/{id}").get(sse().named("{tenant}:{id}"));
        });
        server.route::<Send>("/send/{name}");
    })
    .await;
    let mut browser = Browser::new(&control);
    let mut events = browser.follow("/tenants/blue/runs/7", "").await;
    browser.send("/send/blue:7?t=x").await;
    assert_eq!(events.text().await, "x");
    let mut server = Server::new();
    server
        .bind("127.0.0.1:0")
        .scope("/tenants/{other}", |tenant| {
            tenant.at("/runs").get(sse().named("{tenant}"));
        });
    let error = server.run().await.err().expect("the server does not start");
    assert!(
        error.to_string().contains("no parameter `tenant`"),
        "{error}"
    );
}

#[tokio::test]
async fn the_renderer_of_errors_renders_the_refusals_of_endpoints() {
    let control = start(|server| {
        server.errors(|error: &ErrorInfo, _: &mut Context| format!("rendered: {error}"));
        server.at("/sse/{name}").get(sse().named("{name}"));
        server.at("/ws/{name}").get(ws().named("{name}"));
        server.route::<Send>("/send/{name}");
    })
    .await;
    let mut browser = Browser::new(&control);
    for number in 0..MOST {
        browser.send(&format!("/send/{number}?t=x")).await;
    }
    let mut client = Client::connect(browser.address).await;
    let replies = [
        browser.get("/sse/more").await,
        browser.get("/send/more?t=x").await,
        client.upgrade("/ws/more", &browser.fields()).await,
    ];
    for reply in replies {
        assert_eq!(reply.status, 429);
        let text = reply.text();
        assert!(
            text.starts_with("rendered: ") && text.contains("16 named channels"),
            "{text}"
        );
    }
}
