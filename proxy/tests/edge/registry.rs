//! The copy of the client table, against a real database: nothing is missed, nothing is kept too long.

use std::{sync::Arc, time::Duration};

use private_postgres::{apply_migrations, fresh_database, migrations_folder, psql};
use proxy::registry::{RateOverride, Registry, Status, Sync};
use shared::{identity::Fingerprint, serve::Connections, shutdown::Shutdown};
use sqlx::{Connection as _, Executor as _, PgConnection};

const DEADLINE: Duration = Duration::from_secs(30);
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
async fn the_poll_alone_suffices_when_every_notification_is_lost() {
    let copy = Copy::new();
    // What a pooler in transaction mode does, done to the functions that notify.
    copy.sql(
        "DO $$ DECLARE one oid; BEGIN
             FOR one IN SELECT oid FROM pg_proc WHERE prosrc LIKE '%NOTIFY portcullis_registry;%' LOOP
                 EXECUTE replace(pg_get_functiondef(one), 'NOTIFY portcullis_registry;', '');
             END LOOP;
         END $$",
    );
    let (registry, shutdown) = (copy.registry.clone(), Shutdown::new());
    let mut applied = registry.applied();
    shutdown.spawn("registry sync", copy.sync.run(shutdown.clone()));
    let statements = [
        format!(
            "INSERT INTO clients (client_id, cert_fingerprint, expires_at) VALUES ('one', '{A}', 'infinity')"
        ),
        "UPDATE clients SET status = 'suspended'".to_owned(),
        format!("UPDATE clients SET status = 'active', cert_fingerprint = '{B}'"),
        "DELETE FROM clients".to_owned(),
        format!(
            "INSERT INTO clients (client_id, cert_fingerprint, expires_at) VALUES ('two', '{A}', 'infinity')"
        ),
        "TRUNCATE clients".to_owned(),
    ];
    let expected = [
        (Some(Status::Active), None),
        (Some(Status::Suspended), None),
        (None, Some(Status::Active)),
        (None, None),
        (Some(Status::Active), None),
        (None, None),
    ];
    for (statement, expected) in statements.iter().zip(expected) {
        psql(&copy.url, statement).unwrap();
        let status = |fingerprint: &str| registry.row(&parse(fingerprint)).map(|row| row.status);
        let seen = async {
            while (status(A), status(B)) != expected {
                applied.changed().await.unwrap();
            }
        };
        tokio::time::timeout(DEADLINE, seen).await.unwrap_or_else(|_| panic!("not seen: {statement}"));
    }
    shutdown.request();
    shutdown.drained(DEADLINE).await;
}

#[tokio::test]
async fn a_transaction_that_stays_open_makes_a_sync_fetch_nothing_twice_and_miss_nothing() {
    let mut copy = Copy::new();
    copy.sync.sync().await.unwrap();
    let mut lasting = copy.connect().await;
    lasting.execute("BEGIN").await.unwrap();
    let insert = format!(
        "INSERT INTO clients (client_id, cert_fingerprint, expires_at) VALUES ('lasting', '{A}', 'infinity')"
    );
    lasting.execute(sqlx::AssertSqlSafe(insert)).await.unwrap();
    copy.sql(
        "INSERT INTO clients (client_id, cert_fingerprint, expires_at)
         SELECT 'client_' || n, upper(encode(sha256(n::text::bytea), 'hex')), 'infinity' FROM generate_series(1, 500) n",
    );
    assert_eq!(copy.sync.sync().await.unwrap(), 500);
    for _ in 0..3 {
        assert_eq!(copy.sync.sync().await.unwrap(), 0);
    }
    copy.sql("UPDATE clients SET status = 'suspended' WHERE client_id = 'client_7'");
    copy.sql("DELETE FROM clients WHERE client_id = 'client_8'");
    assert_eq!(copy.sync.sync().await.unwrap(), 2);
    assert_eq!((copy.registry.len(), copy.status(A)), (499, None));

    lasting.execute("COMMIT").await.unwrap();
    assert_eq!(copy.sync.sync().await.unwrap(), 1);
    assert_eq!(copy.status(A), Some(Status::Active));
    assert_eq!(copy.sync.sync().await.unwrap(), 0);
}

