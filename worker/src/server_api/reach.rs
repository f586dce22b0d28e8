//! Whether any main server answers: told by every call, shown on `/readyz`, logged when it changes.

use std::{
    error::Error,
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing::{info, warn};
use url::Url;

use super::ApiError;

/// What the latest calls say.
#[derive(Debug, Default)]
pub(super) struct Reach(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    answered_at: Option<Instant>,
    trouble: Option<String>,
}

impl Reach {
    /// A server answered.
    pub(super) fn answered(&self, server: &Url) {
        let mut state = self.state();
        if state.trouble.take().is_some() || state.answered_at.is_none() {
            info!(%server, "a main server answers");
        }
        state.answered_at = Some(Instant::now());
    }

    /// No server answered; the error is the last one's.
    pub(super) fn failed(&self, error: &ApiError) {
        let text = with_causes(error);
        let mut state = self.state();
        if state.trouble.as_ref() != Some(&text) {
            warn!(error = %text, "no main server answers; trying again");
            state.trouble = Some(text);
        }
    }

    /// When a server last answered, or why none does.
    pub(super) fn judge(&self, silence: Duration) -> Result<String, String> {
        let state = self.state();
        match (&state.trouble, state.answered_at.map(|at| at.elapsed())) {
            (Some(trouble), _) => Err(trouble.clone()),
            (None, None) => Err("no main server has answered yet".to_owned()),
            (None, Some(age)) if age > silence => {
                Err(format!("no main server has answered for {} s", age.as_secs()))
            }
            (None, Some(age)) => Ok(format!("answered {} s ago", age.as_secs())),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Both fields are whole at any moment, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error with what lies behind it: of a failed connection, only the innermost cause says anything.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_ready_once_a_server_answered_and_until_none_does() {
        let reach = Reach::default();
        let minute = Duration::from_mins(1);
        let server: Url = "https://main:8003".parse().unwrap();
        assert!(reach.judge(minute).is_err());
        reach.answered(&server);
        assert!(reach.judge(minute).is_ok());
        assert!(reach.judge(Duration::ZERO).is_err());
        reach.failed(&ApiError::Malformed { server: server.clone(), text: "x".to_owned() });
        assert!(reach.judge(minute).is_err_and(|why| why.contains("not understood")));
        reach.answered(&server);
        assert!(reach.judge(minute).is_ok());
    }
}
