//! Files and directories as sources: half-written, broken, foreign, gone.

use std::{fs, path::Path, sync::Arc, time::Duration};

use certs::RevocationList;
use prometheus_client::registry::Registry;
use shared::{
    config::Span,
    shutdown::Shutdown,
    tls::{
        BundleKind,
        crl::{CrlConfig, RevocationLists, Standing},
    },
};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::yield_now, time::timeout};

use super::{Scene, revoked};
use crate::support::{authority, bundle};

/// Longer than anything takes here; only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(30);

/// Lists read from one configured path that is watched; the poll would come too late for any test.
struct Watched {
    scene: Scene,
    folder: TempDir,
    lists: Arc<RevocationLists>,
    swaps: mpsc::UnboundedReceiver<()>,
    metrics: Registry,
    shutdown: Shutdown,
}

impl Watched {
    /// A file, `revoked.pem`, with the authority's first list.
    async fn file() -> Self {
        let (scene, folder) = (Scene::new(), tempfile::tempdir().unwrap());
        let file = folder.path().join("revoked.pem");
        fs::write(&file, scene.authority.crls()[1].pem()).unwrap();
        Self::start(scene, folder, &file).await
    }

    async fn start(scene: Scene, folder: TempDir, path: &Path) -> Self {
        let config = config(path);
        let (swapped, swaps) = mpsc::unbounded_channel();
        let mut metrics = Registry::default();
        let bundle =
            bundle(BundleKind::AnyAuthority, &[scene.authority.clients().certificate_pem()]).unwrap();
        let on_swap = move |_: &_| _ = swapped.send(());
        let lists = RevocationLists::open(&config, &bundle, &mut metrics, on_swap).unwrap();
        lists.load_configured().await.unwrap();
        lists.table_read(Ok::<_, String>(()));
        let shutdown = Shutdown::new();
        shutdown.spawn("watch", lists.clone().watch_configured(shutdown.clone()));
        let mut watched = Self { scene, folder, lists, swaps, metrics, shutdown };
        watched.swapped().await;
        assert_eq!(watched.judge(), Standing::Clear);
        watched
    }

    /// The list after the first, with the scene's client on it.
    fn next_list(&self) -> RevocationList {
        let [_, first, _] = self.scene.authority.crls();
        self.scene.authority.clients().sign_next_crl(first, [revoked(&self.scene.leaf)]).unwrap()
    }

    fn judge(&self) -> Standing {
        self.lists.judge(&self.scene.peer)
    }

