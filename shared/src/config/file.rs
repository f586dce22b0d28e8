//! Where a configuration was read from, and what was set there: to read it anew, and to tell which settings changed.
//!
//! Values are compared and never shown: among them are passwords.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use crate::identity::Fingerprint;

/// A configuration file as it was read, with the environment over it.
#[derive(Clone)]
pub struct File {
    path: PathBuf,
    contents: Fingerprint,
    tables: Table,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.path)
    }
}

impl File {
    pub(super) fn new(path: PathBuf, text: &str, tables: Table) -> Self {
        Self { path, contents: Fingerprint::of_der(text.as_bytes()), tables }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// By which another file is told.
    #[must_use]
    pub fn contents(&self) -> Fingerprint {
        self.contents
    }

    /// The settings that are others in `later`, as `table.key`.
    #[must_use]
    pub fn changed_in(&self, later: &Self) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        compare("", &self.tables, &later.tables, &mut changed);
        changed
    }
}

fn compare(above: &str, before: &Table, after: &Table, changed: &mut BTreeSet<String>) {
    let nothing = Table::new();
    for key in before.keys().chain(after.keys()) {
        let name = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        match (before.get(key), after.get(key)) {
            (Some(Value::Table(before)), Some(Value::Table(after))) => {
                compare(&name, before, after, changed);
            }
            (Some(Value::Table(before)), None) => compare(&name, before, &nothing, changed),
            (None, Some(Value::Table(after))) => compare(&name, &nothing, after, changed),
            (one, other) if one != other => drop(changed.insert(name)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_named_by_table_and_key_and_no_value_is_shown() {
        let file = |text: &str| File::new("/etc/p.toml".into(), text, text.parse().unwrap());
        let before = file("[a]\nx = 1\nsecret = 'before'\n[b]\nc = { d = 1, e = 2 }\n[gone]\nx = 1");
        let after = file("[a]\nx = 1\nsecret = 'after'\n[b]\nc = { d = 1, e = 3 }\n[new]\ny = 1");
        let changed: Vec<_> = before.changed_in(&after).into_iter().collect();
        assert_eq!(changed, ["a.secret", "b.c.e", "gone.x", "new.y"]);
        assert!(before.changed_in(&before).is_empty());
        assert_eq!(format!("{before:?}"), "\"/etc/p.toml\"");
    }
}
