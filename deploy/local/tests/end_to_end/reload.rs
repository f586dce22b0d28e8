//! What changes while requests are on their way: certificates, keys, CAs, lists, limits and the log, some of it broken.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use certs::{Authority, Host, Issued, RevocationList, ServiceRequest, TrustDomain};
use local::{Process, Stack, eventually};
use private_postgres::psql;
use rustix::process::Signal;
use rustls::version::TLS13;
use shared::identity::Role;
use toml::Table;

use crate::{
    support::{
        DEADLINE, PATIENT, Sender,
        caller::Caller,
        options,
        steady::{Speaking, Steady},
    },
    traffic::{metric, undelivered},
};

const EVERY: &str = "[tls]\nreload = '100ms'\n";

/// Writes as careful people do: whoever reads sees the old file or the new one.
fn put(file: &Path, text: &str) {
    let next = file.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(&next, file).unwrap();
}

/// How often changes of a part were put in force.
fn done(process: &Process, part: &str) -> u64 {
    metric(process, &format!("portcullis_reloads_total{{part=\"{part}\",outcome=\"done\"}}"))
}

fn refused(process: &Process, part: &str) -> bool {
    metric(process, &format!("portcullis_reload_refused{{part=\"{part}\"}}")) == 1
}

/// Changes something, tells the process or leaves it to find out, and waits until these parts of it are in force.
fn change(process: &Process, parts: &[&str], tell: bool, how: impl FnOnce()) {
    let before: Vec<_> = parts.iter().map(|part| done(process, part)).collect();
    how();
    if tell {
        process.signal(Signal::HUP);
    }
    for (part, before) in parts.iter().zip(before) {
        let changed = || (done(process, part) > before && !refused(process, part)).then_some(());
        assert!(
            eventually(DEADLINE, changed).is_some(),
            "{part} of {}\n{}",
            process.name,
            process.log_tail()
        );
    }
}

/// Puts something that cannot be used in place of a file, waits until it is refused, and puts the file back.
fn break_and_mend(process: &Process, part: &str, tell: bool, file: &Path, broken: &str) {
    let good = fs::read_to_string(file).unwrap();
    put(file, broken);
    if tell {
        process.signal(Signal::HUP);
    }
    let noticed = eventually(DEADLINE, || refused(process, part).then_some(()));
    assert!(noticed.is_some(), "{part} of {} was not refused\n{}", process.name, process.log_tail());
    change(process, &[part], tell, || put(file, &good));
}

/// Sets a value in a process's configuration file.
fn set(process: &Process, table: &str, key: &str, value: impl Into<toml::Value>) {
    let mut config: Table = fs::read_to_string(&process.config).unwrap().parse().unwrap();
    let entry = config.entry(table).or_insert_with(|| Table::new().into());
    entry.as_table_mut().unwrap().insert(key.to_owned(), value.into());
    put(&process.config, &config.to_string());
}

struct Renewing<'a> {
    stack: &'a Stack,
    role: Role,
    name: &'static str,
}

impl Renewing<'_> {
    fn files(&self) -> (PathBuf, PathBuf) {
        let folder = self.stack.pki().join("services").join(self.role.as_str()).join(self.name);
        (folder.join(format!("{}.crt", self.name)), folder.join(format!("{}.key", self.name)))
    }

    /// Issues another certificate, and has it admitted beside the one before.
    fn renew(&self) -> Issued {
        let request = ServiceRequest { hosts: Host::loopback(), ..ServiceRequest::default() };
        let issued = self.stack.authority().issue_service(self.role, &self.name.parse().unwrap(), &request);
        let issued = issued.unwrap();
        let statement = format!(
            "SELECT renew_service('{}', '{}', '{}', now() + interval '1 day', interval '1 hour')",
            self.role,
            self.name,
            issued.fingerprint()
        );
        self.stack.sql(&statement).unwrap();
        let (cert, key) = self.files();
        put(&key, issued.key().pem());
        put(&cert, issued.certificate_pem());
        issued
    }
}

/// A list of the clients' CA, in a file, with nobody on it.
struct ListFile {
    file: PathBuf,
    newest: RevocationList,
}

impl ListFile {
    fn sign_next(&mut self, stack: &Stack) {
        self.newest = stack.authority().clients().sign_next_crl(&self.newest, []).unwrap();
        put(&self.file, self.newest.pem());
    }

