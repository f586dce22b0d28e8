//! Deliveries against scripted main servers over real TLS: what is acknowledged, renewed, handed back.

mod main_server;
mod place;

use std::fs;

use shared::identity::Role;

use self::{
    main_server::MainServer,
    place::{Place, id, job},
};
use super::*;

/// The shortest long poll that the wire has, so that the next server's turn comes soon.
const IN_TURN: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_leased_job_is_acknowledged_once_its_line_is_in_the_file() {
    let place = Place::new();
    let server = place.main_server("main-1").await;
    let running = place.deliver(vec![server.url()], |_| {});
    server.now(|script| script.ready.extend([job(1), job(2)]));
    server
        .until("both acknowledged", |script| {
            assert!(script.completed.is_empty() || place.lines() == 2, "acknowledged before it was written");
            script.completed.len() == 2
        })
        .await;
    let metrics = running.stop().await;
    assert_eq!((metrics.leased.get(), metrics.delivered.get(), metrics.lease_lost.get()), (2, 2, 0));
}

#[tokio::test]
async fn a_message_that_comes_again_is_acknowledged_and_not_written_again() {
    let place = Place::new();
    let server = place.main_server("main-1").await;
    let running = place.deliver(vec![server.url()], |_| {});
    server.now(|script| script.ready.push_back(job(1)));
    server.until("acknowledged", |script| script.completed.len() == 1).await;
    server.now(|script| script.ready.push_back(LeasedJob { attempt: 2, ..job(1) }));
    server.until("acknowledged again", |script| script.completed.len() == 2).await;
    let metrics = running.stop().await;
    assert_eq!((place.lines(), metrics.duplicates.get()), (1, 1));
}

