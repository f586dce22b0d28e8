//! What the workers wrote: one JSON object per line, one file per worker.

use std::{fs, time::Duration};

use anyhow::Context as _;
use serde_json::Value;

use super::{Stack, Worker};
use crate::eventually;

impl Worker {
    /// The complete lines it has written so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }
}

impl Stack {
    /// Every message that any worker has written so far, oldest first for each.
    pub fn delivered(&self) -> anyhow::Result<Vec<Value>> {
        let lines = self.workers.iter().flat_map(Worker::lines);
        lines.map(|line| serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))).collect()
    }

    /// Waits until a worker has written this message, and answers its line.
    pub fn wait_for_delivery(&self, message_id: &str, deadline: Duration) -> anyhow::Result<String> {
        let line = eventually(deadline, || {
            let mut lines = self.workers.iter().flat_map(Worker::lines);
            lines.find(|line| {
                let message: Value = serde_json::from_str(line).unwrap_or_default();
                message["message_id"] == message_id
            })
        });
        line.with_context(|| format!("message {message_id} was not delivered within {deadline:?}"))
    }
}
