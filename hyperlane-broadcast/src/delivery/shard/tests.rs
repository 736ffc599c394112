use std::time::Duration;

use super::*;

#[test]
fn pauses_for_a_few_members_take_at_most_half_of_the_time() {
    let begin = Instant::now();
    let at = |millis| begin + Duration::from_millis(millis);
    let pause = |now, until, is_for_few| Pause {
        now: at(now),
        until: at(until),
        is_for_few,
    };
    let mut queue = ShardQueue::default();
    assert!(queue.pause(pause(0, 100, true)));
    assert_eq!(queue.paused_until, Some(at(100)));
    assert!(!queue.pause(pause(100, 190, true)));
    assert!(queue.pause(pause(110, 120, false)), "most of them need it");
    assert!(!queue.pause(pause(199, 290, true)));
    assert!(queue.pause(pause(200, 250, true)));
    assert!(!queue.pause(pause(299, 300, true)));
    assert!(queue.pause(pause(300, 301, true)));
}

#[test]
fn the_oldest_message_that_joins_need_is_known_as_they_come_and_go() {
    let mut queue = ShardQueue::default();
    let needs = [5, 9, 7, 7, 8, 3, 6];
    needs.iter().for_each(|need| queue.push_need(*need));
    for at in 0..needs.len() {
        let expected = needs[at..].iter().min();
        assert_eq!(queue.joins_need.front(), expected, "{at}");
        queue.pop_need(needs[at]);
    }
    assert!(queue.joins_need.is_empty());
}
