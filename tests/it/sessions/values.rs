//! Values of a session.

use super::*;

#[tokio::test]
async fn values_keep_their_types_from_request_to_request() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    assert_eq!(browser.text("/wrong").await, "Some([1, 2]) None true None");
    for count in ["1", "2", "3"] {
        assert_eq!(browser.text("/count").await, count);
    }
    browser.get("/keep?secret=a").await;
    assert_eq!(browser.text("/forget").await, "true");
    assert_eq!(browser.text("/forget").await, "false");
    assert_eq!(browser.text("/argument").await, "false");
    assert_eq!(
        Browser::new(address(&control)).text("/argument").await,
        "true"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn code_of_the_program_may_ask_the_session_that_it_reads() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    let read = tokio::time::timeout(test_support::PATIENCE, browser.text("/read-nosy"));
    assert_eq!(read.await.unwrap(), "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_takes_long_to_read_holds_up_nothing() {
    const READERS: u32 = 3;
    let mut channels = None;
    let control = serve(|server| channels = Some(server.channels())).await;
    let channels = channels.unwrap();
    let address = address(&control);
    let mut browser = Browser::new(address);
    browser.get("/keep-big").await;
    let cookie = browser.cookie();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..READERS {
        let mut reader = Browser::with(address, "session", &cookie);
        readers.spawn(async move { reader.text("/read-slow").await });
    }
    let reading = READS.acquire_many(READERS);
    _ = tokio::time::timeout(test_support::PATIENCE, reading)
        .await
        .unwrap()
        .unwrap();
    // Others use the session itself, a new one, and everything that looks at all sessions.
    let meanwhile = async {
        let mut other = Browser::with(address, "session", &cookie);
        for path in ["/keep?secret=s", "/look", "/renew", "/login", "/count"] {
            assert_eq!(other.get(path).await.status, 200, "{path}");
        }
        let mut stranger = Browser::new(address);
        for count in ["1", "2"] {
            assert_eq!(stranger.text("/count").await, count);
        }
        assert_eq!(channels.all().len(), 2);
        assert_eq!(channels.user("ann").len(), 1);
        stranger.get("/logout").await;
    };
    let done = tokio::time::timeout(test_support::PATIENCE, meanwhile).await;
    *MAY_READ.0.lock().unwrap() = true;
    MAY_READ.1.notify_all();
    done.unwrap();
    assert!(readers.join_all().await.iter().all(|read| read == "true"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_session_at_once_share_it() {
    let control = serve(|_| {}).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/use").await;
    let address = address(&control);
    let cookie = browser.cookie();
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let mut other = Browser::with(address, "session", &cookie);
            tokio::spawn(async move {
                let reply = other.get(&format!("/keep?secret={number}")).await;
                assert_eq!(reply.header("set-cookie"), None);
                other.text("/look").await
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().contains(" None "));
    }
    assert_ne!(browser.text("/look").await, "none");
}