#[tokio::test]
async fn rows_that_a_dump_brought_from_another_server_are_not_fetched_again_and_again() {
    let mut copy = Copy::new();
    copy.sql(&format!(
        "ALTER TABLE clients DISABLE TRIGGER USER;
         INSERT INTO clients (client_id, cert_fingerprint, expires_at, change_xid)
         VALUES ('restored', '{A}', 'infinity', '1000000000');
         ALTER TABLE clients ENABLE TRIGGER USER"
    ));
    assert_eq!(copy.sync.sync().await.unwrap(), 1);
    assert_eq!(copy.sync.sync().await.unwrap(), 0);
    copy.sql("UPDATE clients SET status = 'suspended'");
    assert_eq!(copy.sync.sync().await.unwrap(), 1);
    assert_eq!(copy.status(A), Some(Status::Suspended));
}

#[tokio::test]
async fn both_certificates_of_an_overlap_are_the_clients_and_stop_with_it() {
    let mut copy = Copy::new();
    copy.add("client_001", A);
    copy.sync.sync().await.unwrap();
    copy.sql(&format!("SELECT renew_client('client_001', '{B}', now() + interval '1 year', '1 hour')"));
    copy.sync.sync().await.unwrap();
    let row = |copy: &Copy, fingerprint| copy.registry.row(&parse(fingerprint)).unwrap();
    let (old, new) = (row(&copy, A), row(&copy, B));
    assert_eq!((old.client_id.as_str(), new.client_id.as_str()), ("client_001", "client_001"));
    assert_eq!((old.status, new.status), (Status::Active, Status::Active));
    assert!(old.expires_at < new.expires_at);

    copy.sql("UPDATE clients SET status = 'suspended'");
    copy.sync.sync().await.unwrap();
    assert_eq!((copy.status(A), copy.status(B)), (Some(Status::Suspended), Some(Status::Suspended)));
    copy.sql("UPDATE clients SET status = 'revoked'");
    copy.sync.sync().await.unwrap();
    assert!(matches!(copy.status(A), Some(Status::Revoked { .. })));
    assert!(matches!(copy.status(B), Some(Status::Revoked { .. })));
}

#[tokio::test]
async fn an_overlap_ends_early_when_its_row_is_deleted() {
    let mut copy = Copy::new();
    copy.add("client_001", A);
    copy.sql(&format!("SELECT renew_client('client_001', '{B}', now() + interval '1 year', '1 hour')"));
    copy.sync.sync().await.unwrap();
    copy.sql("DELETE FROM former_certificates");
    copy.sync.sync().await.unwrap();
    assert_eq!((copy.status(A), copy.status(B)), (None, Some(Status::Active)));
}

#[tokio::test]
async fn a_revoked_certificate_without_a_row_stays_revoked_and_does_not_become_unknown() {
    let mut copy = Copy::new();
    copy.add("client_001", A);
    copy.sync.sync().await.unwrap();
    copy.sql("UPDATE clients SET status = 'revoked'");
    copy.sql(&format!("UPDATE clients SET status = 'active', cert_fingerprint = '{B}'"));
    copy.sync.sync().await.unwrap();
    assert!(matches!(copy.status(A), Some(Status::Revoked { .. })));
    copy.sql("DELETE FROM clients");
    copy.sync.sync().await.unwrap();
    assert!(matches!(copy.status(A), Some(Status::Revoked { .. })));
    copy.sql("TRUNCATE clients");
    copy.sync.sync().await.unwrap();
    assert!(matches!(copy.status(A), Some(Status::Revoked { .. })));
    assert_eq!(copy.status(B), None);
}

#[tokio::test]
async fn a_certificate_that_is_replaced_by_the_revocation_itself_is_revoked_too_and_for_ever() {
    for rename in ["", ", client_id = 'renamed'"] {
        let mut copy = Copy::new();
        copy.add("client_001", A);
        copy.sync.sync().await.unwrap();
        copy.sql(&format!("UPDATE clients SET status = 'revoked', cert_fingerprint = '{B}'{rename}"));
        copy.sync.sync().await.unwrap();
        for fingerprint in [A, B] {
            assert!(matches!(copy.status(fingerprint), Some(Status::Revoked { .. })), "{fingerprint}");
            let back = format!(
                "INSERT INTO clients (client_id, cert_fingerprint, expires_at) VALUES ('other', '{fingerprint}', 'infinity')"
            );
            copy.sql("DELETE FROM clients");
            assert!(psql(&copy.url, &back).unwrap_err().to_string().contains("stays revoked"));
        }
        copy.sync.sync().await.unwrap();
        assert!(matches!(copy.status(A), Some(Status::Revoked { .. })));
    }
}

