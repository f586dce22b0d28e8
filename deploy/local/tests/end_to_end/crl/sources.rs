//! Lists that come from a file, that are broken, that are late.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{fs, path::Path};

use certs::{Authority, RevocationList, Revoked, RevokedReason, TrustDomain};
use local::{Process, Stack, eventually};
use private_postgres::psql;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use shared::identity::Certificate;
use time::{Duration, OffsetDateTime};

use super::{refused_as_revoked, wait_for_code};
use crate::{
    support::{
        DEADLINE, Sender,
        holder::{Holder, new_name, request},
        options,
    },
    traffic::metric,
};

fn wait_until_ready_says(process: &Process, part: &str) {
    let mut last = String::new();
    let said = eventually(DEADLINE, || {
        last = process.get("/readyz").unwrap().1;
        last.contains(part).then_some(())
    });
    assert!(said.is_some(), "never {part:?}: {last}");
}

fn patch(files: &Path) -> String {
    format!("[crl]\nfiles = ['{}']\npoll = '1h'", files.display())
}

/// The clients CA's list of this number, valid for so long from now; past, if that is negative.
fn list(stack: &Stack, number: u64, valid: Duration) -> RevocationList {
    let next_update = OffsetDateTime::now_utc() + valid;
    let this_update = OffsetDateTime::now_utc().min(next_update) - Duration::days(1);
    stack.authority().clients().sign_crl(number, this_update, next_update, &[]).unwrap()
}

/// The statement that publishes a list of a CA that is not the stack's.
fn row_of(list: &RevocationList) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let (name, key_id, der) = (hex(&list.issuer_name), hex(&list.issuer_key_id), hex(list.der()));
    format!(
        "INSERT INTO crls (issuer_name, issuer_key_id, crl_number, this_update, next_update, der)
         VALUES ('\\x{name}', '\\x{key_id}', {}, now() - interval '1 hour', now() + interval '1 day', '\\x{der}')",
        list.number
    )
}

fn entry(sender: &Sender) -> Revoked {
    let certificate = CertificateDer::from_pem_file(&sender.client.cert).unwrap();
    let serial = Certificate::parse(&certificate).unwrap().serial;
    Revoked { serial, revoked_at: OffsetDateTime::now_utc(), reason: RevokedReason::KeyCompromise }
}

#[test]
fn a_list_from_a_file_counts_beside_the_table_and_a_broken_one_changes_nothing() {
    let mut stack = Stack::start(options().processes(0, 1, 0)).unwrap();
    let file = stack.folder().join("given.pem");
    fs::write(&file, stack.authority().crls()[1].pem()).unwrap();
    stack.add_proxy(&patch(&file)).unwrap();
    let (revoked, other) = (Sender::new(&stack), Sender::new(&stack));
    let proxy = &stack.proxies[0].process;
    // not in the table
    let (clients, first) = (stack.authority().clients(), stack.authority().crls()[1]);
    let second = clients.sign_next_crl(first, [entry(&revoked)]).unwrap();
    fs::write(&file, second.pem()).unwrap();
    wait_until_ready_says(proxy, "number 2, 1 entries");
    refused_as_revoked(&revoked);

    fs::write(&file, &second.pem()[..second.pem().len() / 2]).unwrap();
    wait_until_ready_says(proxy, "is broken");
    assert_eq!(proxy.get("/readyz").unwrap().0, 200, "the last good list serves");
    assert_eq!(revoked.get("/health").code(), "certificate_revoked");
    assert_eq!(other.get("/health").status, 200);
    assert!(metric(proxy, "portcullis_crl_failures_total{source=\"file\",reason=\"malformed\"}") > 0);

    fs::write(&file, list(&stack, 3, Duration::days(7)).pem()).unwrap();
    wait_for_code(|| revoked.get("/health"), "");
}

#[test]
fn a_proxy_with_a_configured_list_that_cannot_be_used_does_not_start_and_names_it() {
    let mut stack = Stack::start(options().processes(0, 1, 0)).unwrap();
    let file = stack.folder().join("given.pem");
    fs::write(&file, "this is no list").unwrap();
    let error = format!("{:#}", stack.add_proxy(&patch(&file)).unwrap_err());
    assert!(error.contains("given.pem: holds no revocation list"), "{error}");
}

#[test]
fn past_its_next_update_a_list_refuses_everybody_if_the_policy_is_reject() {
    let stack = Stack::start(options().processes(1, 1, 0).proxy_config("[crl]\npolicy = 'reject'")).unwrap();
    let sender = Sender::new(&stack);
    assert_eq!(sender.post_message("in time").status, 202);

    stack.publish_crl(&list(&stack, 2, -Duration::hours(1))).unwrap();
    let refused = wait_for_code(|| sender.post_message("too late"), "crl_stale");
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(stack.proxies[0].process.get("/readyz").unwrap().0, 503);

    stack.publish_crl(&list(&stack, 3, Duration::days(1))).unwrap();
    wait_for_code(|| sender.post_message("in time again"), "");
    assert_eq!(sender.post_message("in time again").status, 202);
}

