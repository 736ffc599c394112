use super::{eviction::NEWCOMERS_PART, *};

const DAY: u64 = 24 * 60 * 60;

fn table(limit: usize) -> Arc<Table> {
    let table = Arc::new(Table::default());
    table.configure(limit, 7 * DAY, 30 * DAY, false);
    table
}

fn fields() -> Arc<SessionFields> {
    SessionFields::new(false, "Lax", false, "")
}

fn begin(table: &Arc<Table>) -> Arc<SessionEntry> {
    let entry = SessionEntry::new(table, SessionId::random().unwrap(), table.now());
    table.insert(&entry);
    entry
}

fn is_there(table: &Table, entry: &SessionEntry) -> bool {
    table.find(&entry.id()).is_some()
}

#[test]
fn a_flood_stays_within_the_memory_and_live_sessions_stay() {
    let limit = 4 * 1024 * 1024;
    let table = table(limit);
    let live: Vec<_> = (0..100).map(|_| begin(&table)).collect();
    let kept: Vec<_> = live.iter().map(SessionEntry::keep_alive).collect();
    let used = begin(&table);
    let unused = begin(&table);
    for number in 0..100_000 {
        begin(&table);
        if number % 1000 == 0 {
            assert!(is_there(&table, &used));
        }
    }
    let (sessions, bytes) = table.usage();
    assert!(bytes <= limit, "{bytes}");
    assert!(sessions > 1000, "{sessions}");
    assert!(live.iter().all(|entry| is_there(&table, entry)));
    assert!(!is_there(&table, &unused));
    drop(kept);
    for _ in 0..100_000 {
        begin(&table);
    }
    assert!(
        !live.iter().any(|entry| is_there(&table, entry)),
        "as all others"
    );
    assert!(table.usage().1 <= limit);
}

#[test]
fn a_user_can_be_removed_without_any_room() {
    let table = table(512 * 1024);
    // The session is not in the table, like a session that lasts for its request only.
    let entry = SessionEntry::new(&table, SessionId::random().unwrap(), table.now());
    let user = Some(Arc::from("ann"));
    table.set_user(&entry, user.clone(), false, None).unwrap();
    table.configure(1, 7 * DAY, 30 * DAY, false);
    assert!(table.set_user(&entry, user, false, None).is_err());
    table.set_user(&entry, None, false, None).unwrap();
    assert_eq!(entry.user(), None);
}

#[test]
fn a_call_that_changes_nothing_leaves_nothing_to_save() {
    let table = table(512 * 1024);
    let entry = login(&table, "ann");
    let outside = SessionEntry::new(&table, SessionId::random().unwrap(), table.now());
    let ann = Some(Arc::from("ann"));
    table.set_user(&outside, ann.clone(), true, None).unwrap();
    for entry in [&entry, &outside] {
        assert!(entry.state().unsaved);
        entry.state().unsaved = false;
        let version = entry.state().version;
        table.set_user(entry, ann.clone(), true, None).unwrap();
        // The request has an id that the session does not have.
        let by = (SessionId::random().unwrap(), &fields());
        let refused = table.set_user(entry, Some("bob".into()), true, Some(by));
        assert!(matches!(refused, Err(SessionError::Former)));
        assert!(!entry.state().unsaved);
        assert_eq!(entry.state().version, version);
        table.set_user(entry, None, true, None).unwrap();
        assert!(entry.state().unsaved);
    }
}

#[test]
fn only_a_full_memory_is_logged_as_full() {
    let table = table(64 * 1024);
    let is_logged = || table.full_is_logged.load(Ordering::Relaxed);
    let entry = begin(&table);
    assert!(!table.insert(&entry));
    let same_id = SessionEntry::new(&table, entry.id(), table.now());
    assert!(!table.insert(&same_id));
    assert!(!is_logged());
    let kept: Vec<_> = (0..1000).map(|_| begin(&table).keep_alive()).collect();
    assert!(is_logged());
    drop(kept);
}

