//! Why the queue could not do as asked; of no one item, but of the whole call.

use std::time::Duration;

use shared::{
    identity::Name,
    wire::{Code, Problem},
};

use crate::{database::sqlstate, seal::SealingFailed};

/// The call failed as a whole. After a write, whether anything was stored is unknown.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The database refused, or is not there.
    #[error("the database cannot do it: {0}")]
    Database(#[from] sqlx::Error),
    /// The database did not answer in time.
    #[error("the database did not answer within {0:?}")]
    TimedOut(Duration),
    /// As many batches wait as may.
    #[error("too many batches wait to be stored")]
    Overloaded,
    /// The batch was taken, and nobody can say what became of it.
    #[error("the outcome of this batch is unknown")]
    Unknown,
    /// There is no such queue.
    #[error("there is no queue {0:?}")]
    UnknownQueue(Name),
    /// The crypto library failed.
    #[error(transparent)]
    Sealing(#[from] SealingFailed),
}

impl From<Fault> for Problem {
    /// Details of the database stay in our log.
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Database(_) | Fault::TimedOut(_) | Fault::Unknown => Problem::new(
                Code::UpstreamUnavailable,
                "the database does not answer or cannot store; whether this was stored is unknown: send it \
                 again with the same ids",
            ),
            Fault::Overloaded => {
                Problem::new(Code::Overloaded, "too many batches wait to be stored; send it again later")
            }
            Fault::UnknownQueue(queue) => {
                Problem::new(Code::NotFound, format!("there is no queue {:?}", queue.as_str()))
            }
            Fault::Sealing(error) => Problem::new(Code::InternalError, error.to_string()),
        }
    }
}

/// Whether an error is about the data of some row, so that the other rows could be stored without it:
/// data exceptions (22), violated constraints (23), what a trigger raises (P0001), rows beyond a limit (54).
pub(super) fn is_about_data(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|code| {
        code.starts_with("22") || code.starts_with("23") || code.starts_with("54") || code == "P0001"
    })
}
