//! Registering, in a real database: by the command line, and by the SQL that it prints.

#![expect(clippy::unwrap_used, reason = "a test whose database is missing cannot go on")]

use certs::{TrustDomain, register};
use private_postgres::{SUPERUSER, apply_migrations, migrations_folder, psql};
use shared::identity::Role;
use sqlx::{Connection, PgConnection};
use time::{Duration, OffsetDateTime};

use crate::support::{Pki, answer, command_line};

/// A migrated database of this test's own.
pub(crate) fn database() -> String {
    private_postgres::fresh_database(|url| Ok(apply_migrations(url, &migrations_folder())?)).unwrap()
}

const CLIENTS: &str =
    "SELECT client_id, cert_fingerprint, domain, status, issued_at, expires_at, revoked_at FROM clients";
const SERVICES: &str =
    "SELECT service_id, role, cert_fingerprint, status, issued_at, expires_at FROM services";
const CRLS: &str =
    "SELECT issuer_name, issuer_key_id, crl_number, this_update, next_update, der FROM crls ORDER BY der";

/// The statements at the end of what the command line printed.
fn printed_sql(out: &str) -> &str {
    &out[out.find("INSERT INTO").unwrap()..]
}

#[test]
fn issuing_registers_the_holder_as_active() {
    let (pki, database) = (Pki::create(), database());
    let issued =
        pki.run(&["issue", "client", "client_001", "--domain", "example.com", "--database-url", &database]);
    assert_eq!(issued.code, Some(0), "{issued:?}");
    assert!(issued.out.contains("registered in the database as active"), "{issued:?}");
    let fingerprint = std::fs::read_to_string(pki.at("clients/client_001/fingerprint.txt")).unwrap();
    let fingerprint = fingerprint.trim().trim_start_matches("SHA256 Fingerprint=").replace(':', "");
    let row = psql(&database, "SELECT fingerprint, client_id, domain, status FROM client_registry").unwrap();
    assert_eq!(row.trim(), format!("{fingerprint}|client_001|example.com|active"));

    assert_eq!(pki.run(&["--database-url", &database, "issue", "worker", "w1"]).code, Some(0));
    let row = psql(&database, "SELECT service_id, role, status FROM service_registry").unwrap();
    assert_eq!(row.trim(), "w1|worker|active");
}

#[test]
fn the_database_may_be_named_by_the_environment() {
    let (pki, database) = (Pki::create(), database());
    let mut command = command_line();
    command.arg("--dir").arg(pki.dir()).args(["issue", "operator", "o1"]).env("DATABASE_URL", &database);
    assert_eq!(answer(command).code, Some(0));
    assert_eq!(psql(&database, "SELECT role, service_id FROM services").unwrap().trim(), "operator|o1");
}

#[test]
fn the_printed_sql_makes_the_row_that_registering_makes() {
    let pki = Pki::create();
    for (kind, table) in [
        (&["client", "c1", "--domain", "example.com"][..], CLIENTS),
        (&["proxy", "p1", "--host", "localhost"], SERVICES),
    ] {
        let (pasted, registered) = (database(), database());
        let issued = pki.run(&[&["issue"], kind].concat());
        assert_eq!(issued.code, Some(0), "{issued:?}");
        psql(&pasted, printed_sql(&issued.out)).unwrap();

        let holder = if kind[0] == "client" {
            shared::identity::Workload::Client("c1".parse().unwrap())
        } else {
            shared::identity::Workload::Service(Role::Proxy, "p1".parse().unwrap())
        };
        let on_disk = certs::Issued::load(&pki.dir(), &holder).unwrap().unwrap();
        with_connection(&registered, async |connection| {
            assert_eq!(register::issued(connection, &on_disk).await.unwrap(), register::Registered::Now);
        });
        assert_eq!(psql(&pasted, table).unwrap(), psql(&registered, table).unwrap());
        assert_ne!(psql(&pasted, table).unwrap().trim(), "");
    }
}

#[test]
fn sql_that_was_lost_is_printed_again() {
    let pki = Pki::create();
    let issued = pki.run(&["issue", "client", "client_001"]);
    let again = pki.run(&["issue", "client", "client_001"]);
    assert_eq!(again.code, Some(1));
    assert_eq!(printed_sql(&again.error).trim(), printed_sql(&issued.out).trim());
}