#[tokio::test]
async fn a_service_whose_certificate_is_replaced_by_its_revocation_loses_both_for_ever() {
    let copy = Copy::new();
    let insert = |name: &str, fingerprint: &str| {
        psql(
            &copy.url,
            &format!(
                "INSERT INTO services (service_id, role, cert_fingerprint, expires_at)
                 VALUES ('{name}', 'worker', '{fingerprint}', 'infinity')"
            ),
        )
    };
    insert("w1", A).unwrap();
    copy.sql(&format!("UPDATE services SET status = 'revoked', cert_fingerprint = '{B}'"));
    copy.sql("DELETE FROM services");
    for fingerprint in [A, B] {
        assert!(insert("w2", fingerprint).unwrap_err().to_string().contains("stays revoked"));
    }
}

/// Makes every tombstone a week old, and prunes; answers how many went.
fn prune(copy: &Copy) -> String {
    copy.sql("UPDATE client_tombstones SET deleted_at = now() - interval '8 days'");
    psql(&copy.url, "SELECT prune_client_tombstones()").unwrap().trim().to_owned()
}

/// Prunes the one tombstone there is, when no transaction of the whole cluster, another test's either, forbids it.
async fn prune_the_one(copy: &Copy) {
    let pruned = async {
        while prune(copy) != "1" {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, pruned).await.is_ok(), "it was never pruned");
}

#[tokio::test]
async fn tombstones_that_were_pruned_are_missed_by_nobody() {
    let mut copy = Copy::new();
    copy.add("client_001", A);
    copy.add("client_002", B);
    copy.sync.sync().await.unwrap();
    copy.sql("DELETE FROM clients WHERE client_id = 'client_001'");
    assert_eq!(psql(&copy.url, "SELECT prune_client_tombstones()").unwrap().trim(), "0", "it is young");
    prune_the_one(&copy).await;
    // It was away for all that time: only the table itself can tell what is gone.
    copy.sync.sync().await.unwrap();
    assert_eq!((copy.status(A), copy.status(B)), (None, Some(Status::Active)));

    // Who has seen a tombstone loads nothing anew when it is pruned.
    copy.sql("DELETE FROM clients WHERE client_id = 'client_002'");
    assert_eq!(copy.sync.sync().await.unwrap(), 1);
    copy.add("client_003", A);
    copy.add("client_004", B);
    assert_eq!(copy.sync.sync().await.unwrap(), 2);
    prune_the_one(&copy).await;
    assert_eq!(copy.sync.sync().await.unwrap(), 0, "two rows, had it been loaded anew");
    assert_eq!(copy.sync.sync().await.unwrap(), 0);
}

#[tokio::test]
async fn a_tombstone_above_an_open_transaction_is_not_pruned() {
    let mut copy = Copy::new();
    copy.add("client_001", A);
    let mut lasting = copy.connect().await;
    lasting.execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    copy.sql("DELETE FROM clients");
    copy.sync.sync().await.unwrap();
    assert_eq!(prune(&copy), "0");
    lasting.execute("COMMIT").await.unwrap();
    prune_the_one(&copy).await;
    copy.add("client_002", B);
    assert!(copy.sync.sync().await.unwrap() > 0);
    assert_eq!((copy.status(A), copy.status(B)), (None, Some(Status::Active)));
    assert_eq!(copy.sync.sync().await.unwrap(), 0);
}

#[tokio::test]
async fn a_mark_of_what_was_pruned_on_another_server_makes_no_sync_load_the_table_again_and_hides_no_removal()
{
    let mut copy = Copy::new();
    copy.add("client_001", A);
    copy.sql("UPDATE registry_epoch SET pruned_through = '1000000000'");
    assert_eq!(copy.sync.sync().await.unwrap(), 1);
    assert_eq!(copy.sync.sync().await.unwrap(), 0);
    copy.sql("DELETE FROM clients");
    prune_the_one(&copy).await;
    copy.add("client_002", B);
    copy.sync.sync().await.unwrap();
    assert_eq!((copy.status(A), copy.status(B)), (None, Some(Status::Active)));
    assert_eq!(copy.sync.sync().await.unwrap(), 0);
}