    fn write(&self, contents: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join("revoked.pem"), contents).unwrap();
    }

    async fn swapped(&mut self) {
        timeout(DEADLINE, self.swaps.recv()).await.unwrap().unwrap();
    }

    async fn until_ready_says(&self, part: &str) {
        let said = async {
            while !self.lists.readiness().unwrap().contains(part) {
                yield_now().await;
            }
        };
        let waited = timeout(DEADLINE, said).await;
        assert!(waited.is_ok(), "{part}: {:?}", self.lists.readiness());
    }

    fn exposition(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        text
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

fn config(path: &Path) -> CrlConfig {
    CrlConfig { files: vec![path.to_owned()], poll: Span::seconds(3600), ..CrlConfig::default() }
}

async fn start_with(contents: &[u8]) -> Result<(), String> {
    let (scene, folder) = (Scene::new(), tempfile::tempdir().unwrap());
    let file = folder.path().join("given.pem");
    fs::write(&file, contents).unwrap();
    start_over(&scene, &file).await
}

async fn start_over(scene: &Scene, path: &Path) -> Result<(), String> {
    let bundle = bundle(BundleKind::AnyAuthority, &[scene.authority.clients().certificate_pem()]).unwrap();
    let lists = RevocationLists::open(&config(path), &bundle, &mut Registry::default(), |_| {}).unwrap();
    lists.load_configured().await.map_err(|refused| refused.to_string())
}

#[tokio::test]
async fn a_list_written_in_two_halves_counts_when_it_is_complete() {
    let mut watched = Watched::file().await;
    let next = watched.next_list();
    for contents in [next.pem().as_bytes(), next.der().as_ref()] {
        watched.write(&contents[..contents.len() / 2]);
        watched.until_ready_says("is broken").await;
        assert!(watched.lists.readiness().unwrap().contains("number 1,"), "the last good one stays");
        assert_eq!(watched.judge(), Standing::Clear);
    }
    watched.write(next.pem());
    watched.swapped().await;
    assert!(matches!(watched.judge(), Standing::Revoked(_)));
    watched.until_ready_says("number 2, 1 entries").await;
    let shown = watched.exposition();
    assert!(
        shown.contains("portcullis_crl_failures_total{source=\"file\",reason=\"malformed\"} "),
        "{shown}"
    );
    assert!(shown.contains("portcullis_crl_entries{issuer=\""), "{shown}");
    assert!(shown.contains("portcullis_crl_next_update_timestamp_seconds{issuer=\""), "{shown}");
}

#[tokio::test]
async fn a_der_file_replaced_by_rename_counts() {
    let mut watched = Watched::file().await;
    let (new, file) = (watched.folder.path().join("new"), watched.folder.path().join("revoked.pem"));
    fs::write(&new, watched.next_list().der()).unwrap();
    fs::rename(&new, &file).unwrap();
    watched.swapped().await;
    assert!(matches!(watched.judge(), Standing::Revoked(_)));
}

#[tokio::test]
async fn empty_gone_foreign_or_older_the_last_good_list_stays() {
    let mut watched = Watched::file().await;
    watched.write(watched.next_list().pem());
    watched.swapped().await;
    let foreign = authority();
    for (contents, said) in [
        ("", "holds no revocation list"),
        ("no PEM at all", "holds no revocation list"),
        (foreign.crls()[1].pem(), "its issuer is not a CA of this door"),
        (watched.scene.authority.crls()[1].pem(), "its number 1 is lower than 2"),
    ] {
        watched.write(contents);
        watched.until_ready_says(said).await;
        assert!(matches!(watched.judge(), Standing::Revoked(_)), "{said}");
    }
    fs::remove_file(watched.folder.path().join("revoked.pem")).unwrap();
    watched.until_ready_says("cannot be read").await;
    assert!(matches!(watched.judge(), Standing::Revoked(_)));
}

#[tokio::test]
async fn of_a_directory_every_list_counts_and_others_cas_are_passed_over() {
    let (scene, folder) = (Scene::new(), tempfile::tempdir().unwrap());
    scene.authority.save(folder.path()).unwrap();
    let directory = folder.path().join("crl");
    fs::write(directory.join("README"), "not a list, and not named like one").unwrap();
    let mut watched = Watched::start(scene, folder, &directory).await;
    fs::write(directory.join("next.crl"), watched.next_list().der()).unwrap();
    watched.swapped().await;
    assert!(matches!(watched.judge(), Standing::Revoked(_)));
    fs::remove_file(directory.join("next.crl")).unwrap();
    watched.until_ready_says("next.crl: cannot be read: the file is gone").await;
    assert!(matches!(watched.judge(), Standing::Revoked(_)));
}

#[tokio::test]
async fn a_configured_file_that_cannot_be_used_is_named_at_start() {
    let foreign = authority();
    let foreign = foreign.crls()[1];
    for contents in [&b""[..], b"rubbish", foreign.pem().as_bytes(), &foreign.der()[..100]] {
        let refused = start_with(contents).await.unwrap_err();
        assert!(refused.starts_with("[crl] /") && refused.contains("given.pem: "), "{refused}");
    }
    let (scene, folder) = (Scene::new(), tempfile::tempdir().unwrap());
    for path in [folder.path().to_owned(), folder.path().join("not-there.pem")] {
        let refused = start_over(&scene, &path).await.unwrap_err();
        assert!(refused.contains(path.to_str().unwrap()), "{refused}");
    }
}

#[tokio::test]
async fn a_ca_that_is_added_to_the_authorities_can_revoke_and_a_broken_file_changes_nothing() {
    let (scene, folder) = (Scene::new(), tempfile::tempdir().unwrap());
    let file = folder.path().join("authorities.crt");
    let (root, clients) = (scene.authority.root(), scene.authority.clients());
    fs::write(&file, authority().root().certificate_pem()).unwrap();
    // the root's list revokes the issuing CA; who does not know the root cannot tell whether it is genuine
    let listed = certs::Revoked { serial: clients.facts().serial.clone(), ..revoked(&scene.leaf) };
    let list = root.sign_next_crl(scene.authority.crls()[0], [listed]).unwrap();
    fs::create_dir(folder.path().join("lists")).unwrap();
    fs::write(folder.path().join("lists").join("root.pem"), list.pem()).unwrap();
    let config = CrlConfig { authorities: Some(file.clone()), ..config(&folder.path().join("lists")) };
    let bundle = bundle(BundleKind::AnyAuthority, &[clients.certificate_pem()]).unwrap();
    let lists = RevocationLists::open(&config, &bundle, &mut Registry::default(), |_| {}).unwrap();
    lists.load_configured().await.unwrap();
    let read_table = || {
        assert!(lists.wanted(Vec::new()).is_empty());
        lists.table_read(Ok::<_, String>(()));
    };
    read_table();
    let shutdown = Shutdown::new();
    shutdown.spawn("watch", lists.clone().watch_configured(shutdown.clone()));
    assert_eq!(lists.judge(&scene.peer), Standing::Clear);

    let until = async |reached: &dyn Fn() -> bool| {
        let waited = timeout(DEADLINE, async {
            while !reached() {
                read_table();
                yield_now().await;
            }
        });
        assert!(waited.await.is_ok(), "{:?}", lists.readiness());
    };
    fs::write(&file, root.certificate_pem()).unwrap();
    until(&|| matches!(lists.judge(&scene.peer), Standing::Revoked(_))).await;
    fs::write(&file, &root.certificate_pem()[..100]).unwrap();
    until(&|| lists.readiness().is_ok_and(|detail| detail.contains("authorities.crt"))).await;
    assert!(matches!(lists.judge(&scene.peer), Standing::Revoked(_)));
    shutdown.request();
}