#[test]
fn where_all_are_live_nothing_is_evicted() {
    let table = table(64 * 1024);
    let mut kept = Vec::new();
    let turned_away = loop {
        let entry = begin(&table);
        if !is_there(&table, &entry) {
            break entry;
        }
        kept.push(entry.keep_alive());
    };
    assert!(kept.len() > 50);
    // The rejected session is still usable, and takes no room from other sessions.
    assert!(
        table
            .set_user(&turned_away, Some("ann".into()), false, None)
            .is_ok()
    );
    assert!(table.of_user("ann").is_empty());
    // The entry takes the room of one session. Its user counts as much as another session.
    kept.truncate(kept.len() - 2);
    assert!(table.insert(&turned_away));
    assert!(is_there(&table, &turned_away));
    assert_eq!(table.usage().0, table.all().len());
}

fn login(table: &Arc<Table>, user: &str) -> Arc<SessionEntry> {
    let entry = begin(table);
    table
        .set_user(&entry, Some(user.into()), true, None)
        .unwrap();
    entry
}

fn count(entries: &[Arc<SessionEntry>]) -> usize {
    entries
        .iter()
        .filter(|entry| entry.slot_key() != NO_SLOT)
        .count()
}

#[test]
fn a_flood_of_newcomers_logs_nobody_out() {
    let limit = 512 * 1024;
    let table = table(limit);
    let users: Vec<_> = (0..300).map(|_| login(&table, "ann")).collect();
    let anonymous: Vec<_> = (0..50).map(|_| begin(&table)).collect();
    for number in 0..200_000 {
        let entry = begin(&table);
        assert!(is_there(&table, &entry), "a newcomer always finds room");
        // Some newcomers (sessions without a user) come back, grow, or end.
        match number % 1000 {
            0 => _ = table.find(&entry.id()),
            1 => assert!(table.charge(&entry, 4000)),
            2 => table.destroy(&entry),
            _ => {}
        }
        assert!(table.usage().1 <= limit);
    }
    assert_eq!(count(&users), users.len());
    assert_eq!(count(&anonymous), 0, "the least recently used");
    assert_eq!(table.of_user("ann").len(), users.len());
}

#[test]
fn a_flood_of_logouts_logs_no_others_out() {
    let limit = 512 * 1024;
    let table = table(limit);
    // More users log in than fit. The newcomers then take their share from the users.
    let users: Vec<_> = (0..5000).map(|_| login(&table, "ann")).collect();
    for _ in 0..5000 {
        begin(&table);
    }
    let before = count(&users);
    assert!(before > 300, "{before}");
    for _ in 0..20_000 {
        let entry = begin(&table);
        table.renew(&entry, entry.id(), &fields()).unwrap();
        table.destroy(&entry);
    }
    let lost = before - count(&users);
    assert!(lost * 40 <= before, "{lost} of {before}");
    assert!(table.usage().1 <= limit);
}

#[test]
fn newcomers_have_a_fifth_and_users_the_rest() {
    let limit = 512 * 1024;
    let table = table(limit);
    // More users log in than fit, so they evict one another.
    let users: Vec<_> = (0..5000)
        .map(|number| login(&table, &format!("user {number}")))
        .collect();
    assert!(table.usage().1 <= limit);
    let left = count(&users);
    assert!(left > 200, "{left}");
    let oldest = users.len() - left;
    assert!(
        users[..oldest]
            .iter()
            .all(|user| user.slot_key() == NO_SLOT)
    );
    assert_eq!(table.of_user("user 0").len(), 0);
    // Newcomers take a fifth of the memory from the users, and no more.
    let newcomers: Vec<_> = (0..5000).map(|_| begin(&table)).collect();
    let bytes = {
        let index = table.lock();
        (index.newcomers.bytes, index.known.bytes)
    };
    let fifth = limit / NEWCOMERS_PART;
    assert!(
        bytes.0 <= fifth + 2 * ENTRY_BYTES && bytes.0 + 2 * ENTRY_BYTES > fifth,
        "{bytes:?}"
    );
    assert!(bytes.1 + fifth + 2 * ENTRY_BYTES > limit, "{bytes:?}");
    // Newcomers keep their fifth during any number of logins. The most recently used newcomers stay.
    let newest = &newcomers[newcomers.len() - 20..];
    for number in 0..5000 {
        login(&table, &format!("later {number}"));
        newest.iter().for_each(|entry| _ = table.find(&entry.id()));
        assert_eq!(count(newest), 20);
    }
    assert!(table.usage().1 <= limit);
}

