//! Portcullis as a whole: real processes, real TLS, real Postgres, the `curl` binary.
//!
//! All tests of whole paths are in this one binary; they share the stack of `support`, unless they stop or
//! break something.

mod support;
mod traffic;

mod main_job;
mod certificates;
mod refusals;
mod slowed;
mod rates;
mod overload;
mod doors;
mod claims;
mod bad_input;
mod unusual_input;
mod hygiene;
mod abuse;
mod limits;
mod idempotency;
mod batch;
mod status;
mod crl;
mod revocation;
mod trust_reload;
mod reload;
mod drain;
mod service_manager;
mod faults;
mod lost_answer;
mod poison;
mod wakeup;
mod at_rest;
mod backup;
mod check_config;
mod openapi;
mod monitoring;
mod health;
mod log_lines;
mod access_lines;
mod traces;
mod doctor;
mod send;
mod up;
