//! Each part killed, stopped or lost while messages flow: what was answered 202 is delivered all the same.

mod main_server;
mod postgres;
mod killed;
mod worker;
mod disk_full;
mod soak;
mod revoked_meanwhile;
