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

/// Set for the process in which the limit holds.
const INSIDE: &str = "FULL_DISK_LIMIT_IS_SET";

#[tokio::test]
async fn a_full_disk_fails_the_batch_and_leaves_no_trace_of_it() {
    #[expect(
        clippy::disallowed_methods,
        reason = "no configuration: the test tells itself apart from its child"
    )]
    let inside = std::env::var_os(INSIDE).is_some();
    if inside {
        return fill_the_disk().await;
    }
    // The limit holds for a whole process, so the claim is tried in one of its own.
    let limited = "trap '' XFSZ; ulimit -f 32; exec \"$0\" --exact full_disk::a_full_disk_fails_the_batch_and_leaves_no_trace_of_it";
    let this = std::env::current_exe().unwrap();
    let output = Command::new("sh").args(["-c", limited]).arg(this).env(INSIDE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

async fn fill_the_disk() {
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
