//! A message that is delivered again is not written again, whether its line is recent or old.

use worker::sink::Outcome::{AlreadyThere, Written};

use crate::support::{Directory, deliver, job, jobs, repeats};

#[tokio::test]
async fn a_repeat_within_the_window_is_not_written_again() {
    let directory = Directory::new();
    let sink = directory.open(10);
    deliver(&sink, jobs(0..5)).await;
    assert_eq!(deliver(&sink, repeats([4, 5, 0])).await, [AlreadyThere, Written, AlreadyThere]);
    // The window counts for a first attempt too: another job may carry the same message.
    assert_eq!(deliver(&sink, jobs([3])).await, [AlreadyThere]);
    assert_eq!(directory.numbers(), [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_repeat_beyond_the_window_is_found_in_the_file() {
    let directory = Directory::new();
    let sink = directory.open(3);
    for batch in 0..10 {
        deliver(&sink, jobs(batch * 4..batch * 4 + 4)).await;
    }
    assert_eq!(
        deliver(&sink, repeats([0, 40, 17, 39])).await,
        [AlreadyThere, Written, AlreadyThere, AlreadyThere]
    );
    assert_eq!(directory.numbers(), (0..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn repeats_are_recognised_after_a_restart_within_and_beyond_the_window() {
    let directory = Directory::new();
    deliver(&directory.open(100), jobs(0..50)).await;
    for recent_ids in [1, 7, 50, 100] {
        let sink = directory.open(recent_ids);
        let again = deliver(&sink, repeats(0..50)).await;
        assert!(again.iter().all(|outcome| *outcome == AlreadyThere), "{recent_ids}: {again:?}");
    }
    assert_eq!(directory.numbers(), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_message_twice_in_one_batch_is_written_once() {
    let directory = Directory::new();
    let sink = directory.open(1);
    let batch = vec![job(1, 1), job(2, 2), job(1, 3), job(2, 2)];
    assert_eq!(deliver(&sink, batch).await, [Written, Written, AlreadyThere, AlreadyThere]);
    assert_eq!(directory.numbers(), [1, 2]);
}

#[tokio::test]
async fn a_message_that_names_anothers_id_does_not_hide_it() {
    let directory = Directory::new();
    let mut liar = job(1, 1);
    liar.message_body = format!("\"message_id\":\"{}\"", job(2, 1).message_id);
    deliver(&directory.open(1), vec![liar, job(3, 1)]).await;
    assert_eq!(deliver(&directory.open(1), repeats([2])).await, [Written]);
}
