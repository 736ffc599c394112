//! Forged ids, and former ids after a renewal.

use super::*;

#[tokio::test]
async fn a_renewed_session_keeps_all_and_its_former_id_lasts_a_minute() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/login").await;
    browser.get("/keep?secret=s").await;
    let before = browser.cookie();
    let renewed = browser.get("/renew").await;
    assert_eq!(renewed.all("set-cookie").len(), 1);
    assert_ne!(before, browser.cookie());
    assert!(browser.text("/look").await.starts_with("s Some(\"ann\") "));
    // A request in flight has the former id: the same session, and no cookie of the new id.
    let mut former = Browser::with(address(&control), "session", &before);
    let reply = former.get("/look").await;
    assert!(reply.text().starts_with("s Some(\"ann\") "));
    assert_eq!(reply.header("set-cookie"), None);
    // A second renewal by the former id does not take the first one's cookie away, and is given none.
    let again = former.get("/renew").await;
    assert_eq!((again.status, again.header("set-cookie")), (200, None));
    assert!(browser.text("/look").await.starts_with("s Some(\"ann\") "));
    pass(61).await;
    (browser.client, former.client) = (None, None);
    assert!(is_refused(address(&control), &before).await);
    assert!(browser.text("/look").await.starts_with("s Some(\"ann\") "));
}

#[tokio::test]
async fn a_former_id_never_learns_the_present_one() {
    let store = Mock::default();
    let alone = serve(|_| {}).await;
    let shared = serve(|server| _ = server.session_store(store.clone())).await;
    let sharing = serve(|server| _ = server.session_store(store.clone())).await;
    // In the last case the renewal was at another server of the same store.
    for (renewing, control) in [(&alone, &alone), (&shared, &shared), (&sharing, &shared)] {
        let mut victim = Browser::new(address(renewing));
        victim.get("/login").await;
        victim.get("/keep?secret=s").await;
        let stolen = victim.cookie();
        victim.get("/renew").await;
        let present = victim.cookie();
        let present_id = present.split('.').next().unwrap();
        let stolen_id = stolen.split('.').next().unwrap();
        let mut attacker = Browser::with(address(control), "session", &stolen);
        for path in ["/learn", "/renew", "/learn", "/look", "/use"] {
            let reply = attacker.get(path).await;
            assert_eq!(reply.header("set-cookie"), None, "{path}");
            assert!(
                !reply.text().contains(present_id),
                "{path}: {}",
                reply.text()
            );
            if path == "/learn" {
                let told = format!("Ok(()) Err(Former) Ok(()) Err(Former) {stolen_id} ");
                assert!(reply.text().starts_with(&told), "{}", reply.text());
                assert!(reply.text().ends_with(" Err(Former)"), "{}", reply.text());
                assert!(!reply.text().contains(&present_id[..6]));
            }
        }
        assert!(victim.text("/look").await.starts_with("s Some(\"ann\") "));
        pass(61).await;
        (victim.client, attacker.client) = (None, None);
        assert!(is_refused(address(control), &stolen).await);
        assert!(victim.text("/look").await.starts_with("s Some(\"ann\") "));
    }
}

#[tokio::test]
async fn of_renewals_at_the_same_time_one_answer_has_the_cookie() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/keep?secret=s").await;
    let mut renewals = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut other = Browser::with(address(&control), "session", &browser.cookie());
        renewals.spawn(async move { other.get("/renew").await });
    }
    let mut cookies = Vec::new();
    for reply in renewals.join_all().await {
        assert_eq!(reply.status, 200);
        cookies.extend(reply.header("set-cookie").map(str::to_owned));
    }
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    let (_, value) = cookies[0].split_once('=').unwrap();
    let mut winner = Browser::with(
        address(&control),
        "session",
        value.split(';').next().unwrap(),
    );
    assert!(winner.text("/look").await.starts_with("s "));
}

#[tokio::test]
async fn a_request_from_before_the_renewal_learns_nothing_of_it() {
    let _turn = HELD.lock().await;
    let control = serve(|_| {}).await;
    let mut victim = Browser::new(address(&control));
    victim.get("/keep?secret=s").await;
    let stolen = victim.cookie();
    let mut attacker = Browser::with(address(&control), "session", &stolen);
    let held = tokio::spawn(async move { attacker.get("/held").await });
    HERE.notified().await;
    victim.get("/login").await;
    GO_ON.notify_one();
    let reply = held.await.unwrap();
    let stolen_id = stolen.split('.').next().unwrap();
    assert_eq!(reply.text(), format!("Ok(()) Err(Former) {stolen_id}"));
    assert_eq!(reply.header("set-cookie"), None);
}

