//! A disk that is full for a while. The operating system's limit on the size of files stands for it: a write
//! past it is cut short and then refused, just as on a full disk.

use std::process::Command;

use worker::sink::Outcome::{AlreadyThere, Failed, Written};

use crate::support::{Directory, deliver, job, jobs, repeats};

/// Longer than the limit below by far.
fn too_much(number: u64) -> shared::wire::lease::LeasedJob {
    let mut big = job(number, 1);
    big.message_body = "x".repeat(100_000);
    big
}

#[test]
fn a_full_disk_fails_the_batch_and_leaves_no_trace_of_it() {
    // The limit holds for a whole process, so the test's own body runs in one of its own.
    let limited = "trap '' XFSZ; ulimit -f 32; exec \"$0\" --exact full_disk::inside_the_limit --ignored";
    let output =
        Command::new("sh").arg("-c").arg(limited).arg(std::env::current_exe().unwrap()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "needs a limit on the size of files; the test above sets it and runs this"]
async fn inside_the_limit() {
    let directory = Directory::new();
    let sink = directory.open(10);
    assert_eq!(deliver(&sink, jobs([1])).await, [Written]);

    let refused = deliver(&sink, vec![job(2, 1), too_much(3)]).await;
    for outcome in &refused {
        assert!(matches!(outcome, Failed(why) if why.contains("received_messages.jsonl")), "{outcome:?}");
    }
    assert!(sink.trouble().is_some());
    assert_eq!(directory.numbers(), [1], "half a batch stayed");

    sink.retry().await;
    assert!(sink.trouble().is_some(), "there is no more room than before");
    assert_eq!(directory.numbers(), [1], "a rehearsal stayed");

    assert_eq!(deliver(&sink, repeats([2, 1])).await, [Written, AlreadyThere]);
    assert_eq!(sink.trouble(), None);
    assert_eq!(directory.numbers(), [1, 2]);
}
