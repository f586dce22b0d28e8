//! The Grafana dashboard and the alert rules name metrics that the processes really show.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::collections::BTreeSet;

use crate::support::{DEADLINE, Sender, options};
use local::{Curl, Stack, eventually};

const DASHBOARD: &str = include_str!("../../../grafana/portcullis.json");
const RULES: &str = include_str!("../../../prometheus/rules.yml");

/// Every `portcullis_…` in a text.
fn named(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        .filter(|word| word.starts_with("portcullis_"))
        .collect()
}

/// The names of all series that the processes show.
fn shown(stack: &Stack) -> BTreeSet<String> {
    let series = |text: String| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    stack.processes().flat_map(|process| series(process.get("/metrics").unwrap().1)).collect()
}

/// What has to happen once, so that it is counted: a refusal and a handshake that fails.
fn provoke(stack: &Stack) {
    let sender = Sender::new(stack);
    assert_eq!(sender.post("{").status, 400);
    assert_eq!(sender.post_message("counted").status, 202);
    let stranger = Curl::believing(&stack.pki().join("ca.crt"));
    assert_ne!(stranger.get(&sender.at("/health")).unwrap().exit_code, 0);
}

#[test]
fn dashboard_and_alert_rules_name_only_metrics_that_exist() {
    let stack = Stack::start(options()).unwrap();
    provoke(&stack);
    let all: BTreeSet<_> = named(DASHBOARD).union(&named(RULES)).copied().collect();
    assert!(all.len() > 30, "{all:?}");
    let missing = || {
        let shown = shown(&stack);
        all.iter().filter(|name| !shown.contains(**name)).copied().collect::<Vec<_>>()
    };
    let none = eventually(DEADLINE, || missing().is_empty().then_some(()));
    assert!(none.is_some(), "no process shows {:?}", missing());
}
