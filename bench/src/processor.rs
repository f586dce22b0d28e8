//! Processor time by process, from `/proc`.
//!
//! In: process ids under a label. Out: seconds that each label spent between two looks, children and ended
//! children included. Resolution: one tick (10 ms) per process.

use std::{collections::BTreeMap, fs};

use anyhow::Context as _;

use crate::statistics::ratio;

/// Ticks per second in `/proc/*/stat`: `USER_HZ`, which is 100 on every architecture we build for.
const TICKS: f64 = 100.0;

/// Seconds by label.
pub(crate) type Spent = BTreeMap<String, f64>;

/// Processes under one label.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    /// As in the table: `proxy`, `postgres`, …
    pub(crate) label: String,
    /// The first of them; its descendants count too.
    pub(crate) pid: u32,
}

impl Watched {
    pub(crate) fn new(label: &str, pid: u32) -> Self {
        Self { label: label.to_owned(), pid }
    }
}

/// What all of them have spent so far.
pub(crate) fn look(watched: &[Watched]) -> anyhow::Result<Spent> {
    let all = processes();
    let mut spent = Spent::new();
    for one in watched {
        anyhow::ensure!(all.contains_key(&one.pid), "{} (process {}) is gone", one.label, one.pid);
        let ticks: u64 = family(&all, one.pid).into_iter().map(|process| process.ticks).sum();
        *spent.entry(one.label.clone()).or_default() += seconds(ticks);
    }
    Ok(spent)
}

/// What was spent from one look to a later one.
pub(crate) fn between(before: &Spent, after: &Spent) -> Spent {
    let difference = |(label, late): (&String, &f64)| {
        (label.clone(), (late - before.get(label).copied().unwrap_or_default()).max(0.0))
    };
    after.iter().map(difference).collect()
}

/// What a thousand of what was counted cost.
pub(crate) fn per_thousand(spent: Spent, counted: f64) -> Spent {
    spent.into_iter().map(|(label, seconds)| (label, ratio(seconds, counted / 1000.0))).collect()
}

/// Memory of one process that is its own or shared and in use, in KiB (`VmRSS`).
pub(crate) fn resident_kib(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[derive(Debug, Clone, Copy)]
struct Process {
    parent: u32,
    /// Its own, and those of its children that have ended and were waited for.
    ticks: u64,
}

fn processes() -> BTreeMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // one that ends meanwhile is counted with its parent at the next look
    ids.filter_map(|pid: u32| Some((pid, parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect()
}

/// proc(5): `pid (name) state ppid … utime(14) stime(15) cutime(16) cstime(17)`; the name may hold anything.
fn parse(stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().unwrap_or_default()).sum();
    Some(Process { parent, ticks })
}

fn family(all: &BTreeMap<u32, Process>, first: u32) -> Vec<Process> {
    let mut found = vec![first];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        found.extend(all.iter().filter(|(_, process)| process.parent == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.iter().filter_map(|pid| all.get(pid).copied()).collect()
}

#[expect(clippy::cast_precision_loss, reason = "ticks of a machine that runs for less than a million years")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 3 1 1 0 -1 4194560 10 0 0 0 5 6 7 8 20 0 1 0 100 1 1";
        let process = parse(stat).unwrap();
        assert_eq!((process.parent, process.ticks), (3, 26));
    }

    #[test]
    fn a_grandchild_counts_with_its_family() {
        let process = |parent, ticks| Process { parent, ticks };
        let all = [(1, process(0, 1)), (5, process(1, 10)), (6, process(5, 100)), (7, process(1, 1000))];
        let ticks: u64 = family(&all.into(), 5).iter().map(|process| process.ticks).sum();
        assert_eq!(ticks, 110);
    }

    #[test]
    fn this_process_can_be_watched() {
        let watched = [Watched::new("self", std::process::id())];
        assert!(look(&watched).unwrap().contains_key("self"));
        assert!(resident_kib(std::process::id()).unwrap() > 100.0);
        assert!(look(&[Watched::new("nobody", u32::MAX)]).is_err());
    }
}
