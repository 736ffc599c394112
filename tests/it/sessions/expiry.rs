//! Sessions and keys that expire.

use super::*;

#[tokio::test]
async fn a_session_expires_unused_and_by_its_age() {
    let control = serve(|server| {
        let config = server.get_mut_server_config();
        config.session_ttl = Duration::from_secs(100);
        config.session_max_age = Duration::from_secs(250);
    })
    .await;
    let mut unused = Browser::new(address(&control));
    unused.get("/keep?secret=u").await;
    let mut used = Browser::new(address(&control));
    used.get("/keep?secret=v").await;
    let mut told = 0;
    for _ in 0..4 {
        pass(60).await;
        (used.client, unused.client) = (None, None);
        let reply = used.get("/look").await;
        assert!(reply.text().starts_with("v "), "used within its time");
        told += reply.all("set-cookie").len();
    }
    assert_eq!(told, 4, "more than half of the time had passed each time");
    assert_eq!(unused.text("/look").await, "none");
    pass(20).await;
    used.client = None;
    assert_eq!(used.text("/look").await, "none", "too old, though used");
}

#[tokio::test]
async fn keys_are_rotated_without_losing_sessions() {
    // The sessions of one process are in one memory: the store stands for it.
    let store = Mock::default();
    let with = |keys: Vec<[u8; 32]>| {
        let store = store.clone();
        async move {
            serve(|server| {
                server.session_store(store);
                server.get_mut_server_config().session_keys =
                    keys.into_iter().map(SessionKey::from).collect();
            })
            .await
        }
    };
    let before = with(vec![[1; 32]]).await;
    let both = with(vec![[2; 32], [1; 32]]).await;
    let after = with(vec![[2; 32]]).await;
    let mut browser = Browser::new(address(&before));
    browser.get("/keep?secret=k").await;
    let old = browser.cookie();
    browser.address = address(&both);
    browser.client = None;
    let reply = browser.get("/look").await;
    assert!(reply.text().starts_with("k "));
    assert_eq!(reply.all("set-cookie").len(), 1, "signed anew");
    browser.address = address(&after);
    browser.client = None;
    assert!(browser.text("/look").await.starts_with("k "));
    assert!(is_refused(address(&after), &old).await);
}
