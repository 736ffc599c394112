//! Stores of the program.

use super::*;

#[tokio::test]
async fn a_store_is_asked_only_for_cookies_and_told_only_of_changes() {
    let store = Mock::default();
    let control = serve(|server| _ = server.session_store(store.clone())).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/look").await;
    assert!(store.calls().is_empty(), "no cookie, no call");
    browser.get("/keep?secret=s").await;
    assert_eq!(store.calls(), ["save"]);
    assert!(browser.text("/look").await.starts_with("s "));
    assert_eq!(store.calls(), ["load"], "nothing changed");
    browser.get("/look?token=x").await;
    assert_eq!(store.calls(), ["load"]);
    Browser::with(address(&control), "session", "x.1.y")
        .get("/use")
        .await;
    assert_eq!(
        store.calls(),
        ["save"],
        "an id without a valid signature is not asked for"
    );
    browser.get("/renew").await;
    assert_eq!(
        store.calls(),
        ["load", "save", "save"],
        "the new id, and where the former leads"
    );
    browser.get("/logout").await;
    assert_eq!(store.calls(), ["load", "delete", "delete"]);
    for path in ["/events", "/macro/events", "/socket", "/macro/socket"] {
        let mut browser = Browser::new(address(&control));
        browser.also = HANDSHAKE.to_owned();
        browser.get(path).await;
        assert_eq!(store.calls(), ["save"], "{path}: before its head");
    }
}

/// A store that takes its time for one session.
#[derive(Clone)]
struct Hesitant {
    store: Mock,
    slow: Arc<Mutex<Option<String>>>,
    may_save: Arc<tokio::sync::Semaphore>,
}

impl SessionStore for Hesitant {
    async fn load(&self, id: &SessionId) -> io::Result<Option<SessionData>> {
        SessionStore::load(&self.store, id).await
    }

    async fn save(&self, id: &SessionId, data: &SessionData, ttl: Duration) -> io::Result<()> {
        let is_slow = *self.slow.lock().unwrap() == Some(id.encode());
        if is_slow {
            self.may_save.acquire().await.unwrap().forget();
        }
        SessionStore::save(&self.store, id, data, ttl).await
    }

    async fn delete(&self, id: &SessionId) -> io::Result<()> {
        SessionStore::delete(&self.store, id).await
    }
}

#[tokio::test]
async fn a_store_that_is_slow_for_one_session_holds_up_no_other() {
    let store = Hesitant {
        store: Mock::default(),
        slow: Arc::default(),
        may_save: Arc::new(tokio::sync::Semaphore::new(0)),
    };
    let control = serve(|server| _ = server.session_store(store.clone())).await;
    let mut slow = Browser::new(address(&control));
    slow.get("/count").await;
    let id = slow.cookie().split('.').next().unwrap().to_owned();
    *store.slow.lock().unwrap() = Some(id);
    let waiting = tokio::spawn(async move { slow.text("/count").await });
    let others = async {
        for _ in 0..100 {
            let mut other = Browser::new(address(&control));
            for count in ["1", "2"] {
                assert_eq!(other.text("/count").await, count);
            }
        }
    };
    tokio::time::timeout(test_support::PATIENCE, others)
        .await
        .unwrap();
    store.may_save.add_permits(1);
    assert_eq!(waiting.await.unwrap(), "2");
}

#[tokio::test]
async fn servers_with_one_store_share_sessions_and_their_ends() {
    let store = Mock::default();
    let one = serve(|server| _ = server.session_store(store.clone())).await;
    let two = serve(|server| _ = server.session_store(store.clone())).await;
    let mut browser = Browser::new(address(&one));
    let mut other = Browser::new(address(&two));
    browser.get("/count").await;
    other.cookies = browser.cookies.clone();
    assert_eq!(other.text("/count").await, "2");
    assert_eq!(browser.text("/count").await, "3");
    // The former id is good elsewhere, too; the one from before the login is not.
    other.get("/renew").await;
    assert_eq!(browser.text("/count").await, "4");
    browser.cookies = other.cookies.clone();
    browser.get("/login").await;
    assert_eq!(other.text("/look").await, "none");
    other.cookies = browser.cookies.clone();
    assert!(other.text("/look").await.contains("Some(\"ann\")"));
    let cookie = other.cookie();
    other.get("/logout").await;
    assert!(is_refused(address(&one), &cookie).await);
    assert!(is_refused(address(&two), &cookie).await);
}

#[tokio::test]
async fn an_error_of_the_store_is_answered_with_503_and_loses_nothing() {
    let store = Mock::default();
    answers_503_meanwhile(&store, &store.fails).await;
}

#[tokio::test]
async fn a_panic_of_the_store_is_an_error_of_the_store() {
    let store = Mock::default();
    answers_503_meanwhile(&store, &store.panics).await;
}

async fn answers_503_meanwhile(store: &Mock, fails: &AtomicBool) {
    let control = serve(|server| _ = server.session_store(store.clone())).await;
    let mut browser = Browser::new(address(&control));
    browser.get("/count").await;
    fails.store(true, Ordering::Release);
    let reply = browser.get("/count").await;
    assert_eq!((reply.status, reply.all("set-cookie").len()), (503, 0));
    // An id that the store does not have is not handed out.
    let mut fresh = Browser::new(address(&control));
    let reply = fresh.get("/count").await;
    assert_eq!((reply.status, reply.all("set-cookie").len()), (503, 0));
    // Without a session the store is not asked.
    assert_eq!(
        Browser::new(address(&control)).get("/look").await.status,
        200
    );
    fails.store(false, Ordering::Release);
    assert_eq!(browser.text("/count").await, "2", "on the same connection");
}
