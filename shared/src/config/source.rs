//! The tables of a configuration while they are being read, and the faults found so far.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::File;

const PREFIX: &str = "PORTCULLIS_";

/// The tables not read yet, and the faults so far.
#[derive(Debug)]
pub struct Source {
    file: PathBuf,
    read: File,
    tables: Table,
    faults: Vec<String>,
}

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct Faults {
    file: PathBuf,
    faults: Vec<String>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration {} has {} fault(s):", self.file.display(), self.faults.len())?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
    }
}

impl std::error::Error for Faults {}

impl Source {
    /// Reads the file and lays the environment over it.
    pub fn read(file: &Path) -> Result<Self, Faults> {
        let fail = |text: String| Faults { file: file.to_owned(), faults: vec![text] };
        let text = std::fs::read_to_string(file).map_err(|error| fail(format!("cannot be read: {error}")))?;
        let tables = text.parse::<Table>().map_err(|error| fail(syntax(&text, &error)))?;
        let mut source = Self::of(file, &text, tables);
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        let variables = std::env::vars_os();
        for (name, value) in variables {
            if let (Some(name), Some(value)) = (name.to_str(), value.to_str()) {
                source.overlay(name, value);
            }
        }
        source.read = File::new(file.to_owned(), &text, source.tables.clone());
        Ok(source)
    }

    fn of(file: &Path, text: &str, tables: Table) -> Self {
        let read = File::new(file.to_owned(), text, Table::new());
        Self { file: file.to_owned(), read, tables, faults: Vec::new() }
    }

    /// What was read, to be kept with the configuration.
    #[must_use]
    pub fn file(&self) -> File {
        self.read.clone()
    }

    /// Lays one variable over the tables; names without our prefix or without `__` are somebody else's.
    fn overlay(&mut self, name: &str, value: &str) {
        let Some(path) = name.strip_prefix(PREFIX).filter(|path| path.contains("__")) else { return };
        let path = path.to_lowercase();
        let (tables, key) = path.rsplit_once("__").unwrap_or_default();
        let mut table = &mut self.tables;
        for part in tables.split("__") {
            let entry = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(next) = entry else {
                self.faults.push(format!("{name}: `{part}` is not a table"));
                return;
            };
            table = next;
        }
        let parsed = format!("value = {value}").parse::<Table>().ok().and_then(|mut t| t.remove("value"));
        table.insert(key.to_owned(), parsed.unwrap_or_else(|| Value::String(value.to_owned())));
    }

    /// Takes one table; a missing one has its defaults.
    pub fn section<T: DeserializeOwned + Default>(&mut self, table: &str) -> T {
        let Some(value) = self.tables.remove(table) else { return T::default() };
        value.try_into().unwrap_or_else(|error: toml::de::Error| {
            self.fault(table, error.to_string().trim_end().replace('\n', " "));
            T::default()
        })
    }

    /// Records a fault of one key; the text says what is wrong and what to do.
    pub fn fault(&mut self, key: &str, text: impl fmt::Display) {
        self.faults.push(format!("{key}: {text}"));
    }

    /// A path as written, relative to the configuration file.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Resolves a path that has to be set; an empty one is a fault.
    pub fn require_file(&mut self, key: &str, path: &mut PathBuf) {
        if path.as_os_str().is_empty() {
            self.fault(key, "is required: the path of a file, relative to this configuration file");
        } else {
            *path = self.resolve(path);
        }
    }

    /// Ends the reading: tables that nobody took are faults.
    pub fn finish(mut self) -> Result<(), Faults> {
        let unknown: Vec<_> = self.tables.keys().cloned().collect();
        for table in unknown {
            self.fault(&table, "is not known here (a typing error, or another process's table?)");
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Faults { file: self.file, faults: self.faults }) }
    }
}

/// Where a text is no TOML, and why. The line itself, which the parser would quote, may hold a password.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("line {line} is not valid TOML: {}", error.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(Path::new("/etc/p/proxy.toml"), text, text.parse().unwrap())
    }

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Registry {
        max_staleness: crate::config::Span,
        sizes: Vec<u32>,
    }

    #[test]
    fn the_environment_overrides_the_file_by_table_and_key() {
        let mut source = source("[registry]\nmax_staleness = '5s'");
        source.overlay("PORTCULLIS_REGISTRY__MAX_STALENESS", "60s");
        source.overlay("PORTCULLIS_REGISTRY__SIZES", "[1, 2]");
        source.overlay("PORTCULLIS_PASSPHRASE", "not ours");
        let registry: Registry = source.section("registry");
        assert_eq!(registry.max_staleness.0.as_secs(), 60);
        assert_eq!(registry.sizes, [1, 2]);
        assert!(source.finish().is_ok());
    }

    #[test]
    fn all_faults_are_reported_together_and_named() {
        let mut source = source("[registry]\nmax_stalenes = '5s'\n[upstraem]\nx = 1");
        let _: Registry = source.section("registry");
        source.fault("tls.key", "is missing");
        let text = source.finish().unwrap_err().to_string();
        for part in ["registry", "max_stalenes", "upstraem", "tls.key"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_syntax_error_names_the_line_and_does_not_show_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, "[registry]\n\ndatabase_url = postgresql://user:secret@db/x\n").unwrap();
        let text = Source::read(&file).unwrap_err().to_string();
        assert!(text.contains("line 3") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        assert_eq!(source("").resolve(Path::new("pki/ca.crt")), Path::new("/etc/p/pki/ca.crt"));
        assert_eq!(source("").resolve(Path::new("/x/ca.crt")), Path::new("/x/ca.crt"));
    }
}