#[tokio::test]
async fn an_old_cookie_is_not_made_anew_for_a_request_that_is_overtaken_by_a_renewal() {
    let _turn = HELD.lock().await;
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/keep?secret=s").await;
    let mut slow = Browser::with(address(&control), "session", &browser.cookie());
    // Half of its time is over, so that any answer sets the cookie anew.
    browser.client = None;
    pass(4 * 24 * 60 * 60).await;
    let held = tokio::spawn(async move { slow.get("/held").await });
    HERE.notified().await;
    browser.get("/renew").await;
    GO_ON.notify_one();
    // The browser gets this answer last: it must not take the winner's cookie away.
    assert_eq!(held.await.unwrap().header("set-cookie"), None);
    assert!(browser.text("/look").await.starts_with("s "));
}

#[tokio::test]
async fn another_client_with_the_id_decides_nothing_while_its_owner_logs_in() {
    let control = serve(|_| {}).await;
    let mut attacker = Browser::new(address(&control));
    attacker.get("/keep?secret=planted").await;
    let planted = attacker.cookie();
    let mut victim = Browser::with(address(&control), "session", &planted);
    let login = tokio::spawn(async move {
        let reply = victim.get("/login-slowly").await;
        (victim, reply)
    });
    HALF_WAY.notified().await;
    for path in ["/renew", "/learn", "/renew"] {
        let reply = attacker.get(path).await;
        assert_eq!(reply.header("set-cookie"), None, "{path}");
        if path == "/learn" {
            assert!(reply.text().ends_with(" Err(Former)"), "{}", reply.text());
        }
    }
    GO_ALL_THE_WAY.notify_one();
    let (mut victim, reply) = login.await.unwrap();
    assert_eq!(reply.all("set-cookie").len(), 1);
    assert_ne!(victim.cookie(), planted);
    let seen = victim.text("/look").await;
    assert!(seen.starts_with("planted Some(\"ann\") "), "{seen}");
    assert_eq!(attacker.text("/look").await, "none");
    // After its answer everything is as always.
    let before = victim.cookie();
    victim.get("/renew").await;
    assert_ne!(victim.cookie(), before);
}

#[tokio::test]
async fn an_id_from_before_a_login_by_message_is_worth_nothing_after_the_renewal() {
    let control = serve(|_| {}).await;
    // The handshake sets the cookie, so that its client knows the id when it logs in.
    let mut socket = Client::connect(address(&control)).await;
    let reply = socket.upgrade("/login-by-message", "").await;
    let (_, value) = reply.all("set-cookie")[0].split_once('=').unwrap();
    let before = value.split(';').next().unwrap().to_owned();
    socket.frame(test_support::TEXT, "ann").await;
    assert_eq!(socket.next_message().await.text(), "hello");
    let mut browser = Browser::with(address(&control), "session", &before);
    browser.get("/renew").await;
    assert_ne!(browser.cookie(), before);
    assert!(browser.text("/look").await.contains("Some(\"ann\")"));
    let mut former = Browser::with(address(&control), "session", &before);
    assert_eq!(former.text("/look").await, "none");
}

#[tokio::test]
async fn connections_that_a_former_id_opens_end_with_it() {
    let control = serve(|server| {
        let config = server.get_mut_server_config();
        (config.ping_interval, config.pong_timeout) = (None, None);
        config.sse_heartbeat = None;
    })
    .await;
    for ends_at_once in [false, true] {
        let mut browser = Browser::new(address(&control));
        browser.get("/use").await;
        let fields = |browser: &Browser| format!("cookie: session={}\r\n", browser.cookie());
        let before = fields(&browser);
        let mut early = Client::connect(address(&control)).await;
        assert_eq!(early.upgrade("/stay", &before).await.status, 101);
        browser.get("/renew").await;
        let mut socket = Client::connect(address(&control)).await;
        assert_eq!(socket.upgrade("/stay", &before).await.status, 101);
        let mut events = Client::connect(address(&control)).await;
        events.request("GET", "/stay-events", &before).await;
        events.until(b"\r\n\r\n").await;
        let mut present = Client::connect(address(&control)).await;
        let reply = present.upgrade("/stay", &fields(&browser)).await;
        assert_eq!(reply.status, 101);
        if ends_at_once {
            // The user changes: all ids from before are over.
            browser.get("/login").await;
        } else {
            pass(61).await;
            browser.client = None;
        }
        let close = socket.next_frame().await;
        assert_eq!((close.opcode, close.code()), (test_support::CLOSE, 1012));
        assert!(events.chunk().await.is_empty(), "the last chunk");
        // Connections of the owner, and those opened by the present id, stay.
        for client in [&mut early, &mut present] {
            client.frame(test_support::PING, "there?").await;
            assert_eq!(client.next_frame().await.opcode, test_support::PONG);
        }
    }
}

