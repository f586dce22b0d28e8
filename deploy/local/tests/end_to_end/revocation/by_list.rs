//! Lists that do not come from the table: a file, a directory, a distribution point.

use std::{cell::RefCell, fs, path::Path};

use certs::{RevocationList, Revoked, RevokedReason};
use local::Stack;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use shared::identity::Certificate;
use time::OffsetDateTime;

use super::{Doomed, stops_every_connection};
use crate::support::{distribution_point::DistributionPoint, options};

/// The clients CA's newest list, which is in no table.
struct Publisher {
    newest: RefCell<RevocationList>,
}

impl Publisher {
    fn of(stack: &Stack) -> Self {
        Self { newest: RefCell::new(stack.authority().crls()[1].clone()) }
    }

    fn newest(&self) -> String {
        self.newest.borrow().pem().to_owned()
    }

    /// Signs the next list, with this client on it.
    fn revoke(&self, stack: &Stack, doomed: &Doomed) {
        let certificate = CertificateDer::from_pem_file(&doomed.client.cert).unwrap();
        let serial = Certificate::parse(&certificate).unwrap().serial;
        let entry =
            Revoked { serial, revoked_at: OffsetDateTime::now_utc(), reason: RevokedReason::KeyCompromise };
        let next = stack.authority().clients().sign_next_crl(&self.newest.borrow(), [entry]).unwrap();
        self.newest.replace(next);
    }
}

fn stops_by_list(stack: &Stack, publisher: &Publisher, publish: impl Fn(&str)) {
    let stop = |doomed: &Doomed| {
        publisher.revoke(stack, doomed);
        publish(&publisher.newest());
    };
    stops_every_connection(stack, || Doomed::new(stack), stop, "certificate_revoked");
}

/// A reader must never see half of it.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

#[test]
fn a_list_in_a_file_stops_every_connection_of_the_client_and_no_other() {
    let mut stack = Stack::start(options().processes(0, 1, 0)).unwrap();
    let (publisher, file) = (Publisher::of(&stack), stack.folder().join("given.pem"));
    replace(&file, &publisher.newest());
    stack.add_proxy(&format!("[crl]\nfiles = ['{}']\npoll = '1h'", file.display())).unwrap();
    stops_by_list(&stack, &publisher, |list| replace(&file, list));
}

#[test]
fn a_list_in_a_directory_stops_every_connection_of_the_client_and_no_other() {
    let mut stack = Stack::start(options().processes(0, 1, 0)).unwrap();
    let (publisher, folder) = (Publisher::of(&stack), stack.folder().join("lists"));
    fs::create_dir(&folder).unwrap();
    replace(&folder.join("1.pem"), &publisher.newest());
    stack.add_proxy(&format!("[crl]\nfiles = ['{}']\npoll = '1h'", folder.display())).unwrap();
    let count = std::cell::Cell::new(1);
    // each time another file: the highest number counts
    stops_by_list(&stack, &publisher, |list| {
        count.set(count.get() + 1);
        replace(&folder.join(format!("{}.pem", count.get())), list);
    });
}

#[test]
fn a_list_from_a_distribution_point_stops_every_connection_of_the_client_and_no_other() {
    let mut stack = Stack::start(options().processes(0, 1, 0)).unwrap();
    let publisher = Publisher::of(&stack);
    let point = DistributionPoint::open(&stack, publisher.newest());
    let ca = stack.pki().join("ca.crt");
    let patch = format!("[crl]\nurls = ['{}']\nurls_ca = '{}'\npoll = '100ms'", point.url(), ca.display());
    stack.add_proxy(&patch).unwrap();
    stops_by_list(&stack, &publisher, |list| point.publish(list));
}
