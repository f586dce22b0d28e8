//! What each value must satisfy, and what several of them must satisfy together.

use shared::config::Source;

use super::Config;

impl Config {
    /// Records every contradiction, not only the first.
    pub(super) fn check(&self, source: &mut Source) {
        if let Err(text) = self.database.url.check(self.database.unsafe_plaintext_database) {
            source.fault("database.url", text);
        }
        self.limits.check(source);
        let spans = [
            ("database.acquire_timeout", self.database.acquire_timeout),
            ("database.statement_timeout", self.database.statement_timeout),
            ("database.idle_timeout", self.database.idle_timeout),
            ("database.max_lifetime", self.database.max_lifetime),
            ("database.start_timeout", self.database.start_timeout),
            ("tls.reload", self.tls.reload),
            ("keyring.reload", self.keyring.reload),
            ("queue.submit_timeout", self.queue.submit_timeout),
            ("queue.poll", self.queue.poll),
            ("queue.reap_every", self.queue.reap_every),
            ("queue.purge_every", self.queue.purge_every),
            ("registry.poll", self.registry.poll),
            ("requests.body", self.requests.body),
        ];
        for (key, span) in spans {
            if span.0.is_zero() {
                source.fault(key, "must be longer than 0s");
            }
        }
        let counts = [
            ("keyring.reseal_per_second", self.keyring.reseal_per_second as usize),
            ("queue.writers", self.queue.writers),
            ("queue.commit_messages", self.queue.commit_messages),
            ("queue.commit_bytes", self.queue.commit_bytes.0),
            ("queue.waiting_batches", self.queue.waiting_batches),
            ("queue.lease_jobs", self.queue.lease_jobs as usize),
            ("queue.reap_batch", self.queue.reap_batch as usize),
            ("requests.body_bytes", self.requests.body_bytes.0),
            ("requests.items", self.requests.items),
        ];
        for (key, count) in counts {
            if count == 0 {
                source.fault(key, "must be at least 1");
            }
        }
        if self.registry.max_staleness.0 <= self.registry.poll.0 {
            source.fault(
                "registry.max_staleness",
                "must be longer than registry.poll, or everybody is refused",
            );
        }
        // Each writer holds one; what reaps, purges, counts and looks at the fronts may; one must be left for workers.
        let needed = self.queue.writers + 5;
        if (self.database.max_connections as usize) < needed {
            source
                .fault("database.max_connections", format!("must be at least {needed} (queue.writers + 5)"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn reference() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config/main_server.toml")
    }

    #[test]
    fn the_reference_file_is_valid_and_states_every_option_with_its_default() {
        let config: Config = shared::config::load(&reference()).unwrap();
        let text = std::fs::read_to_string(reference()).unwrap();
        let only_required = tempfile::NamedTempFile::new().unwrap();
        let required = "[tls]\ncertificate='a'\nkey='b'\nservices_ca='c'\n[keyring]\nfile='d'\n\
                        [database]\nurl='postgresql:///portcullis?host=/run/postgresql'";
        std::fs::write(only_required.path(), required).unwrap();
        let defaults: Config = shared::config::load(only_required.path()).unwrap();
        let shown = |part: &dyn std::fmt::Debug| format!("{part:?}");
        assert_eq!(shown(&config.listen), shown(&defaults.listen));
        assert_eq!(shown(&config.database), shown(&defaults.database));
        let keyring = |config: &Config| (config.keyring.reload, config.keyring.reseal_per_second);
        assert_eq!(shown(&keyring(&config)), shown(&keyring(&defaults)));
        assert_eq!(shown(&config.queue), shown(&defaults.queue));
        assert_eq!(shown(&config.registry), shown(&defaults.registry));
        assert_eq!(shown(&config.crl), shown(&defaults.crl));
        assert_eq!(shown(&config.requests), shown(&defaults.requests));
        assert_eq!(shown(&config.limits), shown(&defaults.limits));
        assert_eq!(shown(&config.log), shown(&defaults.log));
        // Every key of the effective configuration is named in the file.
        for line in format!("{config:#?}").lines() {
            if let Some((key, _)) = line.trim().split_once(':')
                && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            {
                assert!(text.contains(key), "{key} is not in the reference file");
            }
        }
    }

    #[test]
    fn every_contradiction_is_reported_together() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[database]\nurl='postgres://a@db/p'\nmax_connections=1\n[queue]\nwriters=0\npoll='0s'\n\
                    [registry]\nmax_staleness='100ms'\n[tls]\ncertificate='a'\n";
        std::fs::write(file.path(), text).unwrap();
        let faults = shared::config::load::<Config>(file.path()).unwrap_err().to_string();
        for key in [
            "tls.key",
            "tls.services_ca",
            "keyring.file",
            "database.url",
            "database.max_connections",
            "queue.writers",
            "queue.poll",
            "registry.max_staleness",
        ] {
            assert!(faults.contains(key), "{key} in {faults}");
        }
    }
}
