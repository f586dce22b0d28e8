//! The table as a source: what is asked for, and what holds before, between and after readings.

use std::sync::Arc;

use certs::{Authority, RevocationList};
use prometheus_client::{encoding::text::encode, registry::Registry};
use shared::tls::{
    BundleKind, TrustBundle,
    crl::{CrlConfig, CrlHead, Missing, RevocationLists, Standing},
};

use super::{Scene, revoked};
use crate::support::{authority, bundle};

fn trusting(authority: &Authority) -> TrustBundle {
    bundle(BundleKind::AnyAuthority, &[authority.clients().certificate_pem()]).unwrap()
}

fn lists(scene: &Scene) -> Arc<RevocationLists> {
    lists_with(scene, &CrlConfig::default(), &mut Registry::default())
}

fn lists_with(scene: &Scene, config: &CrlConfig, metrics: &mut Registry) -> Arc<RevocationLists> {
    RevocationLists::open(config, &trusting(&scene.authority), metrics, |_| {}).unwrap()
}

fn head(list: &RevocationList) -> CrlHead {
    let (issuer_name, issuer_key_id) = (list.issuer_name.clone(), list.issuer_key_id.clone());
    CrlHead { issuer_name, issuer_key_id, number: list.number.to_string() }
}

/// One reading of a table that has these lists; answers how many were fetched.
async fn read(lists: &Arc<RevocationLists>, table: &[&RevocationList]) -> usize {
    let wanted = lists.wanted(table.iter().map(|list| head(list)).collect());
    let fetched = wanted.len();
    for row in wanted {
        let list = table.iter().find(|list| head(list) == row).unwrap();
        lists.offer_row(row, list.der().to_vec()).await;
    }
    lists.table_read(Ok::<_, String>(()));
    fetched
}

fn next_list(scene: &Scene) -> RevocationList {
    let [_, first, _] = scene.authority.crls();
    scene.authority.clients().sign_next_crl(first, [revoked(&scene.leaf)]).unwrap()
}

#[tokio::test]
async fn a_list_is_fetched_when_its_number_is_new_and_its_ca_is_known() {
    let scene = Scene::new();
    let lists = lists(&scene);
    assert_eq!(lists.judge(&scene.peer), Standing::Stale, "not read yet");
    let table = scene.authority.crls();
    assert_eq!(read(&lists, &table).await, 1, "the root's and the services' are not for this door");
    assert_eq!(lists.judge(&scene.peer), Standing::Clear);
    assert_eq!(read(&lists, &table).await, 0);
    let next = next_list(&scene);
    assert_eq!(read(&lists, &[table[0], &next, table[2]]).await, 1);
    assert!(matches!(lists.judge(&scene.peer), Standing::Revoked(_)));
    read(&lists, &[]).await;
    assert!(matches!(lists.judge(&scene.peer), Standing::Revoked(_)), "a deleted row changes nothing");
}

#[tokio::test]
async fn a_missing_list_is_shown_with_what_it_means_until_there_is_one() {
    let scene = Scene::new();
    for (missing, shown, standing) in [
        (Missing::Grace, "no list, admitted until 20", Standing::Clear),
        (Missing::Warn, "no list, admitted all the same", Standing::Clear),
        (Missing::Reject, "no list, refused for that", Standing::Stale),
    ] {
        let mut metrics = Registry::default();
        let lists = lists_with(&scene, &CrlConfig { missing, ..CrlConfig::default() }, &mut metrics);
        read(&lists, &[]).await;
        assert_eq!(lists.judge(&scene.peer), standing);
        let detail = lists.readiness();
        assert_eq!(detail.is_ok(), standing == Standing::Clear, "{detail:?}");
        let detail = detail.unwrap_or_else(|detail| detail);
        assert!(detail.contains(shown), "{detail}");
        let value = |name: &str| {
            let mut text = String::new();
            encode(&mut text, &metrics).unwrap();
            let line = text.lines().find(|line| line.starts_with(&format!("portcullis_crl_{name}{{")));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<i64>().ok())
        };
        assert_eq!(value("missing"), Some(1));
        let end = value("good_until_timestamp_seconds");
        assert_eq!(end.is_some_and(|end| end > 1_700_000_000), missing == Missing::Grace, "{end:?}");

        read(&lists, &[scene.authority.crls()[1]]).await;
        assert_eq!(lists.judge(&scene.peer), Standing::Clear);
        assert_eq!(value("missing"), Some(0));
        assert!(!lists.readiness().unwrap().contains("no list"));
    }
}

