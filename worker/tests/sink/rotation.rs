//! The file is moved, deleted, emptied or written to while the worker runs, as log rotation and people do.

use std::{fs, io::Write};

use worker::sink::Outcome::Written;

use crate::support::{Directory, deliver, jobs, numbers_in};

#[tokio::test]
async fn after_a_move_a_new_file_is_begun() {
    let directory = Directory::new();
    let sink = directory.open(10);
    deliver(&sink, jobs([1])).await;
    let moved = directory.output().with_extension("1");
    fs::rename(directory.output(), &moved).unwrap();
    assert_eq!(deliver(&sink, jobs([2])).await, [Written]);
    assert_eq!((numbers_in(&moved), directory.numbers()), (vec![1], vec![2]));
}

#[tokio::test]
async fn after_a_deletion_a_new_file_is_begun() {
    let directory = Directory::new();
    let sink = directory.open(10);
    deliver(&sink, jobs([1])).await;
    fs::remove_file(directory.output()).unwrap();
    assert_eq!(deliver(&sink, jobs([2])).await, [Written]);
    assert_eq!(directory.numbers(), [2]);
}

#[tokio::test]
async fn after_somebody_emptied_or_extended_the_file_no_line_is_torn() {
    let directory = Directory::new();
    let sink = directory.open(10);
    deliver(&sink, jobs([1])).await;
    fs::write(directory.output(), "").unwrap();
    assert_eq!(deliver(&sink, jobs([2])).await, [Written]);
    let mut theirs = fs::OpenOptions::new().append(true).open(directory.output()).unwrap();
    theirs.write_all(b"{\"metadata\":{\"n\":77}}\n").unwrap();
    assert_eq!(deliver(&sink, jobs([3])).await, [Written]);
    assert_eq!(directory.numbers(), [2, 77, 3]);
}
