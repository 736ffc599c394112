//! Floods of sessions, and the memory that they may take.

use super::*;

#[tokio::test]
async fn a_flood_of_sessions_drives_out_those_used_least_recently() {
    let control = serve(|server| {
        server.get_mut_server_config().session_memory = 64 * 1024;
    })
    .await;
    let mut idle = Browser::new(address(&control));
    idle.get("/keep?secret=idle").await;
    let mut busy = Browser::new(address(&control));
    busy.get("/keep?secret=busy").await;
    let mut flood = Browser::new(address(&control));
    for _ in 0..1000 {
        flood.cookies.clear();
        flood.get("/use").await;
        assert!(busy.text("/look").await.starts_with("busy "));
    }
    assert_eq!(idle.text("/look").await, "none");
}

#[tokio::test]
async fn a_flood_of_requests_during_a_login_does_not_undo_it() {
    let _turn = HELD.lock().await;
    let control = serve(|server| {
        server.get_mut_server_config().session_memory = 64 * 1024;
    })
    .await;
    let mut user = Browser::new(address(&control));
    let login = tokio::spawn(async move {
        user.get("/login-late").await;
        user
    });
    HERE.notified().await;
    let mut flood = Browser::new(address(&control));
    for _ in 0..500 {
        flood.cookies.clear();
        flood.get("/use").await;
    }
    GO_ON.notify_one();
    let mut user = login.await.unwrap();
    assert!(user.text("/look").await.contains("Some(\"ann\")"));
}

#[tokio::test]
async fn a_flood_of_requests_without_a_cookie_logs_no_user_out() {
    let control = serve(|server| {
        server.get_mut_server_config().session_memory = 64 * 1024;
    })
    .await;
    let mut users: Vec<Browser> = Vec::new();
    for _ in 0..10 {
        let mut user = Browser::new(address(&control));
        user.get("/login").await;
        users.push(user);
    }
    let mut flood = Browser::new(address(&control));
    for _ in 0..2000 {
        flood.cookies.clear();
        let reply = flood.get("/count").await;
        assert_eq!(reply.all("set-cookie").len(), 1);
        // Each client has a session that lasts.
        assert_eq!(flood.text("/count").await, "2");
    }
    for user in &mut users {
        assert!(user.text("/look").await.contains("Some(\"ann\")"));
    }
}

#[tokio::test]
async fn first_requests_at_once_share_the_session_that_the_document_began() {
    let control = serve(|_| {}).await;
    let address = address(&control);
    let at_once = async |cookie: Option<String>| {
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let mut browser = match &cookie {
                Some(cookie) => Browser::with(address, "session", cookie),
                None => Browser::new(address),
            };
            requests.spawn(async move { browser.get("/use").await });
        }
        let replies = requests.join_all().await;
        let ids = replies
            .iter()
            .map(|reply| reply.text().rsplit(' ').next().unwrap().to_owned());
        let ids: std::collections::HashSet<_> = ids.collect();
        let cookies = replies
            .iter()
            .filter(|reply| reply.header("set-cookie").is_some());
        (ids.len(), cookies.count())
    };
    // The server cannot know that they are one client's: see Limits in docs/sessions.md.
    assert_eq!(at_once(None).await, (6, 6));
    // The page's own request goes before all that the page asks for.
    let mut page = Browser::new(address);
    page.get("/use").await;
    assert_eq!(at_once(Some(page.cookie())).await, (1, 0));
}
