//! What both doors' handlers share: the queue, the bounds of a request, the reading of bodies.

pub mod proxy;
pub mod worker;
pub mod operator;
mod body;
mod openapi;

pub use openapi::openapi;

use shared::{
    shutdown::Shutdown,
    traces::Traces,
    wire::{Code, Problem},
};

use crate::{
    config::{QueueConfig, RequestConfig},
    queue::Queue,
    reports::Reports,
};

/// The state of every handler.
#[derive(Debug)]
pub struct Api {
    /// The queue.
    pub queue: Queue,
    /// The proxies' reports.
    pub reports: Reports,
    /// Its bounds.
    pub limits: QueueConfig,
    /// Bounds of one request.
    pub requests: RequestConfig,
    /// Ends long polls.
    pub shutdown: Shutdown,
    /// Where spans are recorded.
    pub traces: Traces,
}

impl Api {
    /// Refuses an empty list and one that is too long; `field` is a JSON pointer (RFC 6901).
    fn check_count(&self, field: &str, count: usize) -> Result<(), Problem> {
        if count == 0 || count > self.requests.items {
            let text = format!("a request carries 1 to {} items, this one has {count}", self.requests.items);
            return Err(Problem::new(Code::InvalidField, text).with("field", field));
        }
        Ok(())
    }
}

/// Refuses a value outside its bounds, naming the field by its JSON pointer.
fn check_range(field: &str, value: u32, bounds: std::ops::RangeInclusive<u32>) -> Result<(), Problem> {
    if bounds.contains(&value) {
        return Ok(());
    }
    let text = format!("must lie between {} and {}", bounds.start(), bounds.end());
    Err(Problem::new(Code::InvalidField, text).with("field", field))
}
