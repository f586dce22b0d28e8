//! What the proxies report, and what the audit log keeps.

use std::time::Duration;

use main_server::{database, reports::Reports};
use shared::{
    identity::Fingerprint,
    shutdown::Shutdown,
    wire::{
        Code,
        report::{RegistryCopy, Report, SeenCertificate, SeenRefusal},
    },
};
use sqlx::{AssertSqlSafe, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::stack::{PATIENCE, as_server, database_config, name, prepare};

/// A database with a client, and where proxies report.
struct Centre {
    reports: Reports,
    onlooker: PgPool,
    shutdown: Shutdown,
}

impl Centre {
    async fn new() -> Self {
        let url = private_postgres::fresh_database(prepare).unwrap();
        let pool = database::open(&database_config(&as_server(&url))).await.unwrap().registry;
        let onlooker = PgPool::connect_lazy(&url).unwrap();
        let shutdown = Shutdown::new();
        let centre = Self { reports: Reports::open(pool, PATIENCE, &shutdown), onlooker, shutdown };
        let fingerprint = fingerprint("client_001");
        centre
            .sql(&format!(
                "INSERT INTO clients (client_id, cert_fingerprint, expires_at)
                 VALUES ('client_001', '{fingerprint}', now() + interval '1 year')"
            ))
            .await;
        centre
    }

    async fn sql(&self, statements: &str) {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&self.onlooker).await.unwrap();
    }

    /// The one value of a query, as text.
    async fn value(&self, query: &str) -> String {
        let query = format!("SELECT coalesce(({query})::text, 'NULL')");
        sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&self.onlooker).await.unwrap()
    }

    async fn end(self) {
        drop(self.reports);
        self.shutdown.drained(PATIENCE).await;
        self.onlooker.close().await;
    }
}

fn fingerprint(client: &str) -> Fingerprint {
    Fingerprint::of_der(client.as_bytes())
}

fn report(instance: Uuid, applied: Option<&str>) -> Report {
    Report {
        instance,
        stopping: false,
        copy: RegistryCopy {
            applied: applied.map(str::to_owned),
            clients: 1,
            age_ms: applied.map(|_| 5),
            max_staleness_ms: 60_000,
        },
        seen: Vec::new(),
    }
}

fn seen(client: &str, requests: u64, refused: Option<(u64, Code)>) -> SeenCertificate {
    let now = OffsetDateTime::now_utc();
    SeenCertificate {
        cert_fingerprint: fingerprint(client),
        client_id: Some(name(client)),
        first_seen_at: now,
        last_seen_at: now,
        requests,
        refusals: refused.map_or(0, |(count, _)| count),
        last_refusal: refused.map(|(_, code)| SeenRefusal { at: now, code }),
    }
}

fn having_seen(seen: Vec<SeenCertificate>) -> Report {
    Report { seen, ..report(Uuid::new_v4(), Some("10:10:")) }
}

#[tokio::test]
async fn a_proxy_is_known_by_its_last_report_until_it_stops() {
    let centre = Centre::new().await;
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    centre.reports.write(name("proxy-1"), report(first, None)).await.unwrap();
    let state = "SELECT string_agg(state, ' ' ORDER BY state) FROM proxy_sync";
    assert_eq!(centre.value(state).await, "loading");
    centre.reports.write(name("proxy-1"), report(first, Some("10:20:10,12"))).await.unwrap();
    centre.reports.write(name("proxy-1"), report(second, None)).await.unwrap();
    assert_eq!(centre.value(state).await, "current loading");
    assert_eq!(centre.value("SELECT applied FROM proxy_sync WHERE applied IS NOT NULL").await, "10:20:10,12");

    let last = Report { stopping: true, ..report(first, Some("10:20:10,12")) };
    centre.reports.write(name("proxy-1"), last).await.unwrap();
    assert_eq!(
        centre.value("SELECT string_agg(instance::text, ' ') FROM proxy_sync").await,
        second.to_string()
    );
    // Nobody stops another proxy.
    let forged = Report { stopping: true, ..report(second, None) };
    centre.reports.write(name("proxy-2"), forged).await.unwrap();
    assert_eq!(centre.value("SELECT count(*) FROM proxy_sync").await, "1");
    centre.end().await;
}

