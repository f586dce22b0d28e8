//! The configuration of each process, as TOML: what only this stack knows; the rest keeps its defaults.

use std::{fs, io::Write, net::SocketAddr, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::Context as _;
use serde_json::{Value as Json, json};
use toml::{Table, Value};

use super::pki::ServiceFiles;

/// What the configuration of every process names.
pub(super) struct Facts<'a> {
    /// Its certificate and key.
    pub(super) files: &'a ServiceFiles,
    /// The folder of the PKI.
    pub(super) pki: &'a Path,
    /// The database as this process may use it.
    pub(super) database_url: String,
    /// Where its management listener is.
    pub(super) management: SocketAddr,
}

pub(super) fn proxy(facts: &Facts<'_>, clients: SocketAddr, main_servers: &[String]) -> Json {
    json!({
        "listen": { "clients": clients, "management": facts.management },
        "tls": {
            "certificate": facts.files.cert,
            "key": facts.files.key,
            "clients_ca": facts.pki.join("clients-ca.crt"),
            "services_ca": facts.pki.join("services-ca.crt"),
        },
        "registry": {
            "database_url": facts.database_url,
            "unsafe_plaintext_database": is_loopback(&facts.database_url),
        },
        "crl": { "authorities": facts.pki.join("ca.crt") },
        "upstream": { "servers": main_servers },
    })
}

pub(super) fn main_server(
    facts: &Facts<'_>,
    proxies: SocketAddr,
    workers: SocketAddr,
    keyring: &Path,
) -> Json {
    json!({
        "listen": { "proxy_door": proxies, "worker_door": workers, "management": facts.management },
        "tls": {
            "certificate": facts.files.cert,
            "key": facts.files.key,
            "services_ca": facts.pki.join("services-ca.crt"),
        },
        "database": {
            "url": facts.database_url,
            "unsafe_plaintext_database": is_loopback(&facts.database_url),
        },
        "crl": { "authorities": facts.pki.join("ca.crt") },
        "keyring": { "file": keyring },
    })
}

pub(super) fn worker(facts: &Facts<'_>, main_servers: &[String], output: &Path) -> Json {
    json!({
        "server": { "urls": main_servers },
        "tls": {
            "certificate": facts.files.cert,
            "key": facts.files.key,
            "ca": facts.pki.join("services-ca.crt"),
        },
        "sink": { "output": output },
        "listen": { "management": facts.management },
    })
}

/// Writes a configuration with patches over it, for our own eyes: a database URL may hold a password.
pub(super) fn write(file: &Path, config: &Json, patches: [&str; 2]) -> anyhow::Result<()> {
    let mut table = Table::try_from(config).context("a configuration that TOML cannot express")?;
    for patch in patches {
        lay_over(&mut table, patch.parse().with_context(|| format!("this is no TOML: {patch}"))?);
    }
    let written = fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(file);
    let written = written.and_then(|mut file| file.write_all(table.to_string().as_bytes()));
    written.with_context(|| format!("cannot write {}", file.display()))
}

fn lay_over(table: &mut Table, patch: Table) {
    for (key, value) in patch {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// Whether a database is reached over TCP without leaving this machine, where TLS protects nothing.
fn is_loopback(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest).split(['/', '?']).next().unwrap_or("");
    let host = authority.rsplit('@').next().unwrap_or("");
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|own| host.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let mut table = "[a]\nx = 1\ny = 2\n[b]\nz = 3".parse::<Table>().unwrap();
        lay_over(&mut table, "[a]\ny = 5\n[c]\nw = 6".parse().unwrap());
        assert_eq!(table, "[a]\nx = 1\ny = 5\n[b]\nz = 3\n[c]\nw = 6".parse().unwrap());
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for own in ["postgres://a:b@localhost/p", "postgres://127.0.0.1:5433/p", "postgresql://a@[::1]"] {
            assert!(is_loopback(own), "{own}");
        }
        for other in
            ["postgres://localhost@db/p", "postgres://localhost.example/p", "postgresql://a@%2Ftmp/p"]
        {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