#[tokio::test]
async fn a_main_server_in_its_overlap_is_refused_with_both_certificates() {
    let copy = Copy::new();
    let refused = || {
        let refused = psql(&copy.url, "SELECT fingerprint FROM main_servers_refused ORDER BY 1").unwrap();
        refused.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    copy.sql(&format!(
        "INSERT INTO services (service_id, role, cert_fingerprint, expires_at) VALUES ('m1', 'main-server', '{A}', 'infinity');
         SELECT renew_service('main-server', 'm1', '{B}', 'infinity', '1 hour')"
    ));
    assert_eq!(refused(), [""; 0]);
    copy.sql("UPDATE services SET status = 'suspended'");
    assert_eq!(refused(), [A, B]);
    copy.sql("UPDATE services SET status = 'active'");
    assert_eq!(refused(), [""; 0]);
    copy.sql("UPDATE former_service_certificates SET ends_at = now()");
    assert_eq!(refused(), [A]);
    copy.sql("UPDATE services SET status = 'revoked'");
    assert_eq!(refused(), [A, B]);
}

/// What every proxy asks twice a second must not read a table that only ever grows.
#[tokio::test]
async fn refused_main_servers_are_found_without_reading_every_revocation() {
    let copy = Copy::new();
    copy.sql(
        "INSERT INTO revoked_fingerprints (cert_fingerprint, client_id, revoked_at, reason_code)
             SELECT upper(encode(sha256(i::text::bytea), 'hex')), 'client_' || i, now(), 'unspecified'
             FROM generate_series(1, 20000) i;
         ANALYZE revoked_fingerprints",
    );
    let plan = psql(&copy.url, "EXPLAIN SELECT * FROM main_servers_refused").unwrap();
    assert!(!plan.contains("Seq Scan on revoked_fingerprints"), "{plan}");
}

/// Revokes `client_001`, whose certificate is A, and forgets its row.
const REVOKE_AND_FORGET: &str = "
    UPDATE clients SET status = 'revoked', revocation_reason = 'keyCompromise' WHERE client_id = 'client_001';
    DELETE FROM clients WHERE client_id = 'client_001'";

#[tokio::test]
async fn a_revoked_certificate_stays_revoked_for_a_transaction_that_cannot_see_it() {
    let mut copy = Copy::new();
    copy.add("client_001", A);
    let mut earlier = copy.connect().await;
    earlier.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM clients").await.unwrap();
    copy.sql(REVOKE_AND_FORGET);
    let insert = format!(
        "INSERT INTO clients (client_id, cert_fingerprint, expires_at) VALUES ('client_002', '{A}', 'infinity')"
    );
    earlier.execute(sqlx::AssertSqlSafe(insert)).await.unwrap();
    earlier.execute("COMMIT").await.unwrap();

    copy.sync.sync().await.unwrap();
    assert_eq!(copy.status(A), Some(Status::Revoked { at: revoked_at(&copy), reason: "keyCompromise" }));
}

#[tokio::test]
async fn a_row_that_waited_for_a_revocation_is_refused() {
    let mut copy = Copy::new();
    copy.add("client_001", A);
    let (mut revoking, mut waiting) = (copy.connect().await, copy.connect().await);
    revoking.execute("BEGIN").await.unwrap();
    revoking.execute(REVOKE_AND_FORGET).await.unwrap();
    let insert = format!(
        "INSERT INTO clients (client_id, cert_fingerprint, expires_at) VALUES ('client_002', '{A}', 'infinity')"
    );
    let commit = async {
        let waits = "SELECT EXISTS (SELECT FROM pg_locks
            WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut revoking).await.unwrap() {}
        revoking.execute("COMMIT").await.unwrap();
    };
    let (inserted, ()) = tokio::join!(waiting.execute(sqlx::AssertSqlSafe(insert)), commit);
    let error = inserted.unwrap_err().to_string();
    assert!(error.contains("stays revoked"), "{error}");

    copy.sync.sync().await.unwrap();
    assert!(matches!(copy.status(A), Some(Status::Revoked { .. })));
}

