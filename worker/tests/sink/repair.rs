//! What a start does with the end of a file that a crash, or somebody else, left behind.

use std::{fs, io::Write};

use worker::sink::{
    Outcome::{AlreadyThere, Written},
    SinkError,
};

use crate::support::{Directory, deliver, jobs, open, repeats};

#[tokio::test]
async fn a_torn_last_line_is_cut_off_wherever_it_tore_and_its_message_written_again() {
    let directory = Directory::new();
    deliver(&directory.open(10), jobs(0..3)).await;
    let whole = fs::read(directory.output()).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    for torn_at in [last + 1, last + 5, last + 40, whole.len() - 1] {
        fs::write(directory.output(), &whole[..torn_at]).unwrap();
        let sink = directory.open(10);
        assert_eq!(directory.numbers(), [0, 1], "torn at {torn_at}");
        assert_eq!(deliver(&sink, repeats(0..3)).await, [AlreadyThere, AlreadyThere, Written]);
        assert_eq!(directory.numbers(), [0, 1, 2]);
    }
}

#[tokio::test]
async fn a_file_that_is_one_torn_line_becomes_empty() {
    let directory = Directory::new();
    fs::write(directory.output(), "{\"job_id\":\"0190").unwrap();
    let sink = directory.open(10);
    assert_eq!(directory.text(), "");
    assert_eq!(deliver(&sink, jobs([1])).await, [Written]);
}

#[tokio::test]
async fn zeros_that_a_power_loss_left_are_cut_off() {
    let directory = Directory::new();
    deliver(&directory.open(10), jobs(0..2)).await;
    fs::OpenOptions::new().append(true).open(directory.output()).unwrap().write_all(&[0; 5000]).unwrap();
    let sink = directory.open(10);
    assert_eq!(directory.numbers(), [0, 1]);
    assert_eq!(deliver(&sink, jobs([2])).await, [Written]);
}

#[test]
fn a_file_of_somebody_else_does_not_lose_a_byte() {
    let directory = Directory::new();
    let theirs = "a letter to my aunt\nwithout a newline at its end";
    fs::write(directory.output(), theirs).unwrap();
    let error = open(directory.output(), 10).unwrap_err();
    assert!(matches!(error, SinkError::NotOurs { offset: 20, .. }), "{error}");
    assert_eq!(directory.text(), theirs);
}

#[tokio::test]
async fn lines_that_are_not_ours_stay_and_do_not_count() {
    let directory = Directory::new();
    deliver(&directory.open(10), jobs(0..2)).await;
    let ours = directory.text();
    fs::write(directory.output(), format!("# a note\n\n{ours}not json\n")).unwrap();
    for recent_ids in [1, 10] {
        assert_eq!(deliver(&directory.open(recent_ids), repeats(0..2)).await, [AlreadyThere, AlreadyThere]);
    }
    assert_eq!(directory.text(), format!("# a note\n\n{ours}not json\n"));
}
