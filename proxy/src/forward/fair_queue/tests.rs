//! Turns, bounds, company and patience, on a queue without a proxy around it.

use proptest::{collection::vec, prelude::*};
use shared::{identity::Fingerprint, wire::submit::SubmittedMessage};
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use super::*;

const ALL: Bounds = Bounds { messages: 1000, bytes: 1000 };

/// With so many places, and so long to wait in them.
fn fair_queue(places: usize, longest: Duration, bounds: Bounds) -> Arc<FairQueue> {
    let config = config::Upstream {
        servers: vec!["https://localhost:1".parse().unwrap()],
        batch_messages: bounds.messages,
        batch_bytes: shared::config::ByteSize(bounds.bytes),
        waiting: places,
        waiting_time: shared::config::Span(longest),
        ..config::Upstream::default()
    };
    Arc::new(FairQueue::new(&config))
}

async fn collected(queue: &Arc<FairQueue>) -> String {
    texts(&queue.collect().await.unwrap().0)
}

/// Longer than any of these tests.
const LONG: Duration = Duration::from_mins(10);

fn waiting(client: &str, text: &str, bytes: usize) -> Waiting {
    waiting_since(client, text, bytes, Instant::now())
}

fn waiting_since(client: &str, text: &str, bytes: usize, since: Instant) -> Waiting {
    let message = SubmittedMessage {
        message_id: Uuid::now_v7(),
        client_id: client.parse().unwrap(),
        cert_fingerprint: Fingerprint::of_der(b"x"),
        request_id: Uuid::now_v7(),
        traceparent: None,
        sender_number: "+1234567890".into(),
        message_body: text.into(),
        metadata: None,
        routing_key: None,
        idempotency_key: None,
    };
    Waiting { message, bytes, since, deadline: since, reply: oneshot::channel().0 }
}

fn texts(batch: &[Waiting]) -> String {
    batch.iter().map(|waiting| waiting.message.message_body.as_str()).collect()
}

#[tokio::test]
async fn a_batch_takes_one_message_of_each_client_in_turn() {
    let queue = fair_queue(100, LONG, Bounds { messages: 4, bytes: 1000 });
    for (client, text) in [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4"), ("c", "5"), ("b", "6")] {
        queue.push(waiting(client, text, 1)).unwrap();
    }
    assert_eq!(collected(&queue).await, "1352");
    assert_eq!(collected(&queue).await, "64");
}

#[tokio::test]
async fn a_message_that_does_not_fit_is_the_first_of_the_next_batch() {
    let queue = fair_queue(100, LONG, ALL);
    for (text, bytes) in [("1", 600), ("2", 600), ("3", 5000), ("4", 1)] {
        queue.push(waiting("a", text, bytes)).unwrap();
    }
    for expected in ["1", "2", "3", "4"] {
        assert_eq!(collected(&queue).await, expected);
    }
}

#[test]
fn one_client_never_takes_the_last_place_of_the_others() {
    let queue = fair_queue(100, LONG, ALL);
    let taken_by = |client: &str| (0..100).filter(|_| queue.push(waiting(client, "x", 1)).is_ok()).count();
    assert_eq!([taken_by("a"), taken_by("b"), taken_by("c")], [50, 25, 13]);
    assert_eq!(fair_queue(1, LONG, ALL).push(waiting("a", "x", 1)), Ok(()));
}

#[tokio::test]
async fn a_closed_queue_is_emptied_and_then_ends() {
    let queue = fair_queue(100, LONG, ALL);
    queue.push(waiting("a", "1", 1)).unwrap();
    queue.close();
    assert_eq!(collected(&queue).await, "1");
    assert!(queue.collect().await.is_none());
}

#[tokio::test]
async fn beside_a_batch_on_the_way_another_waits_for_company() {
    let queue = fair_queue(100, LONG, ALL);
    for text in ["1", "2"] {
        queue.push(waiting("a", text, 1)).unwrap();
    }
    let before = Instant::now();
    let (first, place) = queue.collect().await.unwrap();
    assert_eq!(texts(&first), "12");
    queue.push(waiting("a", "3", 1)).unwrap();
    assert!(!queue.lock().is_enough(ALL, before));
    drop(place);
    assert_eq!(collected(&queue).await, "3", "one was back");
}

#[test]
fn a_burst_may_wait_and_what_waited_too_long_is_refused_in_its_order() {
    let queue = fair_queue(100, Duration::from_secs(2), ALL);
    let begin = Instant::now();
    let at = |millis| begin + Duration::from_millis(millis);
    for (client, text, millis) in [("a", "1", 0), ("a", "2", 500), ("b", "3", 1000)] {
        queue.push(waiting_since(client, text, 1, at(millis))).unwrap();
    }
    assert_eq!(texts(&queue.lock().take_late(at(2000))), "");
    assert_eq!(texts(&queue.lock().take_late(at(2001))), "1");
    let (batch, late) = queue.lock().take(ALL, at(2600));
    assert_eq!((texts(&batch), texts(&late)), ("3".to_owned(), "2".to_owned()));
    assert_eq!(queue.lock().waiting, 0);
    assert!(queue.lock().turns.is_empty() && queue.lock().of_clients.is_empty());
}