#[test]
fn one_who_logs_out_is_a_newcomer_again() {
    let table = table(256 * 1024);
    let entries: Vec<_> = (0..3).map(|_| login(&table, "ann")).collect();
    let kept = entries[1].keep_alive();
    for entry in &entries[..2] {
        table.set_user(entry, None, true, None).unwrap();
    }
    for _ in 0..2000 {
        begin(&table);
    }
    let is_left = |at: usize| entries[at].slot_key() != NO_SLOT;
    assert!(!is_left(0) && is_left(1), "one has a channel in use");
    assert!(is_left(2));
    table
        .set_user(&entries[1], Some("bob".into()), true, None)
        .unwrap();
    drop(kept);
    for _ in 0..2000 {
        begin(&table);
    }
    assert!(is_left(1) && is_left(2));
    for entry in &entries {
        table.destroy(entry);
    }
    assert_eq!(table.lock().known.bytes, 0);
    assert_eq!(table.lock().known.oldest, None);
}

#[test]
fn a_newcomer_takes_nothing_from_users_beyond_the_fifth() {
    let limit = 256 * 1024;
    let table = table(limit);
    let mut users = Vec::new();
    while users.len() < 2000 && table.usage().1 + 4 * ENTRY_BYTES < limit {
        users.push(login(&table, "ann"));
    }
    let entry = begin(&table);
    let grow = |bytes: usize| {
        let value: Arc<str> = "x".repeat(bytes).into();
        let set = table.change(&entry, bytes + 256, |state| {
            state.set_value("key".into(), value)
        });
        set.map(drop)
    };
    let before = count(&users);
    assert!(matches!(grow(limit / 2), Err(SessionError::Full)));
    // The session is still a newcomer, so it may take from the users only what the fifth of the newcomers allows.
    assert!(count(&users) >= before * 3 / 4);
    grow(limit / 10).unwrap();
    // The session now has a user, so it may use the room of the users.
    table
        .set_user(&entry, Some("bob".into()), true, None)
        .unwrap();
    grow(limit / 2).unwrap();
    assert!(table.usage().1 <= limit);
    assert_ne!(entry.slot_key(), NO_SLOT);
}

#[test]
fn however_many_expire_at_once_others_wait_for_one_slice_at_most() {
    let table = table(64 * 1024 * 1024);
    let entries: Vec<_> = (0..4 * SLICE).map(|_| begin(&table)).collect();
    // The test sets the last use of all sessions to 1970, so all are expired.
    table
        .lock()
        .slots
        .iter_mut()
        .for_each(|(_, slot)| slot.used = 0);
    let before = table.usage().0;
    let fresh = begin(&table);
    let evicted = before + 1 - table.usage().0;
    assert!((1..=SLICE).contains(&evicted), "{evicted}");
    while count(&entries) > 0 {
        begin(&table);
    }
    assert!(is_there(&table, &fresh));
    // `all` and `of_user` visit one slice of sessions at a time, but they return every session.
    assert_eq!(table.all().len(), table.usage().0);
    let users: Vec<_> = (0..3 * SLICE).map(|_| login(&table, "ann")).collect();
    let _other = login(&table, "bob");
    assert_eq!(table.of_user("ann").len(), users.len());
}