    /// Signs the next one and waits until it is in force.
    fn replace(&mut self, stack: &Stack, process: &Process) {
        let came = || fs::read_to_string(&process.log).unwrap().matches("list came into force").count();
        let before = came();
        self.sign_next(stack);
        assert!(eventually(DEADLINE, || (came() > before).then_some(())).is_some(), "{}", process.log_tail());
    }
}

#[test]
fn two_hundred_reloads_fail_no_request() {
    const ROUNDS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let (of_clients, file) = (folder.path().join("clients-ca.crt"), folder.path().join("clients.pem"));
    let other = Authority::create(TrustDomain::default()).unwrap();
    let stack = options().processes(0, 1, 1).main_server_config(EVERY).worker_config(EVERY);
    let mut stack = Stack::start(stack).unwrap();
    let genuine = stack.authority().clients().certificate_pem().to_owned();
    fs::write(&of_clients, &genuine).unwrap();
    let mut list = ListFile { file, newest: stack.authority().crls()[1].clone() };
    list.sign_next(&stack);
    let patch = format!(
        "{EVERY}clients_ca = '{}'\n[crl]\nfiles = ['{}']\n{PATIENT}",
        of_clients.display(),
        list.file.display()
    );
    stack.add_proxy(&patch).unwrap();
    let (proxy, main_server) = (&stack.proxies[0].process, &stack.main_servers[0].process);
    let sender = Sender::new(&stack);
    let ways = [Speaking::Http1, Speaking::Http2, Speaking::Anew];
    let steady = Steady::start(&sender.client, &[stack.url().to_owned()], &ways, 1);
    let of = |role, name| Renewing { stack: &stack, role, name };
    let (of_proxy, of_server, of_worker) =
        (of(Role::Proxy, "proxy-1"), of(Role::MainServer, "main-server-1"), of(Role::Worker, "worker-1"));
    let services = stack.pki().join("services-ca.crt");
    let of_services = fs::read_to_string(&services).unwrap();

    let mut shown = None;
    for round in 0..ROUNDS {
        let (tell, odd) = (round % 2 == 0, round % 2 == 1);
        change(proxy, &["clients", "main_servers"], tell, || shown = Some(of_proxy.renew()));
        change(main_server, &["doors"], tell, || drop(of_server.renew()));
        change(&stack.workers[0].process, &["main_servers"], tell, || drop(of_worker.renew()));
        let further = if odd { other.clients().certificate_pem() } else { "" };
        change(proxy, &["clients"], tell, || {
            put(&of_clients, &format!("{genuine}{further}{}", "\n".repeat(round + 1)));
        });
        let further = if odd { other.services().certificate_pem() } else { "" };
        let bundle = format!("{of_services}{further}{}", "\n".repeat(round + 1));
        change(proxy, &["main_servers"], tell, || put(&services, &bundle));
        let idle = format!("{}s", 60 + round);
        change(proxy, &["configuration"], tell, || set(proxy, "limits", "idle", idle.clone()));
        change(main_server, &["configuration"], tell, || set(main_server, "limits", "idle", idle));
        let level = if odd { "info" } else { "info,access=warn" };
        change(proxy, &["configuration"], tell, || set(proxy, "log", "level", level));
        let (cert, key) = of_proxy.files();
        match round % 4 {
            0 => break_and_mend(proxy, "clients", tell, &cert, &genuine[..genuine.len() / 2]),
            1 => break_and_mend(proxy, "main_servers", tell, &key, other_key(&other).as_str()),
            2 => break_and_mend(proxy, "configuration", tell, &proxy.config, "[limits]\nidle = 'long'"),
            _ => break_and_mend(main_server, "doors", tell, &services, "nobody"),
        }
        list.replace(&stack, proxy);
        steady.wait_for(3);
    }

    let messages = steady.accepted();
    let shown = shown.unwrap();
    let call = Caller::of(&sender.client, &TLS13).connect(stack.url()).unwrap();
    assert_eq!(call.server_certificate(), shown.chain()[0].as_ref(), "clients see the last one");
    // the certificates that they began with are admitted no more, and nobody notices
    psql(stack.owner_url(), "DELETE FROM former_service_certificates").unwrap();
    assert_eq!(sender.post_message("by the new ones alone").status, 202);
    assert!(undelivered(&stack, &messages).is_empty());
}