#[tokio::test]
async fn an_id_from_before_the_login_is_worth_nothing_after_it() {
    let control = serve(|_| {}).await;
    for login in ["/login", "/login2"] {
        // An attacker that planted the id knows it.
        let mut attacker = Browser::new(address(&control));
        attacker.get("/keep?secret=planted").await;
        let planted = attacker.cookie();
        let mut victim = Browser::with(address(&control), "session", &planted);
        victim.get(login).await;
        assert_ne!(victim.cookie(), planted);
        assert!(
            victim
                .text("/look")
                .await
                .starts_with("planted Some(\"ann\")"),
            "{login}"
        );
        assert_eq!(attacker.text("/look").await, "none", "{login}");
        // A request of the victim in flight must not lose the login's cookie: it gets none.
        let in_flight = attacker.get("/use").await;
        assert!(in_flight.text().starts_with("true "));
        assert_eq!(in_flight.header("set-cookie"), None);
        let renews = attacker.get("/renew").await;
        assert_eq!((renews.status, renews.header("set-cookie")), (200, None));
        // Unless it logs in itself.
        attacker.get("/login").await;
        assert_ne!(attacker.cookie(), planted);
        assert!(attacker.text("/look").await.starts_with(" Some(\"ann\")"));
        pass(61).await;
        assert!(is_refused(address(&control), &planted).await);
    }
}

#[tokio::test]
async fn a_client_cannot_choose_its_id() {
    let control = serve(|_| {}).await;
    let elsewhere = serve(|server| {
        server.get_mut_server_config().session_keys = vec![[8; 32].into()];
    })
    .await;
    let unknown = serve(|_| {}).await;
    let mut foreign = Browser::new(address(&elsewhere));
    foreign.get("/use").await;
    assert!(
        is_refused(address(&control), &foreign.cookie()).await,
        "another key"
    );
    let mut restarted = Browser::new(address(&unknown));
    restarted.get("/use").await;
    assert!(
        is_refused(address(&control), &restarted.cookie()).await,
        "no such session"
    );
    let mut browser = Browser::new(address(&control));
    browser.get("/use").await;
    let id = browser
        .text("/look")
        .await
        .split(' ')
        .next_back()
        .unwrap()
        .to_owned();
    for made_up in [
        id.clone(),
        format!("{id}."),
        format!("{id}.1"),
        format!("{id}.1.{id}"),
        String::new(),
    ] {
        assert!(is_refused(address(&control), &made_up).await, "{made_up}");
    }
}

