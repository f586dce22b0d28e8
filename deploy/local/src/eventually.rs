//! Waiting for something to come true. The only sleep of the tests is here.

use std::{
    thread,
    time::{Duration, Instant},
};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer, and once more when the deadline has passed. `None`: it never came.
pub fn eventually<T>(deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let late = begun.elapsed() >= deadline;
        if let Some(answer) = condition() {
            return Some(answer);
        }
        if late {
            return None;
        }
        thread::sleep(PAUSE);
    }
}