#[tokio::test]
async fn a_report_that_cannot_be_stored_takes_no_other_with_it() {
    let centre = Centre::new().await;
    let write = |applied| centre.reports.write(name("proxy-1"), report(Uuid::new_v4(), Some(applied)));
    let (one, bad, other) = tokio::join!(write("10:10:"), write("nonsense"), write("11:11:"));
    assert!(one.is_ok() && bad.is_err() && other.is_ok(), "{one:?} {bad:?} {other:?}");
    assert_eq!(centre.value("SELECT count(*) FROM proxy_sync").await, "2");
    centre.end().await;
}

#[tokio::test]
async fn what_proxies_saw_adds_up_and_traffic_never_writes_to_clients() {
    let centre = Centre::new().await;
    let version = "SELECT xmin::text || ctid FROM clients";
    let before = centre.value(version).await;
    let refused = Some((2, Code::ClientSuspended));
    for (proxy, seen) in [
        ("proxy-1", vec![seen("client_001", 3, None), seen("client_002", 0, refused)]),
        ("proxy-2", vec![seen("client_001", 4, refused)]),
    ] {
        centre.reports.write(name(proxy), having_seen(seen)).await.unwrap();
    }
    let status =
        "SELECT concat_ws(' ', requests, refusals, last_refusal_code, last_proxy) FROM client_status";
    assert_eq!(centre.value(status).await, "7 2 client_suspended proxy-2");
    let times = "SELECT first_seen_at < last_seen_at FROM client_status";
    assert_eq!(centre.value(times).await, "true");
    assert_eq!(centre.value("SELECT count(*) FROM client_activity").await, "2");
    assert_eq!(centre.value(version).await, before);
    centre.end().await;
}

#[tokio::test]
async fn a_refusal_is_audited_once_a_minute_and_when_its_reason_changes() {
    let centre = Centre::new().await;
    let refusals = "SELECT string_agg(what, ', ' ORDER BY id) FROM audit_log WHERE what LIKE 'refused %'";
    for code in
        [Code::ClientSuspended, Code::ClientSuspended, Code::CertificateRevoked, Code::CertificateRevoked]
    {
        let seen = vec![seen("client_001", 0, Some((1, code)))];
        centre.reports.write(name("proxy-1"), having_seen(seen)).await.unwrap();
    }
    let once = "refused client_suspended, refused certificate_revoked";
    assert_eq!(centre.value(refusals).await, once);
    centre.sql("UPDATE client_activity SET audited_at = now() - interval '61 seconds'").await;
    let later = vec![seen("client_001", 0, Some((1, Code::CertificateRevoked)))];
    centre.reports.write(name("proxy-1"), having_seen(later)).await.unwrap();
    assert_eq!(centre.value(refusals).await, format!("{once}, refused certificate_revoked"));
    let last = "SELECT concat_ws(' ', who, client_id, cert_fingerprint, new ->> 'proxy')
                FROM audit_log ORDER BY id DESC LIMIT 1";
    let fingerprint = fingerprint("client_001");
    assert_eq!(centre.value(last).await, format!("server_login client_001 {fingerprint} proxy-1"));
    centre.end().await;
}

