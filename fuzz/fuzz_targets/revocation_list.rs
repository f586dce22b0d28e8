//! A revocation list, offered to a door that believes the CA of the seeds.
#![no_main]

const AUTHORITY: &[u8] = include_bytes!("../seeds/certificate/clients_ca");
const SIGNED: &[u8] = include_bytes!("../seeds/revocation_list/revoked");

libfuzzer_sys::fuzz_target!(|offered: &[u8]| {
    shared::tls::crl::claims::revocation_list(AUTHORITY, SIGNED, offered);
});