#[test]
fn the_printed_lists_are_those_that_registering_sends() {
    let (pki, pasted, registered) = (Pki::nowhere(), database(), database());
    let made = pki.run(&["init-ca", "--no-passphrase"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    for _ in 0..2 {
        psql(&pasted, printed_sql(&made.out)).unwrap();
    }
    assert_eq!(pki.run(&["issue", "worker", "w1", "--database-url", &registered]).code, Some(0));
    let lists = psql(&pasted, CRLS).unwrap();
    assert_eq!(lists.lines().count(), 3);
    assert_eq!(lists, psql(&registered, CRLS).unwrap());
}

#[test]
fn init_ca_with_a_database_puts_its_lists_in_force() {
    let (pki, database) = (Pki::nowhere(), database());
    let made = pki.run(&["init-ca", "--no-passphrase", "--database-url", &database]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(!made.out.contains("INSERT"), "{made:?}");
    assert_eq!(psql(&database, "SELECT count(*) FROM crl_registry").unwrap().trim(), "3");
}

#[test]
fn a_registered_name_keeps_its_certificate() {
    let (first, second, database) = (Pki::create(), Pki::create(), database());
    let issue = |pki: &Pki, kind: &str| pki.run(&["issue", kind, "n1", "--database-url", &database]);
    for (kind, table) in [("client", CLIENTS), ("worker", SERVICES)] {
        assert_eq!(issue(&first, kind).code, Some(0));
        let (row, files) = (psql(&database, table).unwrap(), second.contents());
        let refused = issue(&second, kind);
        assert_eq!(refused.code, Some(1));
        assert!(
            refused.error.contains(&format!("{kind} n1 is registered with another certificate")),
            "{refused:?}"
        );
        assert_eq!(psql(&database, table).unwrap(), row);
        assert_eq!(second.contents(), files, "no key is left of what was refused");
    }
}

#[test]
fn registering_a_certificate_twice_leaves_its_status_alone() {
    let (pki, database) = (Pki::create(), database());
    let issued = pki.issue_client("client_001");
    with_connection(&database, async |connection| {
        assert_eq!(register::issued(connection, &issued).await.unwrap(), register::Registered::Now);
        sqlx::query("UPDATE clients SET status = 'suspended'").execute(&mut *connection).await.unwrap();
        assert_eq!(register::issued(connection, &issued).await.unwrap(), register::Registered::Before);
    });
    assert_eq!(psql(&database, "SELECT status FROM clients").unwrap().trim(), "suspended");
}

#[test]
fn a_database_that_cannot_register_leaves_no_certificate() {
    let (pki, cluster) = (Pki::create(), private_postgres::shared().unwrap());
    cluster.create_database("not_migrated").unwrap();
    let before = pki.contents();
    for (url, why) in [
        (cluster.url("not_migrated", SUPERUSER), "run portcullis-server migrate first"),
        (cluster.url("no_such_database", SUPERUSER), "cannot connect to the database"),
        ("postgresql://u:s3cret@db.example/portcullis".to_owned(), "without sslmode=verify-full"),
        ("mysql://db".to_owned(), "must start with postgresql://"),
    ] {
        let refused = pki.run(&["issue", "client", "client_001", "--database-url", &url]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.error.contains(why), "{refused:?}");
        assert!(!refused.error.contains("s3cret"), "{refused:?}");
        assert_eq!(pki.contents(), before);

        let nowhere = Pki::nowhere();
        assert_eq!(nowhere.run(&["init-ca", "--no-passphrase", "--database-url", &url]).code, Some(1));
        assert!(nowhere.contents().is_empty());
    }
}

#[test]
fn an_operator_may_register_and_a_proxy_may_not() {
    let (pki, database) = (Pki::create(), database());
    let as_user = |user: &str| database.replacen(&format!("//{SUPERUSER}@"), &format!("//{user}@"), 1);
    for role in ["operator", "proxy"] {
        psql(&database, &format!("CREATE ROLE certs_{role} LOGIN IN ROLE portcullis_{role}")).unwrap();
    }
    let issue =
        |client: &str, user: &str| pki.run(&["issue", "client", client, "--database-url", &as_user(user)]);
    let done = issue("client_001", "certs_operator");
    assert_eq!(done.code, Some(0), "{done:?}");
    let refused = issue("client_002", "certs_proxy");
    assert_eq!(refused.code, Some(1));
    assert!(refused.error.contains("grant it the role portcullis_operator"), "{refused:?}");
}

#[test]
fn an_older_list_never_takes_the_place_of_a_newer_one() {
    let database = database();
    let authority = certs::Authority::create(TrustDomain::default()).unwrap();
    let now = OffsetDateTime::now_utc();
    let list = |number| authority.clients().sign_crl(number, now, now + Duration::days(7), &[]).unwrap();
    let (fifth, second, sixth) = (list(5), list(2), list(6));
    let number = || psql(&database, "SELECT crl_number FROM crls").unwrap().trim().to_owned();
    with_connection(&database, async |connection| {
        for (sent, in_force) in [(&fifth, "5"), (&second, "5"), (&fifth, "5"), (&sixth, "6")] {
            register::crls(connection, &[sent]).await.unwrap();
            assert_eq!(number(), in_force);
        }
    });
}

/// Runs `work` with a connection of its own.
fn with_connection(url: &str, work: impl AsyncFnOnce(&mut PgConnection)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await.unwrap();
        work(&mut connection).await;
        connection.close().await.unwrap();
    });
}
