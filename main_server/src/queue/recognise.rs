//! What was not stored because it is there already: the same message once more, or another one.
//!
//! By its id, when a proxy sent it again; else by its idempotency key, when its client did.

use std::collections::HashMap;

use shared::wire::{
    Code,
    submit::{SubmitOutcome, SubmitResult},
};
use uuid::Uuid;

use super::{
    Fault, Jobs,
    compare::{Existing, compare},
    idempotency::{Holder, KeyOf, holders},
    insert::NewMessage,
};

impl Jobs {
    /// A result for each of these messages that is there already, in their order; the insert has stored none of
    /// them. Any may be there twice.
    pub(super) async fn recognise(
        &self,
        unstored: &[&NewMessage],
    ) -> Result<Vec<Option<SubmitResult>>, Fault> {
        if unstored.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = unstored.iter().map(|new| new.message.message_id).collect();
        let existing = self.bounded(compare(&self.pool, &ids)).await?;
        let others = unstored.iter().filter(|new| !existing.contains_key(&new.message.message_id));
        let keys: Vec<KeyOf> = others.filter_map(|new| new.key_of()).collect();
        let holders =
            if keys.is_empty() { HashMap::new() } else { self.bounded(holders(&self.pool, &keys)).await? };
        let results = unstored.iter().map(|new| {
            let holder = new.key_of().and_then(|key| holders.get(&key));
            judge(new, existing.get(&new.message.message_id), holder)
        });
        Ok(results.collect())
    }
}

/// What is said about a message by whatever holds its id, or else its key; nothing if nothing does.
fn judge(new: &NewMessage, existing: Option<&Existing>, holder: Option<&Holder>) -> Option<SubmitResult> {
    let message_id = new.message.message_id;
    let (same, original, queued_at) = match (existing, holder) {
        (Some(existing), _) => (existing.is_same_as(new), None, existing.queued_at),
        (None, Some(holder)) => (holder.is_same_as(new), Some(holder.message_id), holder.queued_at),
        (None, None) => return None,
    };
    Some(if same {
        let outcome = SubmitOutcome::Replayed;
        SubmitResult { message_id, original, outcome, code: None, queued_at: Some(queued_at) }
    } else {
        let (outcome, code) = (SubmitOutcome::Conflict, Some(Code::IdempotencyConflict));
        SubmitResult { message_id, original: None, outcome, code, queued_at: None }
    })
}
