//! Jobs in the hands of workers, as the verbs ask for them and as the database answers: by group.

use std::collections::HashSet;

use shared::wire::lease::Held;
use uuid::Uuid;

/// A group that a verb found under its lease.
#[derive(Debug)]
pub(super) struct HeldGroup {
    pub(super) lease_token: Uuid,
    pub(super) message_ids: Vec<Uuid>,
}

impl HeldGroup {
    /// Its jobs, one by one.
    pub(super) fn jobs(&self) -> impl Iterator<Item = Held> {
        self.message_ids.iter().map(|&job_id| Held { job_id, lease_token: self.lease_token })
    }
}

/// The jobs of all groups.
pub(super) fn jobs_of<'a>(groups: impl IntoIterator<Item = &'a HeldGroup>) -> HashSet<Held> {
    groups.into_iter().flat_map(HeldGroup::jobs).collect()
}

/// The two columns of a list.
pub(super) fn columns(held: &[Held]) -> (Vec<Uuid>, Vec<Uuid>) {
    held.iter().map(|held| (held.job_id, held.lease_token)).unzip()
}
