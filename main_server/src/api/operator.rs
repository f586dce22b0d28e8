//! What operators ask at the worker door: how the queues are, and what to do with dead letters.
//!
//! In: filters in the query of a GET, or as the JSON body of a POST. Out: JSON, or a line of it per letter. Refused: members
//! nobody knows; moving all dead letters without saying so.

mod act;
mod export;
mod list;
mod queues;
mod request;

pub use act::{discard, redrive};
pub use export::export;
pub use list::{list, one};
pub use queues::queues;

use shared::wire::Problem;

use crate::{admission::Caller, queue::dead_letters::Operator};

/// Who asks, if it may.
fn operator(caller: &Caller) -> Result<Operator, Problem> {
    let service = caller.authorize()?;
    Ok(Operator { name: format!("{}/{}", service.role, service.name), fingerprint: caller.fingerprint() })
}