#[tokio::test]
async fn every_change_to_clients_and_services_is_audited_with_who_and_what() {
    let centre = Centre::new().await;
    let fingerprint = "F".repeat(64);
    centre
        .sql(&format!(
            "UPDATE clients SET status = 'suspended', revocation_reason = 'unpaid';
             UPDATE clients SET status = status;
             UPDATE clients SET client_id = 'renamed';
             DELETE FROM clients;
             TRUNCATE clients;
             INSERT INTO services (service_id, role, cert_fingerprint, expires_at)
                 VALUES ('w1', 'worker', '{fingerprint}', now() + interval '1 day');
             UPDATE services SET status = 'suspended';
             DELETE FROM services"
        ))
        .await;
    let log =
        "SELECT string_agg(concat_ws(' ', what, client_id, old ->> 'status', new ->> 'status', reason), '; '
                                 ORDER BY id) FROM audit_log";
    assert_eq!(
        centre.value(log).await,
        "clients insert client_001 active; clients update client_001 active suspended unpaid; \
         clients update client_001 suspended; clients update renamed suspended unpaid; \
         clients delete renamed suspended; clients truncate; services insert worker/w1 active; \
         services update worker/w1 active suspended; services delete worker/w1 suspended"
    );
    assert_eq!(centre.value("SELECT count(*) FROM audit_log WHERE who <> session_user").await, "0");
    centre.end().await;
}

#[tokio::test]
async fn nobody_changes_the_audit_log_and_nobody_signs_for_another() {
    let centre = Centre::new().await;
    let refusal = async |role: &str, statement: &str| {
        let mut transaction = centre.onlooker.begin().await.unwrap();
        let set_role = AssertSqlSafe(format!("SET LOCAL ROLE {role}"));
        sqlx::raw_sql(set_role).execute(&mut *transaction).await.unwrap();
        let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *transaction).await;
        transaction.rollback().await.unwrap();
        done.err().and_then(|error| Some(error.as_database_error()?.code()?.into_owned()))
    };
    let superuser = private_postgres::SUPERUSER;
    for role in
        ["portcullis_owner", superuser, "portcullis_server", "portcullis_operator", "portcullis_proxy"]
    {
        for statement in ["UPDATE audit_log SET who = 'me'", "DELETE FROM audit_log", "TRUNCATE audit_log"] {
            assert_eq!(refusal(role, statement).await.as_deref(), Some("42501"), "{role}: {statement}");
        }
    }
    let forged = "INSERT INTO audit_log (at, who, what) VALUES (now(), 'somebody', 'forged')";
    assert_eq!(refusal("portcullis_server", forged).await.as_deref(), Some("42501"));
    assert_eq!(refusal("portcullis_operator", forged).await.as_deref(), Some("42501"));
    centre.sql(forged).await;
    assert_eq!(centre.value("SELECT who FROM audit_log WHERE what = 'forged'").await, superuser);
    assert_eq!(refusal("portcullis_operator", "SELECT * FROM audit_log").await, None);
    centre.end().await;
}

#[tokio::test]
async fn clients_that_expire_are_shown_in_the_bands_of_the_guide() {
    let centre = Centre::new().await;
    for days in [-1, 6, 13, 29, 59, 61] {
        let (fingerprint, id) = (fingerprint(&days.to_string()), days + 1);
        centre
            .sql(&format!(
                "INSERT INTO clients (client_id, cert_fingerprint, expires_at)
                 VALUES ('c{id}', '{fingerprint}', now() + interval '{days} days')"
            ))
            .await;
    }
    let bands = "SELECT string_agg(concat_ws(' ', client_id, band, alert), '; ' ORDER BY expires_at) FROM clients_expiring";
    assert_eq!(
        centre.value(bands).await,
        "c0 0 expired; c7 7 critical; c14 14 renew; c30 30 warn; c60 60 monitor"
    );
    let state = "SELECT state FROM client_status WHERE client_id = 'c0'";
    assert_eq!(centre.value(state).await, "expired");
    centre.end().await;
}

#[tokio::test]
async fn reports_are_refused_while_the_database_is_away_and_kept_by_their_proxy() {
    let centre = Centre::new().await;
    centre.sql("ALTER TABLE proxy_sync_reports RENAME TO away").await;
    let write = || centre.reports.write(name("proxy-1"), report(Uuid::new_v4(), None));
    assert_eq!(write().await.unwrap_err().code, Code::Overloaded);
    centre.sql("ALTER TABLE away RENAME TO proxy_sync_reports").await;
    tokio::time::timeout(Duration::from_secs(20), write()).await.unwrap().unwrap();
    centre.end().await;
}
