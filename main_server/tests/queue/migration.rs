//! What a database of an earlier version holds is there after the migration, and is delivered.

use private_postgres::{Cluster, ClusterOptions, SUPERUSER};
use sqlx::{Connection as _, PgConnection, migrate::Migrator};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

#[tokio::test]
async fn jobs_of_the_first_schema_keep_their_state_as_groups_of_one() {
    let cluster = Cluster::start(ClusterOptions::throw_away()).unwrap();
    cluster.create_database("old").unwrap();
    let url = cluster.url("old", SUPERUSER);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for migration in MIGRATIONS.iter().filter(|migration| migration.version < 20) {
        sqlx::raw_sql(migration.sql.clone()).execute(&mut connection).await.unwrap();
    }
    let old = "
        INSERT INTO messages (message_id, client_id, cert_fingerprint, proxy, request_id, key_id, sealed, sender_index, payload_hash)
            SELECT ('00000000-0000-7000-8000-00000000000' || n)::uuid, 'client_001', repeat('A', 64), 'proxy-1',
                   gen_random_uuid(), 'k1', decode(repeat('00', 40), 'hex'), decode(repeat('01', 32), 'hex'),
                   decode(repeat('02', 32), 'hex')
            FROM generate_series(1, 5) n;
        INSERT INTO jobs (job_id, message_id, queue, state, attempt, lease_token, lease_expires_at, leased_by, dead_reason, finished_at)
            SELECT gen_random_uuid(), message_id, 'default',
                   (ARRAY['ready', 'leased', 'done', 'dead', 'cancelled'])[n], 3,
                   CASE WHEN n = 2 THEN gen_random_uuid() END, CASE WHEN n = 2 THEN now() + interval '1 h' END,
                   CASE WHEN n = 2 THEN 'worker-1' END, CASE WHEN n = 4 THEN 'refused' END,
                   CASE WHEN n > 2 THEN now() END
            FROM messages, LATERAL (SELECT substr(message_id::text, 36)::integer AS n) number;";
    sqlx::raw_sql(old).execute(&mut connection).await.unwrap();
    for migration in MIGRATIONS.iter().filter(|migration| migration.version >= 20) {
        sqlx::raw_sql(migration.sql.clone()).execute(&mut connection).await.unwrap();
    }
    let states = "SELECT string_agg(state || ' ' || attempt, ', ' ORDER BY message_id) FROM jobs WHERE job_id = message_id";
    let states: String = sqlx::query_scalar(states).fetch_one(&mut connection).await.unwrap();
    assert_eq!(states, "ready 3, leased 3, done 3, dead 3, cancelled 3");
    let leased = "SELECT message_id::text || ' ' || attempt FROM queue_lease('default', 10, NULL, 'worker-2', gen_random_uuid(), NULL)";
    let leased: Vec<String> = sqlx::query_scalar(leased).fetch_all(&mut connection).await.unwrap();
    assert_eq!(leased, ["00000000-0000-7000-8000-000000000001 4"]);
    let redriven: i64 =
        sqlx::query_scalar("SELECT redrive_matching()").fetch_one(&mut connection).await.unwrap();
    assert_eq!(redriven, 1);
    connection.close().await.unwrap();
}