fn revoked_at(copy: &Copy) -> i64 {
    let at = "SELECT floor(extract(epoch FROM revoked_at))::bigint FROM revoked_fingerprints";
    psql(&copy.url, at).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_statement_that_changes_every_row_changes_every_row_of_the_copy() {
    let mut copy = Copy::new();
    copy.sql(
        "INSERT INTO clients (client_id, cert_fingerprint, domain, expires_at)
         SELECT 'client_' || n, upper(encode(sha256(n::text::bytea), 'hex')), 'domain_' || n % 7, 'infinity'
         FROM generate_series(1, 10000) n",
    );
    assert_eq!(copy.sync.sync().await.unwrap(), 10_000);
    copy.sql("UPDATE clients SET status = 'suspended' WHERE domain <> 'domain_3'");
    copy.sync.sync().await.unwrap();
    let mut kept = 0;
    for number in 1..=10_000 {
        let row = copy.registry.row(&Fingerprint::of_der(number.to_string().as_bytes())).unwrap();
        assert_eq!(row.client_id.as_str(), format!("client_{number}"));
        assert_eq!(*row.domain, format!("domain_{}", number % 7));
        assert_eq!(row.status == Status::Active, number % 7 == 3);
        kept += u32::from(row.status == Status::Active);
    }
    assert_eq!(kept, 1429);
}

#[tokio::test]
async fn the_proxys_role_reads_the_registry_and_nothing_else() {
    let copy = Copy::new();
    copy.add("client_001", A);
    let mut proxy = copy.connect().await;
    proxy.execute("SET ROLE portcullis_proxy").await.unwrap();
    for allowed in [
        "SELECT * FROM client_registry",
        "SELECT * FROM crl_registry",
        "SELECT * FROM main_servers_refused",
        "LISTEN portcullis_registry",
    ] {
        assert!(proxy.execute(allowed).await.is_ok(), "{allowed}");
    }
    for refused in [
        "SELECT * FROM clients",
        "SELECT * FROM services",
        "SELECT * FROM service_registry",
        "SELECT * FROM messages",
        "SELECT * FROM jobs",
        "SELECT * FROM revoked_fingerprints",
        "SELECT * FROM former_certificates",
        "SELECT * FROM audit_log",
        "SELECT * FROM proxy_sync",
        "SELECT * FROM proxy_sync_reports",
        "SELECT prune_client_tombstones()",
        "SELECT * FROM client_activity",
        "SELECT renew_client('client_001', '', now())",
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

#[tokio::test]
async fn limits_of_a_client_arrive_change_and_go_with_the_row_and_hold_for_both_certificates_of_an_overlap() {
    let mut copy = Copy::new();
    copy.add("a", A);
    copy.sync.sync().await.unwrap();
    let rate = |copy: &Copy, fingerprint| copy.registry.row(&parse(fingerprint)).unwrap().rate;
    assert_eq!(rate(&copy, A), None);
    let limits =
        RateOverride { requests_per_second: Some(0.5), bytes_burst: Some(7.0), ..RateOverride::default() };
    copy.sql("UPDATE clients SET requests_per_second = 0.5, bytes_burst = 7");
    copy.sql(&format!("SELECT renew_client('a', '{B}', now() + interval '1 day', '1 hour')"));
    copy.sync.sync().await.unwrap();
    for fingerprint in [A, B] {
        assert_eq!(rate(&copy, fingerprint).as_deref(), Some(&limits), "{fingerprint}");
    }
    // a proxy that starts now reads the same
    let registry = Arc::new(Registry::new(Duration::from_mins(1)));
    let mut anew = Sync::new(&toml(&copy.url), registry.clone(), Arc::new(Connections::new())).unwrap();
    anew.sync().await.unwrap();
    assert_eq!(registry.row(&parse(B)).unwrap().rate.as_deref(), Some(&limits));
    copy.sql("UPDATE clients SET requests_per_second = NULL, bytes_burst = NULL");
    copy.sync.sync().await.unwrap();
    assert_eq!([rate(&copy, A), rate(&copy, B)], [None, None]);
}

#[tokio::test]
async fn a_limit_that_is_none_is_refused_by_the_table() {
    let copy = Copy::new();
    copy.add("a", A);
    for bad in [
        "requests_per_second = -1",
        "requests_per_second = 'NaN'",
        "requests_per_second = 'Infinity'",
        "requests_per_second = 1e7",
        "burst = -1",
        "bytes_per_second = -1",
        "bytes_burst = 1099511627777",
    ] {
        assert!(psql(&copy.url, &format!("UPDATE clients SET {bad}")).is_err(), "{bad}");
    }
    copy.sql("UPDATE clients SET requests_per_second = 0, burst = 0, bytes_per_second = 0, bytes_burst = 0");
}
