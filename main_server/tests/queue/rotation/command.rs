//! `portcullis-server rotate-keys`, the shipped binary.

use std::process::Command;

use super::server::Server;
use crate::stack::{as_server, eventually, message};

struct Said {
    success: bool,
    text: String,
}

impl Server {
    fn rotate_keys(&self, url: &str, options: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis-server"))
            .args(["rotate-keys", "--file", self.file.to_str().unwrap()])
            .args(options)
            .env("DATABASE_URL", as_server(url))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        Said { success: output.status.success(), text: text.into_owned() }
    }
}

#[tokio::test]
async fn a_key_is_retired_when_nothing_needs_it_and_not_before() {
    let (mut server, url) = Server::new().await;
    server.store(&[message("client_001", "hello")]).await;
    let said = server.rotate_keys(&url, &["--retire", "k1"]);
    assert!(!said.success && said.text.contains("k1 is the current key"), "{}", said.text);

    // The file is changed while the server runs; it has not said yet that it knows.
    let said = server.rotate_keys(&url, &[]);
    assert!(said.success && said.text.contains("k2 is the current key"), "{}", said.text);
    let said = server.rotate_keys(&url, &["--retire", "k1"]);
    assert!(!said.success && said.text.contains("k1 seals 1 messages and 0 errors"), "{}", said.text);
    let said = server.rotate_keys(&url, &["--status"]);
    assert!(said.success && said.text.contains("key k1: 1 messages, 0 errors\n"), "{}", said.text);
    assert!(said.text.contains("key k2: 0 messages, 0 errors, current"), "{}", said.text);

    server.reseal("main-1");
    eventually(|| async { server.sealed_under("k1").await == "0 0" }).await;
    server.sql("INSERT INTO key_rings VALUES ('main-2', 'k1', '{k1}')").await;
    let said = server.rotate_keys(&url, &["--retire", "k1"]);
    assert!(!said.success && said.text.contains("main server main-2 seals under k1"), "{}", said.text);
    server.sql("UPDATE key_rings SET current_key = 'k2', key_ids = '{k1,k2}'").await;
    let said = server.rotate_keys(&url, &["--status"]);
    for line in [
        "key k1: 0 messages, 0 errors, seals nothing any more",
        "main server main-1: seals under k2, has k1, k2",
    ] {
        assert!(said.text.contains(line), "{}", said.text);
    }
    let said = server.rotate_keys(&url, &["--retire", "k1"]);
    assert!(said.success, "{}", said.text);
    let said = server.rotate_keys(&url, &["--retire", "k1"]);
    assert!(!said.success && said.text.contains("has no key k1"), "{}", said.text);
    server.end().await;
}
