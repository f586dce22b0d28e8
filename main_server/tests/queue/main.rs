//! The queue against a real Postgres: a private cluster, a database of its own for each test, and the
//! server's own least-privileged role.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails at once")]

mod stack;
mod submit;
mod idempotency;
mod lease;
mod transitions;
mod groups;
mod poison;
mod front;
mod dead_letters;
mod rules;
mod migration;
mod sealing;
mod rotation;
mod operator;
mod privileges;
mod faults;
mod reports;
