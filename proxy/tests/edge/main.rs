//! The edge's decisions and its copy of the client table, through the crate's public surface.

mod authorize;
mod registry;