#[tokio::test]
async fn a_slow_sink_keeps_its_leases_by_renewing_them() {
    let place = Place::new();
    let server = place.main_server("main-1").await;
    let running = place.deliver(vec![server.url()], |limits| limits.lease = Duration::from_millis(60));
    let stalled = running.delivery.sink.turn().await;
    server.now(|script| script.ready.extend([job(1), job(2)]));
    server.until("renewed three times", |script| script.renewed.len() >= 3).await;
    assert_eq!(server.look(|script| script.renewed[0].clone()), [id(1), id(2)]);
    drop(stalled);
    server.until("acknowledged", |script| script.completed == [id(1), id(2)]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_lease_that_was_lost_meanwhile_is_neither_renewed_nor_acknowledged() {
    let place = Place::new();
    let server = place.main_server("main-1").await;
    let running = place.deliver(vec![server.url()], |limits| limits.lease = Duration::from_millis(60));
    let stalled = running.delivery.sink.turn().await;
    server.now(|script| {
        script.lost.insert(id(1));
        script.ready.extend([job(1), job(2)]);
    });
    server.until("renewed without the lost one", |script| script.renewed.last() == Some(&vec![id(2)])).await;
    drop(stalled);
    server.until("acknowledged", |script| !script.completed.is_empty()).await;
    let metrics = running.stop().await;
    assert_eq!(server.look(|script| script.completed.clone()), [id(2)]);
    assert_eq!((metrics.delivered.get(), metrics.lease_lost.get()), (1, 1));
}

#[tokio::test]
async fn a_batch_whose_leases_are_all_lost_while_it_waits_is_not_delivered_any_more() {
    let place = Place::new();
    let server = place.main_server("main-1").await;
    let running = place.deliver(vec![server.url()], |limits| limits.lease = Duration::from_millis(60));
    let stalled = running.delivery.sink.turn().await;
    server.now(|script| {
        script.lost.insert(id(1));
        script.ready.push_back(job(1));
    });
    server.until("it asked", |script| script.renewed.last() == Some(&vec![id(1)])).await;
    server.now(|script| script.ready.push_back(job(2)));
    server.until("the next one is in hand", |script| script.renewed.last() == Some(&vec![id(2)])).await;
    drop(stalled);
    server.until("acknowledged", |script| script.completed == [id(2)]).await;
    assert_eq!(running.stop().await.lease_lost.get(), 1);
    assert_eq!(place.lines(), 1, "the message that was lost is somebody else's");
}

#[tokio::test]
async fn a_batch_whose_leases_ended_unanswered_while_it_waited_is_not_delivered() {
    let place = Place::new();
    let server = place.main_server("main-1").await;
    let running = place.deliver(vec![server.url()], |limits| limits.lease = Duration::from_millis(60));
    let stalled = running.delivery.sink.turn().await;
    server.now(|script| script.ready.push_back(job(1)));
    server.until("leased", |script| script.ready.is_empty()).await;
    server.now(|script| script.refuses = true);
    let many = server.look(|script| script.refusals) + 20;
    server.until("the lease has ended", |script| script.refusals >= many).await;
    drop(stalled);
    running.delivery.sink.turn().await;
    server.now(|script| {
        script.refuses = false;
        script.ready.push_back(job(2));
    });
    server.until("the next one is acknowledged", |script| script.completed == [id(2)]).await;
    running.stop().await;
    assert_eq!(place.lines(), 1);
}

#[tokio::test]
async fn an_acknowledgement_is_repeated_until_it_is_answered() {
    let place = Place::new();
    let server = place.main_server("main-1").await;
    let running = place.deliver(vec![server.url()], |_| {});
    let stalled = running.delivery.sink.turn().await;
    server.now(|script| script.ready.push_back(job(1)));
    server.until("leased", |script| script.ready.is_empty()).await;
    server.now(|script| script.refuses = true);
    drop(stalled);
    server.until("refused several times", |script| script.refusals >= 5).await;
    server.now(|script| script.refuses = false);
    server.until("acknowledged", |script| script.completed == [id(1)]).await;
    assert_eq!(running.stop().await.delivered.get(), 1);
}

#[tokio::test]
async fn what_the_sink_refuses_is_handed_back_and_nothing_is_leased_until_it_works_again() {
    let place = Place::new();
    let server = place.main_server("main-1").await;
    let running = place.deliver(vec![server.url()], |limits| limits.batches = 1);
    server.until("waiting for jobs", |script| script.leases.len() == 2).await;
    fs::remove_file(place.output()).unwrap();
    fs::create_dir(place.output()).unwrap();
    server.now(|script| script.ready.push_back(job(1)));
    server.until("handed back", |script| script.failed.len() == 1).await;
    let failed = server.look(|script| script.failed[0].clone());
    assert!(failed.error.contains("received_messages.jsonl") && !failed.dead, "{failed:?}");
    assert_eq!(failed.delay_seconds, None, "the queue's own backoff");
    assert!(running.delivery.sink.trouble().is_some());

    // Meanwhile another worker, known by how much it leases, has the queue for itself.
    let other = place.directory.path().join("other.jsonl");
    let other = place.deliver_to(other, vec![server.url()], |limits| limits.batch = 7);
    server.now(|script| script.ready.push_back(job(2)));
    server.until("acknowledged", |script| script.completed == [id(2)] && script.polls == 1).await;
    other.stop().await;
    server.until("no poll is left to swallow a job", |script| script.polls == 0).await;
    let leases = server.look(|script| script.leases.iter().filter(|lease| lease.max == 10).count());
    assert_eq!(leases, 2, "leased although the sink is in trouble");

    fs::remove_dir(place.output()).unwrap();
    server.now(|script| script.ready.push_back(job(3)));
    server.until("acknowledged", |script| script.completed == [id(2), id(3)]).await;
    assert_eq!(running.stop().await.failed.get(), 1);
}

#[tokio::test]
async fn no_more_is_leased_than_may_be_in_hand() {
    let place = Place::new();
    let server = place.main_server("main-1").await;
    let running = place.deliver(vec![server.url()], |limits| (limits.batch, limits.max_jobs) = (4, 6));
    let stalled = running.delivery.sink.turn().await;
    server.now(|script| script.ready.extend((0..20).map(job)));
    server.until("six in hand", |script| script.ready.len() == 14).await;
    assert_eq!(server.look(|script| script.leases.iter().map(|lease| lease.max).collect::<Vec<_>>()), [4, 2]);
    drop(stalled);
    server.until("all acknowledged", |script| script.completed.len() == 20).await;
    assert!(server.look(|script| script.leases.iter().all(|lease| lease.max <= 4)));
    running.stop().await;
}

#[tokio::test]
async fn when_one_main_server_is_gone_the_next_one_is_asked() {
    let place = Place::new();
    let (first, second) = (place.main_server("main-1").await, place.main_server("main-2").await);
    let running = place.deliver(vec![first.url(), second.url()], |limits| limits.wait = IN_TURN);
    first.until("asked", |script| !script.leases.is_empty()).await;
    first.close().await;
    second.now(|script| script.ready.push_back(job(1)));
    second.until("acknowledged", |script| script.completed == [id(1)]).await;
    assert_eq!(running.stop().await.delivered.get(), 1);
}

#[tokio::test]
async fn leases_are_spread_over_the_main_servers() {
    let place = Place::new();
    let (first, second) = (place.main_server("main-1").await, place.main_server("main-2").await);
    let running = place.deliver(vec![first.url(), second.url()], |limits| limits.wait = IN_TURN);
    for round in 1..=3 {
        for server in [&first, &second] {
            server.until("asked in turn", |script| script.leases.len() >= round).await;
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_main_server_that_comes_back_gets_its_share_while_another_answers() {
    let place = Place::new();
    let identity = place.identity(Role::MainServer, "main-1");
    let first = MainServer::open(&place.pki(), &identity).await;
    let second = place.main_server("main-2").await;
    let running = place.deliver(vec![first.url(), second.url()], |limits| limits.wait = IN_TURN);
    first.until("asked", |script| !script.leases.is_empty()).await;
    first.close().await;
    let asked = second.look(|script| script.leases.len());
    second.until("asked instead", |script| script.leases.len() > asked + 1).await;
    let first = MainServer::open_at(first.address(), &place.pki(), &identity).await;
    first.now(|script| script.ready.push_back(job(1)));
    first.until("leased from, too", |script| script.ready.is_empty()).await;
    running.stop().await;
}

#[tokio::test]
async fn a_main_server_that_comes_back_is_used_without_a_restart() {
    let place = Place::new();
    let identity = place.identity(Role::MainServer, "main-1");
    let server = MainServer::open(&place.pki(), &identity).await;
    let running = place.deliver(vec![server.url()], |_| {});
    server.until("asked", |script| !script.leases.is_empty()).await;
    server.close().await;
    let server = MainServer::open_at(server.address(), &place.pki(), &identity).await;
    server.now(|script| script.ready.push_back(job(1)));
    server.until("acknowledged", |script| script.completed == [id(1)]).await;
    assert!(running.delivery.api.reachable(Duration::from_mins(1)).is_ok());
    running.stop().await;
}

#[tokio::test]
async fn a_service_that_is_no_main_server_is_asked_nothing() {
    let place = Place::new();
    let impostor = MainServer::open(&place.pki(), &place.identity(Role::Proxy, "proxy-1")).await;
    let server = place.main_server("main-1").await;
    let running = place.deliver(vec![impostor.url(), server.url()], |_| {});
    server.now(|script| script.ready.push_back(job(1)));
    server.until("acknowledged", |script| script.completed == [id(1)]).await;
    running.stop().await;
    assert!(impostor.look(|script| script.leases.is_empty()));
}

#[tokio::test]
async fn after_a_soft_stop_what_is_in_hand_is_finished_and_nothing_is_leased() {
    let place = Place::new();
    let server = place.main_server("main-1").await;
    let running = place.deliver(vec![server.url()], |limits| limits.lease = Duration::from_millis(60));
    let stalled = running.delivery.sink.turn().await;
    server.now(|script| script.ready.push_back(job(1)));
    server.until("in hand: renewed", |script| !script.renewed.is_empty()).await;
    running.delivery.shutdown.request();
    drop(stalled);
    let metrics = running.stop().await;
    server.now(|script| script.ready.push_back(job(2)));
    assert_eq!(server.look(|script| (script.completed.clone(), script.ready.len())), (vec![id(1)], 1));
    assert_eq!(metrics.delivered.get(), 1);
}

#[tokio::test]
async fn a_soft_stop_gives_up_the_long_poll() {
    let place = Place::new();
    let server = place.main_server("main-1").await;
    // Longer than the server's test waits, so that only giving up can end it in time.
    let running = place.deliver(vec![server.url()], |limits| limits.wait = Duration::from_secs(30));
    server.until("polled", |script| script.leases.len() == 2 && script.polls == 1).await;
    running.delivery.shutdown.request();
    server.until("given up", |script| script.polls == 0).await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_finished_in_time_after_a_soft_stop_is_handed_back_at_once() {
    let place = Place::new();
    let server = place.main_server("main-1").await;
    let running = place.deliver(vec![server.url()], |limits| {
        (limits.lease, limits.drain) = (Duration::from_millis(60), Duration::from_millis(20));
    });
    let stalled = running.delivery.sink.turn().await;
    server.now(|script| script.ready.extend([job(1), job(2)]));
    server.until("in hand: renewed", |script| !script.renewed.is_empty()).await;
    running.stop().await;
    drop(stalled);
    let failed = server.look(|script| script.failed.clone());
    let back: Vec<_> = failed.iter().map(|job| (job.job_id, job.released, job.dead)).collect();
    assert_eq!(back, [(id(1), true, false), (id(2), true, false)], "without using up an attempt");
    assert!(server.look(|script| script.completed.is_empty()));
}
