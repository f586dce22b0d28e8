//! The copy of the client table, against a real database: nothing is missed, nothing is kept too long.

use std::{sync::Arc, time::Duration};

use private_postgres::{apply_migrations, fresh_database, migrations_folder, psql};
use proxy::registry::{Registry, Status, Sync};
use shared::{identity::Fingerprint, serve::Connections};
use sqlx::{Connection as _, Executor as _, PgConnection};

const A: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const B: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

/// A database, and a proxy's copy of its client table.
struct Copy {
    url: String,
    registry: Arc<Registry>,
    sync: Sync,
}

impl Copy {
    fn new() -> Self {
        let url = fresh_database(|url| Ok(apply_migrations(url, &migrations_folder())?)).unwrap();
        let registry = Arc::new(Registry::new(Duration::from_mins(1)));
        let config = toml(&url);
        let sync = Sync::new(&config, registry.clone(), Arc::new(Connections::new())).unwrap();
        Self { url, registry, sync }
    }

    fn sql(&self, statements: &str) {
        psql(&self.url, statements).unwrap();
    }

    fn add(&self, client_id: &str, fingerprint: &str) {
        self.sql(&format!(
            "INSERT INTO clients (client_id, cert_fingerprint, expires_at)
             VALUES ('{client_id}', '{fingerprint}', now() + interval '1 day')"
        ));
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    fn status(&self, fingerprint: &str) -> Option<Status> {
        self.registry.row(&parse(fingerprint)).map(|row| row.status)
    }
}

fn toml(url: &str) -> proxy::config::Registry {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.toml");
    let text = format!(
        "[registry]\ndatabase_url = '{url}'\n[tls]\ncertificate = 'a'\nkey = 'a'\nclients_ca = 'a'\n\
         services_ca = 'a'\n[upstream]\nservers = ['https://localhost:1']\n"
    );
    std::fs::write(&file, text).unwrap();
    shared::config::load::<proxy::Config>(&file).unwrap().registry
}

fn parse(fingerprint: &str) -> Fingerprint {
    fingerprint.parse().unwrap()
}

#[tokio::test]
async fn a_copy_is_stale_until_its_first_sync() {
    let mut copy = Copy::new();
    assert!(copy.registry.is_stale());
    copy.sync.sync().await.unwrap();
    assert!(!copy.registry.is_stale());
}

#[tokio::test]
async fn a_transaction_that_commits_after_a_later_one_is_not_missed() {
    let mut copy = Copy::new();
    copy.sync.sync().await.unwrap();
    let mut early = copy.connect().await;
    let insert = |client: &str, fingerprint: &str| {
        format!(
            "INSERT INTO clients (client_id, cert_fingerprint, expires_at)
             VALUES ('{client}', '{fingerprint}', now() + interval '1 day')"
        )
    };
    early.execute("BEGIN").await.unwrap();
    early.execute(sqlx::AssertSqlSafe(insert("early", A))).await.unwrap();
    copy.add("late", B);
    copy.sync.sync().await.unwrap();
    assert_eq!((copy.status(A), copy.status(B)), (None, Some(Status::Active)));

    early.execute("COMMIT").await.unwrap();
    copy.sync.sync().await.unwrap();
    assert_eq!(copy.status(A), Some(Status::Active));
}

#[tokio::test]
async fn every_way_to_change_the_table_takes_effect() {
    let mut copy = Copy::new();
    copy.add("client_001", A);
    copy.sync.sync().await.unwrap();
    assert_eq!(copy.status(A), Some(Status::Active));

    copy.sql("UPDATE clients SET status = 'suspended'");
    copy.sync.sync().await.unwrap();
    assert_eq!(copy.status(A), Some(Status::Suspended));

    copy.sql(&format!("UPDATE clients SET status = 'active', cert_fingerprint = '{B}'"));
    copy.sync.sync().await.unwrap();
    assert_eq!((copy.status(A), copy.status(B)), (None, Some(Status::Active)));

    copy.sql("DELETE FROM clients");
    copy.sync.sync().await.unwrap();
    assert_eq!(copy.status(B), None);

    copy.add("client_002", B);
    copy.sync.sync().await.unwrap();
    copy.sql("TRUNCATE clients");
    copy.sync.sync().await.unwrap();
    assert_eq!((copy.status(B), copy.registry.len()), (None, 0));
}

#[tokio::test]
async fn a_fingerprint_that_moves_to_another_client_stays_known() {
    let mut copy = Copy::new();
    copy.add("one", A);
    copy.sync.sync().await.unwrap();
    copy.sql(&format!("UPDATE clients SET cert_fingerprint = '{B}' WHERE client_id = 'one'"));
    copy.add("two", A);
    copy.sync.sync().await.unwrap();
    let owner = copy.registry.row(&parse(A)).map(|row| row.client_id.to_string());
    assert_eq!(owner.as_deref(), Some("two"));
}

#[tokio::test]
async fn a_revocation_carries_its_reason_code_and_is_final() {
    let mut copy = Copy::new();
    copy.add("client_001", A);
    copy.sql("UPDATE clients SET status = 'revoked', revocation_reason = 'keycompromise'");
    copy.sync.sync().await.unwrap();
    assert!(matches!(copy.status(A), Some(Status::Revoked { reason: "keyCompromise", .. })));

    let again = psql(&copy.url, "UPDATE clients SET status = 'active'").unwrap_err().to_string();
    assert!(again.contains("stays revoked"), "{again}");
    copy.sql("DELETE FROM clients");
    let anew = format!(
        "INSERT INTO clients (client_id, cert_fingerprint, expires_at) VALUES ('other', '{A}', now() + interval '1 day')"
    );
    assert!(psql(&copy.url, &anew).is_err());
}

#[tokio::test]
async fn a_row_that_never_ends_does_not_stop_the_sync() {
    let mut copy = Copy::new();
    copy.add("client_001", A);
    copy.sql("UPDATE clients SET expires_at = 'infinity'");
    copy.sync.sync().await.unwrap();
    assert_eq!(copy.registry.row(&parse(A)).map(|row| row.expires_at), Some(i64::MAX));
}

#[tokio::test]
async fn the_proxys_role_reads_the_registry_and_nothing_else() {
    let copy = Copy::new();
    copy.add("client_001", A);
    let mut proxy = copy.connect().await;
    proxy.execute("SET ROLE portcullis_proxy").await.unwrap();
    for allowed in
        ["SELECT * FROM client_registry", "SELECT * FROM crl_registry", "LISTEN portcullis_registry"]
    {
        assert!(proxy.execute(allowed).await.is_ok(), "{allowed}");
    }
    for refused in [
        "SELECT * FROM clients",
        "SELECT * FROM services",
        "SELECT * FROM messages",
        "SELECT * FROM jobs",
        "SELECT * FROM revoked_fingerprints",
        "UPDATE clients SET status = 'active'",
        "DELETE FROM client_tombstones",
        "UPDATE registry_epoch SET epoch = 9",
    ] {
        let error = proxy.execute(refused).await.unwrap_err();
        let denied =
            error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() == Some("42501");
        assert!(denied, "{refused}: {error}");
    }
}
