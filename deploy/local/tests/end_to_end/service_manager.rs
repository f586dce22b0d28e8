//! Under a service manager: what it is told, sockets that it hands over, and a second process at the same door.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{fs, net::TcpListener};

use local::{Process, Stack, eventually};
use rustix::{
    process::Signal,
    time::{ClockId, clock_gettime},
};

use crate::support::{
    DEADLINE, Sender,
    manager::Manager,
    options,
    steady::{Speaking, Steady},
};

/// Microseconds of the clock that systemd goes by.
fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000 + now.tv_nsec / 1000).unwrap()
}

fn tells_how_it_is(process: &Process, abstract_name: bool) {
    let manager = Manager::new(abstract_name).with("WATCHDOG_USEC", "200000");
    let mut child = manager.start(process);
    assert_eq!(manager.hears(), "READY=1", "{}", process.name);
    // said after a while, too, by a process whose checks do not hold yet: a slow machine is no fault of it
    let ready = eventually(DEADLINE, || (process.get("/readyz").ok()?.0 == 200).then_some(()));
    assert!(ready.is_some(), "{}", process.log_tail());
    assert_eq!(manager.hears_anything(), "WATCHDOG=1", "{}", process.name);

    let before = monotonic();
    child.signal(Signal::HUP);
    let reloading = manager.hears();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    let time: u64 = time.unwrap_or_else(|| panic!("{reloading}")).parse().unwrap();
    assert!((before..=monotonic()).contains(&time), "{before} {time}");
    assert_eq!(manager.hears(), "READY=1", "{}", process.name);

    child.signal(Signal::TERM);
    assert_eq!(manager.hears(), "STOPPING=1", "{}", process.name);
    assert!(child.ends().success(), "{}", process.log_tail());
}

#[test]
fn a_manager_hears_when_each_process_is_ready_reads_anew_is_alive_and_stops() {
    let stack = Stack::start(options()).unwrap();
    for (number, process) in stack.processes().enumerate() {
        process.stop().unwrap();
        tells_how_it_is(process, number % 2 == 1);
        process.start().unwrap();
    }
}

#[test]
fn a_manager_that_does_not_listen_holds_nothing_up() {
    let stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    let process = &stack.main_servers[0].process;
    process.stop().unwrap();
    let manager = Manager::new(false).with("WATCHDOG_USEC", "20000");
    let mut child = manager.start(process);
    assert!(eventually(DEADLINE, || (process.get("/livez").ok()?.0 == 200).then_some(())).is_some());
    assert!(eventually(DEADLINE, || manager.is_deaf().then_some(())).is_some());
    child.signal(Signal::TERM);
    assert!(child.ends().success(), "{}", process.log_tail());
    let log = fs::read_to_string(&process.log).unwrap();
    assert!(!log.contains("should have ended with everything else"), "{log}");
    process.start().unwrap();
}

#[test]
fn with_a_socket_of_the_manager_a_proxy_is_replaced_and_no_connection_is_refused() {
    let stack = Stack::start(options().proxy_config("[upstream]\nretry_for = '25s'")).unwrap();
    let (proxy, sender) = (&stack.proxies[0].process, Sender::new(&stack));
    proxy.stop().unwrap();
    // another address than the configured one: the name says which door it is for
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", socket.local_addr().unwrap().port());
    let manager = Manager::new(false).handing_over(socket, "clients");
    let mut child = manager.start(proxy);
    // a connection that was let in just before may be closed unused; one that is refused, twice in a row, is a failure
    let steady = Steady::start(&sender.client, &[url], &[Speaking::Anew, Speaking::Anew], 2);
    assert_eq!(manager.hears(), "READY=1");
    for _ in 0..3 {
        steady.wait_for(10);
        child.signal(Signal::TERM);
        assert_eq!(manager.hears(), "STOPPING=1");
        assert!(child.ends().success(), "{}", proxy.log_tail());
        child = manager.start(proxy);
        assert_eq!(manager.hears(), "READY=1");
    }
    steady.wait_for(10);
    assert!(!steady.accepted().is_empty());
    child.signal(Signal::TERM);
    assert!(child.ends().success());
    proxy.start().unwrap();
}

#[test]
fn a_socket_that_no_door_is_for_is_refused_by_name() {
    let stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    let process = &stack.main_servers[0].process;
    process.stop().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = Manager::new(false).handing_over(socket, "clients").start(process);
    assert_eq!(child.ends().code(), Some(1));
    let log = fs::read_to_string(&process.log).unwrap();
    assert!(log.contains("\\\"clients\\\"") || log.contains("\"clients\""), "{log}");
    assert!(log.contains("proxy_door, worker_door, management"), "{log}");
    process.start().unwrap();
}

#[test]
fn a_new_proxy_starts_beside_the_old_one_at_the_same_door_where_both_may() {
    let stack = Stack::start(options().proxy_config("[listen]\nreuse_port = true")).unwrap();
    let (proxy, sender) = (&stack.proxies[0].process, Sender::new(&stack));
    let manager = Manager::new(false).with("PORTCULLIS_LISTEN__MANAGEMENT", "127.0.0.1:0");
    let mut beside = manager.start(proxy);
    assert_eq!(manager.hears(), "READY=1");
    let steady = Steady::start(&sender.client, &[stack.url().to_owned()], &[Speaking::Anew], 2);
    steady.wait_for(10);
    proxy.stop().unwrap();
    steady.wait_for(10);
    steady.accepted();
    beside.signal(Signal::TERM);
    assert!(beside.ends().success());

    // without the option the second one is told what is the matter
    proxy.start().unwrap();
    let alone = Manager::new(false)
        .with("PORTCULLIS_LISTEN__MANAGEMENT", "127.0.0.1:0")
        .with("PORTCULLIS_LISTEN__REUSE_PORT", "false");
    assert_eq!(alone.start(proxy).ends().code(), Some(1));
    let log = fs::read_to_string(&proxy.log).unwrap();
    assert!(log.contains("(clients): is it in use?"), "{log}");
}