/// Tries each kind 1000 times; no try shows anything of another session.
#[tokio::test]
async fn a_thousand_false_ids_of_each_kind_are_refused() {
    const TRIES: usize = 1000;
    let control = serve(|server| {
        server.get_mut_server_config().session_ttl = Duration::from_secs(3600);
    })
    .await;
    let elsewhere = serve(|server| {
        server.get_mut_server_config().session_keys = vec![[9; 32].into()];
    })
    .await;
    let address = address(&control);
    let mut random = Random::new();
    let mut victim = Browser::new(address);
    victim.get("/keep?secret=victim").await;
    let cookie = victim.cookie();
    let mut prober = Browser::new(address);
    let mut refused = 0;
    // Tampered: a good one with one to three other characters, cut, or extended.
    let mut tries: Vec<String> = Vec::new();
    while tries.len() < TRIES {
        let mut tried = cookie.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(tried.len());
            tried.replace_range(at..=at, &random.text(1));
        }
        match random.below(8) {
            0 => tried.truncate(random.below(tried.len())),
            1 => tried.push_str(&random.text(1)),
            _ => {}
        }
        if tried != cookie {
            tries.push(tried);
        }
    }
    // Made up, with or without the right form.
    tries.extend((0..TRIES).map(|_| {
        format!(
            "{}.1{}.{}",
            random.text(22),
            700_000_000 + random.below(99),
            random.text(43)
        )
    }));
    for tried in &tries {
        prober.cookies.insert("session".to_owned(), tried.clone());
        assert_eq!(prober.text("/look").await, "none", "{tried}");
        refused += 1;
    }
    // Foreign: signed by another key.
    let mut foreign = Browser::new(test_support::address(&elsewhere));
    for _ in 0..TRIES {
        foreign.cookies.clear();
        foreign.get("/use").await;
        prober
            .cookies
            .insert("session".to_owned(), foreign.cookie());
        assert_eq!(prober.text("/look").await, "none");
        refused += 1;
    }
    // Replayed after its end, and expired without use.
    let mut expired = Vec::new();
    for _ in 0..TRIES {
        let mut browser = Browser::new(address);
        browser.client = prober.client.take();
        browser.get("/keep?secret=gone").await;
        let gone = browser.cookie();
        browser.get("/logout").await;
        assert!(
            browser.cookies.is_empty(),
            "the client is told to forget it"
        );
        browser.get("/keep?secret=old").await;
        expired.push(browser.cookie());
        prober.client = browser.client.take();
        prober.cookies.insert("session".to_owned(), gone);
        assert_eq!(prober.text("/look").await, "none");
        refused += 1;
    }
    pass(3601).await;
    prober.client = None;
    for old in expired {
        prober.cookies.insert("session".to_owned(), old);
        assert_eq!(prober.text("/look").await, "none");
        refused += 1;
    }
    assert_eq!(refused, 5 * TRIES);
}

/// A client never sees another client's session, whatever a crowd of clients does.
#[tokio::test]
async fn nothing_of_another_session_is_ever_visible() {
    let control = serve(|server| {
        // Sessions are evicted as well.
        server.get_mut_server_config().session_memory = 16 * 1024;
    })
    .await;
    let mut random = Random::new();
    let mut crowd: Vec<Browser> = (0..12).map(|_| Browser::new(address(&control))).collect();
    let mut past: Vec<Vec<String>> = vec![Vec::new(); crowd.len()];
    let mut seen = 0;
    for step in 0..6000 {
        let who = random.below(crowd.len());
        let browser = &mut crowd[who];
        match random.below(12) {
            0..3 => _ = browser.get(&format!("/keep?secret=of-{who}-{step}")).await,
            3 => _ = browser.get("/renew").await,
            4 => _ = browser.get("/login").await,
            5 => _ = browser.get("/logout").await,
            6 => _ = browser.get("/use").await,
            7 if !past[who].is_empty() => {
                // The request shows one of the client's cookies, of any time.
                let at = random.below(past[who].len());
                browser
                    .cookies
                    .insert("session".to_owned(), past[who][at].clone());
            }
            8 => browser.cookies.clear(),
            _ => {}
        }
        past[who].extend(browser.cookies.get("session").cloned());
        let looked = browser.text("/look").await;
        let secret = looked.split(' ').next().unwrap();
        let is_own = secret.starts_with(&format!("of-{who}-"));
        assert!(
            is_own || ["", "none"].contains(&secret),
            "{who} sees {secret}"
        );
        seen += usize::from(is_own);
    }
    assert!(seen > 500, "{seen}");
}

#[tokio::test]
async fn another_cookie_before_the_right_one_does_not_hide_it() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/keep?secret=mine").await;
    let cookie = browser.cookie();
    let mut tossed = Browser::new(address(&control));
    tossed.also = format!("cookie: session=x.1.y; session={cookie}\r\n");
    assert!(tossed.text("/look").await.starts_with("mine "));
}

#[tokio::test]
async fn a_destroyed_session_is_gone_and_a_new_one_has_nothing_of_it() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/keep?secret=old").await;
    let old = browser.cookie();
    let reply = browser.get("/restart").await;
    assert_eq!(reply.all("set-cookie").len(), 1);
    assert_ne!(browser.cookie(), old);
    assert!(browser.text("/look").await.starts_with("fresh "));
    assert!(is_refused(address(&control), &old).await);
    let reply = browser.get("/logout").await;
    assert!(reply.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(browser.text("/look").await, "none");
    // A session that one request began and destroyed never reaches the client.
    let mut fresh = Browser::new(address(&control));
    assert_eq!(fresh.get("/logout").await.header("set-cookie"), None);
}
