//! Main servers that a proxy must not speak to: refused by their row or by a list, on an open connection too.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use local::{Stack, eventually};

use crate::{
    support::{DEADLINE, Sender, options},
    traffic::metric,
};

fn set(stack: &Stack, name: &str, columns: &str) {
    stack
        .sql(&format!("UPDATE services SET {columns} WHERE role = 'main-server' AND service_id = '{name}'"))
        .unwrap();
}

fn wait_until_answering(stack: &Stack, expected: &str) {
    let mut last = String::new();
    let seen = eventually(DEADLINE, || {
        last = stack.proxies[0].process.get("/readyz").unwrap().1;
        last.contains(expected).then_some(())
    });
    assert!(seen.is_some(), "never {expected:?}: {last}");
}

/// Connections at the proxy door of a main server.
fn connections(stack: &Stack, server: usize) -> u64 {
    metric(&stack.main_servers[server].process, "portcullis_connections{door=\"proxy door\"}")
}

#[test]
fn a_main_server_that_is_not_active_is_not_spoken_to_on_an_open_connection_either() {
    let stack = Stack::start(options().processes(1, 2, 0)).unwrap();
    let sender = Sender::new(&stack);
    for (name, columns, undo) in [
        ("main-server-1", "status = 'suspended'", "status = 'active'"),
        ("main-server-1", "expires_at = now() - interval '1 day'", "expires_at = now() + interval '1 day'"),
        ("main-server-1", "status = 'revoked'", ""),
    ] {
        wait_until_answering(&stack, "2 of 2 main servers answer");
        assert_eq!(sender.post_message("to either").status, 202, "{columns}");
        set(&stack, name, columns);
        wait_until_answering(&stack, "1 of 2 main servers answer");
        let dropped = eventually(DEADLINE, || (connections(&stack, 0) == 0).then_some(()));
        assert!(dropped.is_some(), "{columns}: {} connections", connections(&stack, 0));
        for _ in 0..4 {
            assert_eq!(sender.post_message("to the one that is left").status, 202, "{columns}");
        }
        if !undo.is_empty() {
            set(&stack, name, undo);
        }
    }
    // Also when no row is left that says so.
    stack.sql("DELETE FROM services WHERE service_id = 'main-server-1'").unwrap();
    set(&stack, "main-server-2", "status = 'revoked'");
    wait_until_answering(&stack, "0 of 2 main servers answer");
    let unsent = sender.post_message("to nobody");
    assert_eq!((unsent.status, unsent.code().as_str()), (503, "upstream_unavailable"), "{unsent:?}");
}

#[test]
fn a_main_server_on_the_services_list_is_not_spoken_to_on_an_open_connection_either() {
    let stack = Stack::start(options().processes(1, 2, 0)).unwrap();
    let sender = Sender::new(&stack);
    wait_until_answering(&stack, "2 of 2 main servers answer");
    let certificate = stack.pki().join("services/main-server/main-server-2/main-server-2.crt");
    stack.revoke_by_crl(&certificate).unwrap();
    wait_until_answering(&stack, "1 of 2 main servers answer");
    let dropped = eventually(DEADLINE, || (connections(&stack, 1) == 0).then_some(()));
    assert!(dropped.is_some());
    for _ in 0..4 {
        assert_eq!(sender.post_message("to the one that is left").status, 202);
    }
}

#[test]
fn a_refused_main_server_is_given_up_also_when_the_proxys_own_files_cannot_be_read_any_more() {
    let stack = Stack::start(options().processes(1, 2, 0)).unwrap();
    let sender = Sender::new(&stack);
    wait_until_answering(&stack, "2 of 2 main servers answer");
    let folder = stack.pki().join("services/proxy/proxy-1");
    for file in ["proxy-1.crt", "proxy-1.key"] {
        std::fs::write(folder.join(file), "half").unwrap();
    }
    set(&stack, "main-server-1", "status = 'suspended'");
    wait_until_answering(&stack, "1 of 2 main servers answer");
    let dropped = eventually(DEADLINE, || (connections(&stack, 0) == 0).then_some(()));
    assert!(dropped.is_some(), "{} connections", connections(&stack, 0));
    assert_eq!(sender.post_message("to the one that is left").status, 202);
}
