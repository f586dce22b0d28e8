//! A list of a million entries.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use prometheus_client::registry::Registry;
use shared::tls::{
    BundleKind,
    crl::{CrlConfig, RevocationLists, Standing},
};

use super::{
    Scene,
    forge::{KEY_COMPROMISE, entry},
};
use crate::support::bundle;

const ENTRIES: u32 = 1_000_000;

/// A million entries for certificates that nobody has, and the scene's client among them.
fn large_list(scene: &Scene) -> Vec<u8> {
    let template = entry(&[0x11; 20], KEY_COMPROMISE);
    let serial = template.windows(20).position(|bytes| bytes == [0x11; 20]).unwrap();
    let mut entries = Vec::with_capacity((template.len() + 1) * ENTRIES as usize);
    for number in 1..ENTRIES {
        entries.extend_from_slice(&template);
        let at = entries.len() - template.len() + serial;
        // spread like the random serial numbers of a real CA
        let spread = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        entries[at + 1..at + 9].copy_from_slice(&spread);
    }
    entries.extend(scene.listed(KEY_COMPROMISE));
    scene.list(2).entry(&entries).signed_by(scene.authority.clients())
}

#[tokio::test]
async fn a_million_entries_load_beside_a_runtime_that_keeps_answering() {
    let scene = Scene::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.crl");
    std::fs::write(&file, large_list(&scene)).unwrap();
    let config = CrlConfig { files: vec![file], ..CrlConfig::default() };
    let bundle = bundle(BundleKind::AnyAuthority, &[scene.authority.clients().certificate_pem()]).unwrap();
    let lists = RevocationLists::open(&config, &bundle, &mut Registry::default(), |_| {}).unwrap();

    // one thread: it either answers or loads
    let answered = Arc::new(AtomicUsize::new(0));
    let answer = async {
        loop {
            if lists.judge(&scene.peer) == Standing::Stale {
                answered.fetch_add(1, Relaxed);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        loaded = lists.load_configured() => loaded.unwrap(),
        () = answer => {}
    }
    assert!(answered.load(Relaxed) > 100, "only {} answers while it loaded", answered.load(Relaxed));
    assert!(matches!(lists.judge(&scene.peer), Standing::Revoked(_)));
    assert!(lists.readiness().unwrap().contains("1000000 entries"), "{:?}", lists.readiness());
}
