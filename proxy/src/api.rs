//! The handlers: read, validate, act, answer.

mod body;
mod submit;
mod message;
mod metadata;
mod members;
mod whoami;
mod health;

pub use message::{Message, parse_message};

pub(crate) use health::health;
pub(crate) use submit::submit;
pub(crate) use whoami::whoami;
