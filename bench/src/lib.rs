//! How fast Portcullis is, beside what its users would take instead, measured in the same run.
//!
//! ```text
//! command ─▶ measure ─▶ figures ─▶ scene ─────────────▶ generator ─▶ report
//! which      ours and   what is    our stack, nginx,    the load, a   the table and
//! figures    the peer   compared   RabbitMQ; processor  process of    latest.json
//!            in turn               time of each         its own
//! ```
//!
//! Everything is started by us, on free ports, in private folders, and stopped by us. Goals that are missed are
//! a result; only what could not be measured is an error.

pub mod command;
mod measure;
mod figure;
mod figures;
mod scene;
mod ours;
mod large_list;
mod peers;
mod keep;
mod descriptors;
mod processor;
mod generator;
mod load;
mod statistics;
mod report;