fn other_key(authority: &Authority) -> String {
    let request = ServiceRequest { hosts: Host::loopback(), ..ServiceRequest::default() };
    authority
        .issue_service(Role::Proxy, &"proxy-1".parse().unwrap(), &request)
        .unwrap()
        .key()
        .pem()
        .to_owned()
}

#[test]
fn changed_limits_count_at_once_and_a_broken_file_or_a_setting_of_the_start_is_named_in_the_log() {
    let stack = Stack::start(options().proxy_config(EVERY)).unwrap();
    let (proxy, sender) = (&stack.proxies[0].process, Sender::new(&stack));
    let logged = |text: &str| {
        let found = || fs::read_to_string(&proxy.log).unwrap().contains(text).then_some(());
        assert!(eventually(DEADLINE, found).is_some(), "{text}\n{}", proxy.log_tail());
    };
    assert!(sender.get("/health").header("ratelimit-policy").is_none());
    change(proxy, &["configuration"], false, || {
        set(proxy, "rate", "requests_per_second", 0.001);
    });
    change(proxy, &["configuration"], true, || set(proxy, "rate", "burst", 2));
    let statuses: Vec<_> = (0..3).map(|_| sender.get("/health").status).collect();
    assert_eq!(statuses, [200, 200, 429]);

    break_and_mend(
        proxy,
        "configuration",
        true,
        &proxy.config,
        "[rate]\nburst = 'many'\n[limits]\nidle = '0s'",
    );
    logged("limits.idle: must be longer than 0s");
    logged("rate: ");
    assert_eq!(sender.get("/health").status, 429, "the old limits stay");

    change(proxy, &["configuration"], false, || set(proxy, "tls", "trust_domain", "elsewhere.internal"));
    logged("setting=\"tls.trust_domain\"");
    change(proxy, &["configuration"], false, || set(proxy, "log", "level", "warn"));
    let lines = || fs::read_to_string(&proxy.log).unwrap().matches("/health").count();
    let before = lines();
    assert_eq!(sender.get("/health").status, 429);
    // a line may come after its answer, but not after the end
    stack.stop().unwrap();
    assert_eq!(lines(), before, "an access line although the level is `warn`");
}

#[test]
fn a_certificate_that_main_servers_do_not_know_yet_waits_until_they_do() {
    let stack = Stack::start(options().proxy_config(&format!("{EVERY}{PATIENT}"))).unwrap();
    let (proxy, sender) = (&stack.proxies[0].process, Sender::new(&stack));
    let renewing = Renewing { stack: &stack, role: Role::Proxy, name: "proxy-1" };
    let (cert, key) = renewing.files();
    // on connections from before: what the client door shows changes too
    let steady = Steady::start(&sender.client, &[stack.url().to_owned()], &[Speaking::Http2], 1);
    steady.wait_for(1);
    let issue = |authority: &Authority| {
        let request = ServiceRequest { hosts: Host::loopback(), ..ServiceRequest::default() };
        let issued = authority.issue_service(Role::Proxy, &"proxy-1".parse().unwrap(), &request).unwrap();
        put(&key, issued.key().pem());
        put(&cert, issued.certificate_pem());
        let waits = eventually(DEADLINE, || refused(proxy, "main_servers").then_some(()));
        assert!(waits.is_some(), "{}", proxy.log_tail());
        issued
    };
    // of a CA that they do not believe, and then of theirs, but unknown
    issue(&Authority::create(TrustDomain::default()).unwrap());
    steady.wait_for(5);
    let issued = issue(stack.authority());
    // the check was refused before; that this one was looked at is seen in the log and at the client door
    let logged = || fs::read_to_string(&proxy.log).unwrap().contains("is it registered in `services`?");
    let seen = eventually(DEADLINE, || (logged() && sender.get("/health").status == 200).then_some(()));
    assert!(seen.is_some(), "{}", proxy.log_tail());
    steady.wait_for(5);
    assert_eq!(sender.post_message("by the old one").status, 202);
    change(proxy, &["main_servers"], false, || {
        let statement = format!(
            "SELECT renew_service('proxy', 'proxy-1', '{}', now() + interval '1 day', interval '0')",
            issued.fingerprint()
        );
        stack.sql(&statement).unwrap();
    });
    steady.wait_for(5);
    assert!(!steady.accepted().is_empty());
    assert_eq!(sender.post_message("by the new one").status, 202);
}
