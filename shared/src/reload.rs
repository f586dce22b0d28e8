//! Reading anew, while running, what was read at the start.
//!
//! In: files whose contents changed, looked at every so often; SIGHUP. Out: each part reads its files and puts them in
//! force, one part after the other; `portcullis_reloads_total`. Refused: files that cannot be used: what was in force stays, the
//! log says which file and why, and so do `/readyz` and `portcullis_reload_refused`. What was refused is tried again
//! at each look, since time, or somebody else, may have mended it.

use std::{
    fmt,
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::spawn_blocking,
};
use tracing::{error, info, warn};

use crate::{
    config::{self, Configuration},
    identity::Fingerprint,
    management::Checked,
    service_manager,
    shutdown::Shutdown,
    telemetry,
};

/// The part that is the configuration file itself.
const CONFIGURATION: &str = "configuration";

/// Everything of one process that is read anew.
pub struct Reloads {
    parts: Vec<Part>,
    metrics: Metrics,
    hangup: Signal,
}

/// Files that belong together, and what was in them when they were read: hashes, so that a half-copied file is a change
/// and a touched one is none.
#[derive(Debug, Clone)]
pub struct Files(Vec<(PathBuf, Option<Fingerprint>)>);

/// Why the files of a part that are there now are not in force, if so.
type Trouble = Arc<ArcSwapOption<String>>;

/// Which settings of a configuration are taken while running, beside the log level.
#[derive(Debug)]
pub struct Live {
    /// Whole tables.
    pub tables: &'static [&'static str],
    /// Tables inside them that are not.
    pub but: &'static [&'static str],
}

impl Live {
    fn has(&self, setting: &str) -> bool {
        let of_one = |tables: &[&str]| {
            tables.iter().any(|table| setting.strip_prefix(table).is_some_and(|rest| rest.starts_with('.')))
        };
        setting == "log.level" || of_one(self.tables) && !of_one(self.but)
    }
}

type Reading = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

struct Part {
    name: &'static str,
    files: Files,
    read: Box<dyn Fn() -> Reading + Send + Sync>,
    trouble: Trouble,
}

#[derive(Debug, Clone, Default)]
struct Metrics {
    reloads: Family<Outcome, Counter>,
    refused: Family<OfPart, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    part: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPart {
    part: &'static str,
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.parts.iter().map(|part| (part.name, &part.files))).finish()
    }
}

impl Files {
    /// As they are now. To be called before they are read, so that no change in between is missed.
    #[must_use]
    pub fn now<const N: usize>(files: [&Path; N]) -> Self {
        Self(files.into_iter().map(|file| (file.to_owned(), hash(file))).collect())
    }

    fn looked_at_again(&self) -> Self {
        Self(self.0.iter().map(|(file, _)| (file.clone(), hash(file))).collect())
    }
}

fn hash(file: &Path) -> Option<Fingerprint> {
    std::fs::read(file).ok().map(|bytes| Fingerprint::of_der(&bytes))
}

impl Reloads {
    /// Nothing to read yet. From now on SIGHUP does not end the process.
    pub fn register(registry: &mut Registry) -> io::Result<Self> {
        let metrics = Metrics::default();
        let help = "Times that changed files were put in force, or refused";
        registry.register("portcullis_reloads", help, metrics.reloads.clone());
        let help =
            "1 while the files that are there now cannot be used, and what was read before is in force";
        registry.register("portcullis_reload_refused", help, metrics.refused.clone());
        Ok(Self { parts: Vec::new(), metrics, hangup: signal(SignalKind::hangup())? })
    }

    /// Adds a part, by a name of a closed list: `read` is called when its files are others than these, and puts them in force or
    /// answers which file cannot be used, and why.
    pub fn part<F>(&mut self, name: &'static str, files: Files, read: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        for outcome in ["done", "refused"] {
            let _at_0 = self.metrics.reloads.get_or_create(&Outcome { part: name, outcome });
        }
        let _at_0 = self.metrics.refused.get_or_create(&OfPart { part: name });
        let trouble = Trouble::default();
        let read = Box::new(move || -> Reading { Box::pin(read()) });
        self.parts.push(Part { name, files, read, trouble });
    }

    /// For `/readyz`, of the parts that there are by now: which one could not be read. It warns, and that is all: what was read
    /// before serves.
    pub fn check(&self) -> impl Fn() -> Checked + Send + Sync + use<> {
        let parts: Vec<_> = self.parts.iter().map(|part| (part.name, part.trouble.clone())).collect();
        move || {
            let told = |(name, trouble): &(&str, Trouble)| {
                trouble.load().as_ref().map(|text| format!("{name}: a change could not be used: {text}"))
            };
            let troubles: Vec<_> = parts.iter().filter_map(told).collect();
            let detail =
                if troubles.is_empty() { "as they were read".to_owned() } else { troubles.join("; ") };
            Checked::from(Ok(detail)).warning(!troubles.is_empty())
        }
    }

    /// Adds the configuration file: its log level counts, and what `apply` takes from it. Whatever else has changed is named
    /// in the log; it counts from the next start on.
    pub fn configuration<C: Configuration>(
        &mut self,
        config: &C,
        live: &'static Live,
        apply: impl Fn(&C) + Send + Sync + 'static,
    ) {
        let started_with = config.file().clone();
        let files = Files(vec![(started_with.path().to_owned(), Some(started_with.contents()))]);
        let apply = Arc::new(apply);
        self.part(CONFIGURATION, files, move || {
            let (started_with, apply) = (started_with.clone(), apply.clone());
            async move {
                let file = started_with.path().to_owned();
                let config = spawn_blocking(move || config::load::<C>(&file)).await??;
                telemetry::set_level(&config.log().level);
                apply(&config);
                for setting in started_with.changed_in(config.file()) {
                    if !live.has(&setting) {
                        warn!(
                            setting,
                            "this setting has changed; it takes effect when the process is started again"
                        );
                    }
                }
                Ok(())
            }
        });
    }

    /// Looks every so often, and on SIGHUP, until the soft stop.
    pub async fn watch(mut self, every: Duration, shutdown: Shutdown) {
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(every) => false,
                _ = self.hangup.recv() => true,
                () = shutdown.requested() => return,
            };
            if asked {
                info!("SIGHUP: reading what has changed");
                service_manager::reloading();
            }
            for part in &mut self.parts {
                part.look(asked, &self.metrics).await;
            }
            if asked {
                service_manager::ready();
            }
        }
    }
}

impl Part {
    async fn look(&mut self, asked: bool, metrics: &Metrics) {
        let before = self.files.clone();
        let Ok(files) = spawn_blocking(move || before.looked_at_again()).await else { return };
        let changed = files.0 != self.files.0;
        let former = self.trouble.load_full();
        if !changed && former.is_none() {
            return;
        }
        self.files = files;
        let read = (self.read)().await.map_err(|error| format!("{error:#}"));
        let (part, trouble) = (self.name, read.err().map(Arc::new));
        metrics.refused.get_or_create(&OfPart { part }).set(i64::from(trouble.is_some()));
        let outcome = match &trouble {
            None => {
                info!(part, "changed files were read and are in force");
                "done"
            }
            // said once, and to whoever asks
            Some(text) if !changed && !asked && former.as_ref() == Some(text) => return,
            Some(text) => {
                error!(
                    part,
                    error = **text,
                    "changed files cannot be used; what was read before stays in force"
                );
                "refused"
            }
        };
        self.trouble.store(trouble);
        metrics.reloads.get_or_create(&Outcome { part, outcome }).inc();
    }
}

#[cfg(test)]
mod tests;
