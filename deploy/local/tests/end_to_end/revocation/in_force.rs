//! Knowing that a revocation is in force everywhere.

use certs::register::{Propagation, Revoked, revoke_client};
use local::{Client, Curl, Stack, eventually};
use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Runtime;

use super::{Doomed, stops_every_connection};
use crate::support::{DEADLINE, Sender, options, shared_stack};

/// Who revokes, and watches.
struct Operator {
    runtime: Runtime,
    database: PgConnection,
}

impl Operator {
    fn of(stack: &Stack) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let database = runtime.block_on(PgConnection::connect(&stack.database_url())).unwrap();
        Self { runtime, database }
    }

    fn revoke(&mut self, client: &Client) -> Revoked {
        let revoking = revoke_client(&mut self.database, &client.id, "superseded", None);
        self.runtime.block_on(revoking).unwrap().unwrap()
    }

    fn propagation(&mut self, revoked: &Revoked) -> Propagation {
        self.runtime.block_on(revoked.propagation(&mut self.database)).unwrap()
    }

    /// Waits until nobody lags and so many proxies have it in force.
    fn wait(&mut self, revoked: &Revoked, proxies: usize) {
        let mut last = Propagation::default();
        let done = eventually(DEADLINE, || {
            last = self.propagation(revoked);
            (last.lagging.is_empty() && last.in_force.len() == proxies).then_some(())
        });
        assert!(done.is_some(), "{last:?}");
    }
}

#[test]
fn a_revocation_that_is_said_to_be_in_force_is_in_force_on_every_proxy() {
    let stack = Stack::start(options().processes(2, 1, 0)).unwrap();
    let mut operator = Operator::of(&stack);
    // A transaction that stays open holds back what is known of every later one, but not this.
    let mut lasting = operator.runtime.block_on(PgConnection::connect(stack.owner_url())).unwrap();
    let begin = sqlx::raw_sql("BEGIN; SELECT pg_current_xact_id()");
    operator.runtime.block_on(begin.execute(&mut lasting)).unwrap();
    for _ in 0..5 {
        let sender = Sender::new(&stack);
        let revoked = operator.revoke(&sender.client);
        operator.wait(&revoked, 2);
        for proxy in &stack.proxies {
            // The first request from then on, not a later one.
            let answer = sender.curl.get(&format!("{}/health", proxy.url)).unwrap();
            assert_eq!(answer.code(), "certificate_revoked", "{answer:?}");
        }
    }
}

#[test]
fn a_revocation_by_the_authority_stops_every_connection_of_the_client_and_no_other() {
    let stack = shared_stack();
    let stop = |doomed: &Doomed| {
        let mut operator = Operator::of(stack);
        let revoked = operator.revoke(&doomed.client);
        operator.wait(&revoked, 1);
    };
    stops_every_connection(stack, || Doomed::new(stack), stop, "certificate_revoked");
}

#[test]
fn a_revocation_by_fingerprint_stops_every_connection_of_the_client_and_no_other() {
    let stack = shared_stack();
    let stop = |doomed: &Doomed| {
        let fingerprint =
            format!("(SELECT cert_fingerprint FROM clients WHERE client_id = '{}')", doomed.client.id);
        stack.sql(&format!("SELECT * FROM revoke_certificate({fingerprint}, 'superseded', NULL)")).unwrap();
    };
    stops_every_connection(stack, || Doomed::new(stack), stop, "certificate_revoked");
}

#[test]
fn rows_that_are_loaded_by_copy_stop_every_connection_of_the_client_and_no_other() {
    let stack = shared_stack();
    // As an export is put back, with one client revoked in it.
    let stop = |doomed: &Doomed| {
        let mut operator = Operator::of(stack);
        let id = &doomed.client.id;
        let row = format!("SELECT cert_fingerprint FROM clients WHERE client_id = '{id}'");
        let fingerprint = stack.sql(&row).unwrap();
        let line = format!("{id}\t{}\trevoked\t2099-01-01\n", fingerprint.trim());
        operator.runtime.block_on(async {
            let mut transaction = operator.database.begin().await.unwrap();
            sqlx::query("DELETE FROM clients WHERE client_id = $1")
                .bind(id)
                .execute(&mut *transaction)
                .await
                .unwrap();
            let copy = "COPY clients (client_id, cert_fingerprint, status, expires_at) FROM STDIN";
            let mut copy = transaction.copy_in_raw(copy).await.unwrap();
            copy.send(line.as_bytes()).await.unwrap();
            assert_eq!(copy.finish().await.unwrap(), 1);
            transaction.commit().await.unwrap();
        });
    };
    stops_every_connection(stack, || Doomed::new(stack), stop, "certificate_revoked");
}

#[test]
fn a_proxy_that_was_stopped_is_not_waited_for_and_one_that_was_killed_is() {
    let stack = Stack::start(options().processes(3, 1, 0)).unwrap();
    let mut operator = Operator::of(&stack);
    let (first, second) = (Sender::new(&stack), Sender::new(&stack));
    stack.proxies[2].process.stop().unwrap();
    let revoked = operator.revoke(&first.client);
    operator.wait(&revoked, 2);

    stack.proxies[1].process.kill().unwrap();
    let revoked = operator.revoke(&second.client);
    let of_living = eventually(DEADLINE, || {
        let propagation = operator.propagation(&revoked);
        (propagation.in_force.len() == 1).then_some(propagation)
    });
    let lagging = of_living.unwrap().lagging;
    assert!(lagging.len() == 1 && lagging[0].contains("last report"), "{lagging:?}");
}

#[test]
fn a_proxy_without_a_main_server_goes_on_judging_and_reports_when_there_is_one() {
    let stack = Stack::start(options().processes(1, 1, 0)).unwrap();
    let mut operator = Operator::of(&stack);
    let sender = Sender::new(&stack);
    stack.main_servers[0].process.kill().unwrap();
    let revoked = operator.revoke(&sender.client);
    let health = format!("{}/health", stack.url());
    let refused = eventually(DEADLINE, || {
        let answer = Curl::of(&sender.client).get(&health).unwrap();
        (answer.code() == "certificate_revoked").then_some(())
    });
    assert!(refused.is_some());
    assert_eq!(operator.propagation(&revoked).in_force.len(), 0);

    stack.main_servers[0].process.start().unwrap();
    operator.wait(&revoked, 1);
    // What it saw meanwhile was kept.
    let statement = format!(
        "SELECT last_refusal_code, refusals > 0 FROM client_status WHERE client_id = '{}'",
        sender.client.id
    );
    let seen = eventually(DEADLINE, || {
        (stack.sql(&statement).unwrap().trim() == "certificate_revoked|t").then_some(())
    });
    assert!(seen.is_some(), "{}", stack.sql(&statement).unwrap());
}