#[test]
fn in_a_queue_that_stands_a_message_may_wait_a_twentieth_of_the_time() {
    let queue = fair_queue(1000, Duration::from_secs(2), ALL);
    let begin = Instant::now();
    let at = |millis| begin + Duration::from_millis(millis);
    // each client sends every 50 ms and one message leaves: more comes in than goes out, as in an overload
    let one = Bounds { messages: 1, bytes: 1000 };
    let (mut late_before, mut sent, mut longest) = (0, 0, Duration::ZERO);
    for millis in (0..60_000).step_by(50) {
        for client in ["a", "b", "c"] {
            let _ = queue.push(waiting_since(client, "x", 1, at(millis)));
        }
        let (batch, late) = queue.lock().take(one, at(millis + 10));
        if millis < 2000 {
            late_before += late.len();
        } else if millis > 4000 {
            sent += batch.len();
            let waited = batch.iter().map(|sent| at(millis + 10) - sent.since);
            longest = waited.max().unwrap_or_default().max(longest);
        }
    }
    assert_eq!(late_before, 0, "a burst");
    assert!((Duration::from_millis(1)..=queue.patience()).contains(&longest), "{longest:?}");
    assert_eq!(sent, 1119, "every chance to send is used");
}

#[test]
fn whoever_comes_after_one_that_waited_too_long_is_refused_at_once_and_nobody_else() {
    let queue = fair_queue(1000, Duration::from_secs(2), ALL);
    let begin = Instant::now();
    let at = |millis| begin + Duration::from_millis(millis);
    queue.push(waiting_since("a", "1", 1, at(0))).unwrap();
    queue.push(waiting_since("a", "2", 1, at(2000))).unwrap();
    // the queue has not been empty for more than two seconds
    let push = |client| queue.push(waiting_since(client, "3", 1, at(2050)));
    assert_eq!([push("a"), push("b")], [Err(NoPlace::Standing), Ok(())]);
    assert_eq!(queue.lock().take(ALL, at(2060)).0.len(), 2);
    // when nothing had to be refused for two seconds, it is a burst again that comes
    for (millis, patience) in [(2070, 100), (4080, 2000)] {
        assert_eq!(queue.push(waiting_since("a", "4", 1, at(millis))), Ok(()));
        assert_eq!(texts(&queue.lock().take_late(at(millis + patience))), "");
        assert_eq!(queue.lock().take(ALL, at(millis + patience)).0.len(), 1, "{millis}");
    }
}

#[tokio::test]
async fn whoever_waited_too_long_is_told_so_although_no_batch_leaves() {
    let queue = fair_queue(100, Duration::from_millis(100), ALL);
    let (reply, answer) = oneshot::channel();
    let since = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    queue.push(Waiting { reply, ..waiting_since("a", "1", 1, since) }).unwrap();
    assert!(queue.look_after());
    assert_eq!(answer.await.unwrap().unwrap_err(), TooLate);
    queue.close();
    assert!(!queue.look_after());
}

proptest! {
    /// Steps: a message of a client and of so many bytes comes, or a batch leaves.
    #[test]
    fn no_client_starves_whatever_the_others_send(
        steps in vec(prop_oneof![4 => (0..5_usize, 1..60_usize).prop_map(Some), 1 => Just(None)], 1..100),
        messages in 1..8_usize,
    ) {
        const CLIENTS: [&str; 5] = ["a", "b", "c", "d", "e"];
        let bounds = Bounds { messages, bytes: 100 };
        let queue = fair_queue(1000, LONG, bounds);
        // of each client what it has waiting, oldest first: the text, and how many of others may leave before it
        let mut expected: HashMap<&str, VecDeque<(String, usize)>> = HashMap::new();
        let rest = vec![None; steps.len()];
        for (number, step) in steps.into_iter().chain(rest).enumerate() {
            if let Some((client, bytes)) = step {
                let (client, text) = (CLIENTS[client], number.to_string());
                queue.push(waiting(client, &text, bytes)).unwrap();
                expected.entry(client).or_default().push_back((text, CLIENTS.len() - 1));
                continue;
            }
            let (batch, late) = queue.lock().take(bounds, Instant::now());
            prop_assert!(late.is_empty() && batch.len() <= messages);
            let bytes: usize = batch.iter().map(|waiting| waiting.bytes).sum();
            prop_assert!(bytes <= 100, "{} bytes", bytes);
            for sent in &batch {
                let client = sent.message.client_id.as_str();
                let (text, _) = expected.get_mut(client).and_then(VecDeque::pop_front).unwrap();
                prop_assert_eq!(&text, &sent.message.message_body, "each client's messages leave in their order");
                for (other, queue) in &mut expected {
                    let Some((text, before)) = queue.front_mut().filter(|_| *other != client) else { continue };
                    prop_assert!(*before > 0, "{} of {} waits for others a second time", text, other);
                    *before -= 1;
                }
            }
        }
        prop_assert!(expected.values().all(VecDeque::is_empty), "everything leaves");
        prop_assert_eq!(queue.lock().waiting, 0);
    }
}
