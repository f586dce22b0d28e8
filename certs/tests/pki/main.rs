//! What the authority makes, judged by the real `openssl` and a real Postgres.

mod support;

mod certificates;
mod revocation_lists;
mod files;
mod names;
mod registration;
mod renewal;
mod credentials;
mod doctor;
mod send;