#[test]
fn a_list_past_its_next_update_is_good_for_a_day_by_default() {
    let stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    let sender = Sender::new(&stack);
    let proxy = &stack.proxies[0].process;
    stack.publish_crl(&list(&stack, 2, -Duration::hours(1))).unwrap();
    wait_until_ready_says(proxy, "number 2,");
    assert_eq!(sender.get("/health").status, 200);
    stack.publish_crl(&list(&stack, 3, -Duration::hours(25))).unwrap();
    assert_eq!(wait_for_code(|| sender.get("/health"), "crl_stale").status, 503);
}

#[test]
fn a_ca_without_a_list_is_waited_for_since_it_was_met_and_then_refused_alone() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.crt");
    let other = Authority::create(TrustDomain::default()).unwrap();
    let put = |pems: &[&str]| fs::write(&bundle, pems.concat()).unwrap();
    let mut stack = Stack::start(options().processes(0, 1, 0)).unwrap();
    let genuine = stack.authority().clients().certificate_pem().to_owned();
    put(&[&genuine]);
    let tls = format!("[tls]\nclients_ca = '{}'\nreload = '100ms'", bundle.display());
    stack.add_proxy(&format!("{tls}\n[crl]\nmissing = 'grace'\ngrace = '10s'")).unwrap();
    let sender = Sender::new(&stack);
    let name = new_name();
    let of_other = Holder::of(&stack, other.clients().sign(&request(&stack, &name)).unwrap());
    of_other.register_as(&stack, &name);

    put(&[&genuine, other.clients().certificate_pem()]);
    let health = format!("{}/health", stack.url());
    let ask = || of_other.curl().get(&health).unwrap();
    wait_for_code(ask, "");
    wait_until_ready_says(&stack.proxies[0].process, "no list, admitted until");
    let refused = wait_for_code(ask, "crl_stale");
    assert_eq!(refused.status, 503);
    wait_until_ready_says(&stack.proxies[0].process, "no list, refused for that");
    assert_eq!(sender.get("/health").status, 200);

    stack.sql(&row_of(other.crls()[1])).unwrap();
    wait_for_code(ask, "");
}

#[test]
fn a_list_in_the_table_that_is_not_genuine_changes_nothing() {
    let stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    let (revoked, other) = (Sender::new(&stack), Sender::new(&stack));
    stack.revoke_by_crl(&revoked.client.cert).unwrap();
    refused_as_revoked(&revoked);
    // whoever may write to the table still has no key to sign with
    let forge = "UPDATE crls SET crl_number = 99, der = set_byte(der, octet_length(der) - 1, 7)";
    psql(stack.owner_url(), forge).unwrap();
    wait_until_ready_says(&stack.proxies[0].process, "the table crls, O=");
    assert_eq!(revoked.get("/health").code(), "certificate_revoked");
    assert_eq!(other.get("/health").status, 200);
}

#[test]
fn a_client_that_was_revoked_by_list_has_a_new_certificate_when_its_stack_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Stack::start(options().kept_in(folder.path()).processes(0, 0, 0)).unwrap();
    let fingerprints = |stack: &Stack| {
        let clients = ["revoked", "kept"].map(|name| stack.client(name).unwrap());
        clients.map(|client| {
            let certificate = CertificateDer::from_pem_file(&client.cert).unwrap();
            Certificate::parse(&certificate).unwrap().fingerprint
        })
    };
    let stack = start();
    let before = fingerprints(&stack);
    stack.revoke_by_crl(&stack.pki().join("clients/revoked/revoked.crt")).unwrap();
    drop(stack);
    let after = fingerprints(&start());
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1], after[1]);
}

#[test]
fn a_stack_that_was_not_started_for_days_signs_its_lists_anew() {
    let folder = tempfile::tempdir().unwrap();
    let then = OffsetDateTime::now_utc() - Duration::days(5);
    let pki = folder.path().join("pki");
    Authority::create_at(TrustDomain::default(), then).unwrap().save(&pki).unwrap();
    let stack = Stack::start(options().kept_in(folder.path()).processes(0, 0, 0)).unwrap();
    let current =
        "SELECT count(*) FROM crls WHERE next_update > now() + interval '6 days' AND crl_number = 2";
    // the root's list lives a year: it is not due
    assert_eq!(stack.sql(current).unwrap().trim(), "2");
    assert_eq!(Authority::load(&pki).unwrap().crls().map(|list| list.number), [1, 2, 2]);
}