#[test]
fn values_count_and_make_room_for_themselves() {
    let table = table(64 * 1024);
    let others: Vec<_> = (0..50).map(|_| begin(&table)).collect();
    let entry = begin(&table);
    let grow = |bytes: usize| {
        let value = "x".repeat(bytes).into();
        let set = table.change(&entry, bytes + 256, |state| {
            state.set_value("key".into(), value)
        });
        set.map(drop)
    };
    grow(56 * 1024).unwrap();
    assert!(table.usage().1 <= 64 * 1024);
    assert!(!is_there(&table, &others[0]) && is_there(&table, &entry));
    assert!(matches!(grow(80 * 1024), Err(SessionError::Full)));
    grow(10).unwrap();
    assert!(table.usage().1 < 16 * 1024, "{:?}", table.usage());
    table.destroy(&entry);
    others.iter().for_each(|other| table.destroy(other));
    assert_eq!(table.usage().0, 0);
}

#[test]
fn users_are_found_through_all_changes() {
    let table = table(1024 * 1024);
    let entries: Vec<_> = (0..3).map(|_| begin(&table)).collect();
    let count = |user: &str| table.of_user(user).len();
    for entry in &entries {
        table
            .set_user(entry, Some("ann".into()), true, None)
            .unwrap();
    }
    assert_eq!((count("ann"), count("an"), count("anna")), (3, 0, 0));
    table
        .renew(&entries[0], entries[0].id(), &fields())
        .unwrap();
    assert_eq!(count("ann"), 3);
    table
        .set_user(&entries[0], Some("bob".into()), true, None)
        .unwrap();
    table.set_user(&entries[1], None, true, None).unwrap();
    assert_eq!((count("ann"), count("bob")), (1, 1));
    table.destroy(&entries[2]);
    assert_eq!((count("ann"), table.all().len()), (0, 2));
}

#[test]
fn renewing_without_end_takes_no_memory() {
    let table = table(1024 * 1024);
    let entry = begin(&table);
    let mut ids = vec![entry.id()];
    for _ in 0..1000 {
        ids.push(table.renew(&entry, entry.id(), &fields()).unwrap().unwrap());
    }
    let found = ids.iter().filter(|id| table.find(id).is_some()).count();
    assert_eq!(found, MAX_FORMER_IDS + 1);
    assert!(Arc::ptr_eq(&table.find(&ids[1000]).unwrap(), &entry));
    // Each login ends the previous id. The table remembers ended ids within a limit of memory.
    for _ in 0..100_000 {
        table
            .set_user(&entry, Some("ann".into()), true, None)
            .unwrap();
        let before = entry.id();
        table.renew(&entry, before, &fields()).unwrap();
        assert!(table.find(&before).is_none());
        table.set_user(&entry, None, true, None).unwrap();
    }
    begin(&table);
    assert!(table.usage().1 <= 1024 * 1024, "{:?}", table.usage());
}

#[tokio::test(start_paused = true)]
async fn time_ends_what_is_not_used_and_what_is_too_old() {
    let table = table(1024 * 1024);
    let pass = |days: u64| tokio::time::advance(Duration::from_secs(days * DAY));
    let (unused, used, live) = (begin(&table), begin(&table), begin(&table));
    let kept = live.keep_alive();
    for _ in 0..4 {
        pass(6).await;
        assert!(is_there(&table, &used));
    }
    assert!(!is_there(&table, &unused));
    pass(5).await;
    assert!(is_there(&table, &live), "while it is in use it is used");
    pass(1).await;
    assert!(
        !is_there(&table, &used) && !is_there(&table, &live),
        "30 days"
    );
    drop(kept);
    assert_eq!(table.usage().0, 0);
    // A new session evicts the sessions that have expired.
    let (old, older) = (begin(&table), begin(&table));
    pass(8).await;
    begin(&table);
    assert_eq!(
        (table.usage().0, old.slot_key(), older.slot_key()),
        (1, NO_SLOT, NO_SLOT)
    );
}
