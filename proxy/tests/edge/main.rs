//! The edge's decisions and its copy of the client table, through the crate's public surface.

#![expect(clippy::unwrap_used, reason = "a test whose fixtures cannot be made cannot go on")]

mod authorize;
mod registry;
