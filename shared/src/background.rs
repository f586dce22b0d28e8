//! Long work that no request waits for: on a thread of its own, behind everything else that wants a processor.
//!
//! In: what to do. Out: its result; an error if it panicked. Why not the runtime's threads for blocking work: those
//! have the same right to a processor as the threads that answer requests, and a revocation list of a million entries
//! would take one of few for a quarter of a second. Nor is a processor all that it takes from them: work in many steps pauses
//! between them, for the sake of caches and memory.

use std::{
    cell::Cell,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

/// So much less is its right to a processor (`nice`(2)); about a tenth of the others'. With a hundredth, a revocation list
/// of a million entries could take a minute beside a busy server.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;
/// A pause is as long as the step before it, but no longer: a step takes its time also when others have the processor.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

thread_local! {
    /// On a thread for such work: since when it has not paused.
    static WORKING_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// It panicked, or there was no thread for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the background thread ended without a result")]
pub struct NoResult;

/// Does it, at some time.
pub async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NoResult> {
    let (sender, result) = oneshot::channel();
    let thread = thread::Builder::new().name("background".to_owned()).spawn(move || {
        step_back();
        WORKING_SINCE.set(Some(Instant::now()));
        // whoever asked may have gone away
        let _ = sender.send(work());
    });
    drop(thread.map_err(|_| NoResult)?);
    result.await.map_err(|_| NoResult)
}

/// Between two steps of a millisecond or so: pauses for as long as the last one took, on a thread for such work. Elsewhere
/// somebody waits for the work, and it goes on.
pub fn pause() {
    if let Some(since) = WORKING_SINCE.get() {
        thread::sleep(since.elapsed().min(LONGEST_PAUSE));
        WORKING_SINCE.set(Some(Instant::now()));
    }
}

/// On Linux this is about the calling thread alone; elsewhere it would be about the whole process.
#[cfg(target_os = "linux")]
fn step_back() {
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "background work has the priority of all other");
    }
}

#[cfg(not(target_os = "linux"))]
const fn step_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn background_work_steps_back_and_its_caller_does_not() {
        let before = rustix::process::nice(0).unwrap();
        assert_eq!(
            in_background(|| rustix::process::nice(0).unwrap()).await,
            Ok((before + NICENESS).min(19))
        );
        assert_eq!(rustix::process::nice(0).unwrap(), before);
    }

    #[tokio::test]
    async fn background_work_pauses_between_its_steps_and_nobody_else_does() {
        let paused = in_background(move || {
            let begun = Instant::now();
            while begun.elapsed() < LONGEST_PAUSE {}
            let worked = begun.elapsed();
            pause();
            begun.elapsed() >= worked + LONGEST_PAUSE
        });
        assert_eq!(paused.await, Ok(true));
        assert_eq!(WORKING_SINCE.get(), None, "so that a pause here is none");
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_caller() {
        assert_eq!(in_background(|| panic!("on purpose")).await, Err::<(), _>(NoResult));
    }
}
