//! The checks behind `/readyz`: each says how it stands, whether somebody should look, and what it rests on.
//!
//! In: closures that answer from memory. Out: one JSON object. Refused: nothing; a check that does not hold makes the
//! process not ready, one that warns does not.

use std::fmt;

use serde_json::{Map, Value, json};

/// What one check says: how it stands, or why it is not ready.
pub type CheckResult = Result<String, String>;

type Check = Box<dyn Fn() -> Checked + Send + Sync>;

/// How one check stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    holds: bool,
    warns: bool,
    detail: String,
    facts: Map<String, Value>,
}

impl From<CheckResult> for Checked {
    fn from(result: CheckResult) -> Self {
        let holds = result.is_ok();
        let detail = result.unwrap_or_else(|detail| detail);
        Self { holds, warns: false, detail, facts: Map::new() }
    }
}

impl Checked {
    /// Says so if somebody should look, though the process works.
    #[must_use]
    pub fn warning(mut self, warns: bool) -> Self {
        self.warns |= warns;
        self
    }

    /// Adds what the check rests on, for programs.
    #[must_use]
    pub fn with(mut self, name: &str, facts: Value) -> Self {
        self.facts.insert(name.to_owned(), facts);
        self
    }

    /// Whether the process can do its work as far as this check goes.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// Whether somebody should look.
    #[must_use]
    pub fn warns(&self) -> bool {
        self.warns
    }

    /// How it stands, for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    fn to_json(&self) -> Value {
        let mut all = Map::new();
        all.insert("ok".to_owned(), self.holds.into());
        if self.warns {
            all.insert("warning".to_owned(), true.into());
        }
        all.insert("detail".to_owned(), self.detail.as_str().into());
        all.extend(self.facts.clone());
        all.into()
    }
}

/// The named checks behind `/readyz`. All of them must hold; none may do I/O.
#[derive(Default)]
pub struct Readiness {
    checks: Vec<(&'static str, Check)>,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.checks.iter().map(|(name, _)| name)).finish()
    }
}

impl Readiness {
    /// No checks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check that answers from memory.
    #[must_use]
    pub fn check(self, name: &'static str, check: impl Fn() -> CheckResult + Send + Sync + 'static) -> Self {
        self.check_with(name, move || check().into())
    }

    /// Adds one that may warn, and says what it rests on.
    #[must_use]
    pub fn check_with(
        mut self,
        name: &'static str,
        check: impl Fn() -> Checked + Send + Sync + 'static,
    ) -> Self {
        self.checks.push((name, Box::new(check)));
        self
    }

    /// Whether all checks hold, and each one's answer.
    #[must_use]
    pub fn judge(&self) -> (bool, Value) {
        let mut ready = true;
        let mut checks = Map::new();
        for (name, check) in &self.checks {
            let checked = check();
            ready &= checked.holds();
            checks.insert((*name).to_owned(), checked.to_json());
        }
        (ready, json!({"status": if ready { "ready" } else { "not_ready" }, "checks": checks}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_told_and_takes_nobody_out_of_service() {
        let warns = || Checked::from(Ok("soon".into())).warning(true).with("left", 3.into());
        let readiness = Readiness::new().check("fine", || Ok("fine".into())).check_with("soon", warns);
        let (ready, shown) = readiness.judge();
        assert!(ready);
        assert_eq!(shown["checks"]["fine"], json!({"ok": true, "detail": "fine"}));
        assert_eq!(
            shown["checks"]["soon"],
            json!({"ok": true, "warning": true, "detail": "soon", "left": 3})
        );
        let (ready, shown) = readiness.check("lost", || Err("lost".into())).judge();
        assert!(!ready);
        assert_eq!(shown["status"], "not_ready");
    }
}
