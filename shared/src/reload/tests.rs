//! Reloading: in, files that change, are broken, are mended; out, what is in force and what is said of it. Refused files
//! leave in force what was.

use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use serde::Deserialize;

use super::*;
use crate::{
    config::{Bind, File, Source, Span},
    telemetry::LogConfig,
};

struct Scene {
    reloads: Reloads,
    registry: Registry,
}

impl Scene {
    fn new() -> Self {
        let mut registry = Registry::default();
        Self { reloads: Reloads::register(&mut registry).unwrap(), registry }
    }

    async fn look(&mut self, asked: bool) {
        for part in &mut self.reloads.parts {
            part.look(asked, &self.reloads.metrics).await;
        }
    }

    fn metric(&self, series: &str) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        value.unwrap_or_else(|| panic!("{series} is not in {text}")).trim().to_owned()
    }

    fn counted(&self, part: &str) -> [String; 3] {
        let count = |outcome| {
            self.metric(&format!("portcullis_reloads_total{{part=\"{part}\",outcome=\"{outcome}\"}}"))
        };
        [
            count("done"),
            count("refused"),
            self.metric(&format!("portcullis_reload_refused{{part=\"{part}\"}}")),
        ]
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_told_once_and_tried_again_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, "one").unwrap();
    let mut scene = Scene::new();
    let (mended, tried) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (is_mended, count) = (mended.clone(), tried.clone());
    scene.reloads.part("clients", Files::now([&file]), move || {
        count.fetch_add(1, Relaxed);
        let mended = is_mended.load(Relaxed) > 0;
        async move { if mended { Ok(()) } else { anyhow::bail!("key: is of another certificate") } }
    });

    let check = scene.reloads.check();
    scene.look(false).await;
    scene.look(true).await;
    assert_eq!(check(), Checked::from(Ok("as they were read".to_owned())));
    assert_eq!((tried.load(Relaxed), scene.counted("clients")), (0, ["0", "0", "0"].map(str::to_owned)));
    fs::write(&file, "two").unwrap();
    scene.look(false).await;
    assert_eq!(scene.counted("clients"), ["0", "1", "1"]);
    assert_eq!(check().detail(), "clients: a change could not be used: key: is of another certificate");
    assert!(check().holds() && check().warns());
    scene.look(false).await;
    assert_eq!((tried.load(Relaxed), scene.counted("clients")), (2, ["0", "1", "1"].map(str::to_owned)));
    scene.look(true).await;
    assert_eq!(scene.counted("clients"), ["0", "2", "1"], "whoever asks is told");
    mended.store(1, Relaxed);
    scene.look(false).await;
    assert_eq!(scene.counted("clients"), ["1", "2", "0"]);
    assert!(!check().warns());
    fs::remove_file(&file).unwrap();
    scene.look(false).await;
    assert_eq!(scene.counted("clients"), ["2", "2", "0"]);
}

#[derive(Debug)]
struct Config {
    file: File,
    limits: Limits,
    log: LogConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Limits {
    idle: Option<Span>,
}

impl Configuration for Config {
    fn read(source: &mut Source) -> Self {
        Self { file: source.file(), limits: source.section("limits"), log: source.section("log") }
    }

    fn file(&self) -> &File {
        &self.file
    }

    fn binds(&self) -> Vec<Bind> {
        Vec::new()
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }
}

#[tokio::test]
async fn a_changed_configuration_is_applied_whole_and_a_broken_one_not_at_all() {
    const LIVE: Live = Live { tables: &["limits"], but: &[] };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.toml");
    fs::write(&file, "[limits]\nidle = '1s'").unwrap();
    let config: Config = config::load(&file).unwrap();
    let mut scene = Scene::new();
    let applied = Arc::<Mutex<Vec<String>>>::default();
    let seen = applied.clone();
    scene.reloads.configuration(&config, &LIVE, move |config: &Config| {
        seen.lock().unwrap().push(format!("{:?}", config.limits.idle));
    });
    for broken in ["[limits]\nidle = '2 parsecs'", "[limits", "[limits]\nidle = '2s'\n[log]\nlevel = '!'"] {
        fs::write(&file, broken).unwrap();
        scene.look(false).await;
    }
    assert_eq!(scene.counted("configuration"), ["0", "3", "1"]);
    assert!(applied.lock().unwrap().is_empty());
    let check = scene.reloads.check()();
    let trouble = check.detail();
    for part in ["proxy.toml", "log.level", "`!`"] {
        assert!(trouble.contains(part), "{part} in {trouble}");
    }
    fs::write(&file, "[limits]\nidle = '3s'").unwrap();
    scene.look(false).await;
    assert_eq!(scene.counted("configuration"), ["1", "3", "0"]);
    assert_eq!(applied.lock().unwrap().len(), 1);
    assert!(applied.lock().unwrap()[0].contains('3'), "{applied:?}");
}

#[test]
fn settings_count_at_once_by_table_and_not_by_the_beginning_of_a_name() {
    let live = Live { tables: &["limits", "rate"], but: &["limits.chain"] };
    let counts = ["limits.idle", "rate.burst", "log.level"];
    let waits = ["limits.chain.bytes", "limitsx.idle", "log.format", "tls.key", "rate"];
    assert!(counts.iter().all(|setting| live.has(setting)));
    assert!(!waits.iter().any(|setting| live.has(setting)));
}