#[tokio::test]
async fn an_unusable_list_clears_nobody_unless_there_was_a_good_one() {
    let scene = Scene::new();
    let (good, next) = (scene.authority.crls()[1], next_list(&scene));
    for (before, standing) in [(None, Standing::Stale), (Some(good), Standing::Clear)] {
        let lists = lists(&scene);
        read(&lists, before.as_slice()).await;
        let [row] = &lists.wanted(vec![head(&next)])[..] else { panic!("one is wanted") };
        lists.offer_row(row.clone(), next.der()[1..].to_vec()).await;
        lists.table_read(Ok::<_, String>(()));
        assert_eq!(lists.judge(&scene.peer), standing);
        assert_eq!(lists.readiness().is_ok(), standing == Standing::Clear);
    }
}

#[tokio::test]
async fn a_row_that_says_something_else_than_its_list_is_refused() {
    let scene = Scene::new();
    let next = next_list(&scene);
    let true_head = head(&next);
    let lies = [
        ("number", CrlHead { number: "9".to_owned(), ..true_head.clone() }),
        ("key of its issuer", CrlHead { issuer_key_id: vec![7; 20], ..true_head.clone() }),
        (
            "issuer",
            CrlHead { issuer_name: scene.authority.root().facts().subject.clone(), ..true_head.clone() },
        ),
    ];
    for (lie, row) in lies {
        let lists = lists(&scene);
        read(&lists, &[scene.authority.crls()[1]]).await;
        lists.offer_row(row, next.der().to_vec()).await;
        assert_eq!(lists.judge(&scene.peer), Standing::Clear, "{lie}: the last good one stays");
        let detail = lists.readiness().unwrap();
        assert!(detail.contains(&format!("its row names another {lie} than")), "{detail}");
        lists.offer_row(true_head.clone(), next.der().to_vec()).await;
        assert!(matches!(lists.judge(&scene.peer), Standing::Revoked(_)), "{lie}");
    }
}

#[tokio::test]
async fn a_database_that_is_lost_changes_nothing() {
    let scene = Scene::new();
    let lists = lists(&scene);
    lists.table_read(Err("lost"));
    assert_eq!(lists.judge(&scene.peer), Standing::Stale);
    read(&lists, &[&next_list(&scene)]).await;
    lists.table_read(Err("lost"));
    assert!(matches!(lists.judge(&scene.peer), Standing::Revoked(_)));
    assert!(lists.readiness().unwrap().contains("the table crls: cannot be read: lost"));
}

#[tokio::test]
async fn a_ca_that_is_believed_again_is_not_clear_before_its_list_was_read_again() {
    let scene = Scene::new();
    let (lists, next) = (lists(&scene), next_list(&scene));
    read(&lists, &[&next]).await;
    lists.believe(&trusting(&authority())).await;
    read(&lists, &[&next]).await;
    // a reading that began before does not know which lists are wanted now
    assert_eq!(lists.wanted(vec![head(&next)]), []);
    lists.believe(&trusting(&scene.authority)).await;
    lists.table_read(Ok::<_, String>(()));
    assert_eq!(lists.judge(&scene.peer), Standing::Stale);
    assert_eq!(read(&lists, &[&next]).await, 1);
    assert!(matches!(lists.judge(&scene.peer), Standing::Revoked(_)));
}
