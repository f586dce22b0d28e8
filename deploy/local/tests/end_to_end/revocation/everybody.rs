//! What stops all clients at once, or all of one CA: a table that is emptied, a CA that is revoked or no longer
//! believed, and a copy or a list that is too old.

use std::fs;

use local::{Stack, eventually};
use private_postgres::ClusterOptions;
use rustls::AlertDescription;
use time::{Duration, OffsetDateTime};

use super::{
    Doomed,
    kinds::{Idle, Kinds, New, Stopped},
    wait_for_code,
};
use crate::support::{DEADLINE, caller::VERSIONS, options};

/// In both versions of TLS, connections of every kind before the stop, and what became of them after it.
fn stops_everybody(stack: &Stack, stop: impl FnOnce(), in_force: impl Fn(&Doomed), stopped: Stopped) {
    let doomed = Doomed::new(stack);
    let kinds = VERSIONS.map(|version| Kinds::of(stack, &doomed.client, version));
    stop();
    in_force(&doomed);
    for kinds in kinds {
        kinds.are_stopped(stack, stopped);
    }
    assert_eq!(stack.sql("SELECT count(*) FROM messages").unwrap().trim(), "0");
}

#[test]
fn a_truncated_table_stops_every_connection_of_everybody() {
    let stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    let stop = || drop(stack.sql("TRUNCATE clients").unwrap());
    let code = "certificate_unknown";
    let in_force = |doomed: &Doomed| drop(wait_for_code(&stack, &doomed.curl, code));
    stops_everybody(&stack, stop, in_force, Stopped::with(code));
}

#[test]
fn the_roots_list_stops_every_connection_under_the_ca_that_it_revokes() {
    let stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    let stop = || stack.revoke_by_crl(&stack.pki().join("clients-ca.crt")).unwrap();
    let code = "certificate_revoked";
    let in_force = |doomed: &Doomed| drop(wait_for_code(&stack, &doomed.curl, code));
    stops_everybody(&stack, stop, in_force, Stopped::with(code));
}

#[test]
fn a_ca_that_is_taken_out_of_the_bundle_stops_every_connection_under_it() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.crt");
    let mut stack = Stack::start(options().processes(0, 1, 0)).unwrap();
    fs::write(&bundle, stack.authority().clients().certificate_pem()).unwrap();
    stack.add_proxy(&format!("[tls]\nclients_ca = '{}'\nreload = '100ms'", bundle.display())).unwrap();
    let other = certs::Authority::create(certs::TrustDomain::default()).unwrap();
    // A CA of another name: one of the same name would be tried, and the alert be another.
    let stop = || fs::write(&bundle, other.services().certificate_pem()).unwrap();
    let in_force = |doomed: &Doomed| {
        let refused = eventually(DEADLINE, || {
            let answer = doomed.curl.get(&format!("{}/health", stack.url())).unwrap();
            (answer.status == 0).then_some(())
        });
        assert!(refused.is_some());
    };
    let new = New::Alert(AlertDescription::UnknownCA);
    stops_everybody(&stack, stop, in_force, Stopped { new, ..Stopped::with("certificate_unknown") });
}

#[test]
fn a_copy_older_than_its_limit_refuses_every_connection_and_closes_none() {
    let options = options().own_cluster(ClusterOptions::throw_away()).processes(1, 1, 0);
    let stack =
        Stack::start(options.proxy_config("[registry]\nmax_staleness = '2s'\npoll = '200ms'")).unwrap();
    let doomed = Doomed::new(&stack);
    let kinds = VERSIONS.map(|version| Kinds::of(&stack, &doomed.client, version));
    stack.postgres().unwrap().stop().unwrap();
    let stopped = Stopped::for_a_while("registry_stale");
    assert_eq!(wait_for_code(&stack, &doomed.curl, stopped.code).status, 503);
    for kinds in kinds {
        kinds.are_stopped(&stack, stopped);
    }
}

#[test]
fn a_list_past_its_policys_time_refuses_every_connection_and_closes_none() {
    let stack = Stack::start(options().processes(1, 1, 0).proxy_config("[crl]\npolicy = 'reject'")).unwrap();
    let stop = || {
        let ended = OffsetDateTime::now_utc() - Duration::hours(1);
        let list = stack.authority().clients().sign_crl(2, ended - Duration::days(1), ended, &[]).unwrap();
        stack.publish_crl(&list).unwrap();
    };
    let stopped = Stopped::for_a_while("crl_stale");
    assert_eq!(stopped.idle, Idle::Stays);
    let in_force = |doomed: &Doomed| drop(wait_for_code(&stack, &doomed.curl, stopped.code));
    stops_everybody(&stack, stop, in_force, stopped);
}
