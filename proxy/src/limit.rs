//! How much may be asked: by one client (429), by all together (503), and by whom nobody admits (403, later).
//!
//! In: requests of admitted clients, and refusals. Out: requests that may go on, answers with what is left.
//! Refused: what is beyond a limit, before its body costs anything. Everything is decided from memory, under
//! no lock that all clients share: buckets stand in shards, and the one count that is of all is an atomic.

mod bucket;
mod shards;
mod rate;
mod keep_to_rate;
mod headers;
mod admission;
mod refusals;
mod drain;
mod forget;

pub(crate) use admission::{Admission, take_up};
pub(crate) use forget::forget;
pub(crate) use keep_to_rate::{keep_to_rate, take_messages};
pub(crate) use rate::ClientRates;
pub(crate) use refusals::Refusals;
