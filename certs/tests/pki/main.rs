//! What the authority makes, judged by the real `openssl` and a real Postgres.

mod support;

mod certificates;
mod revocation_lists;
mod files;
mod issuing;
mod passphrases;
mod revoking;
mod verifying;
mod listing;
mod crashes;
mod names;
mod registration;
mod renewal;
mod credentials;
mod doctor;
mod send;
