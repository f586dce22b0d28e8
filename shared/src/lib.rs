//! x
pub mod identity;
pub mod wire;
