//! What was measured, as a table for people and as JSON for programs.

mod machine;

use std::{collections::BTreeMap, fs, io::Write as _, path::Path};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    figure::{Compare, Figure, NotYet, Row, Sample},
    statistics::{ends, median, ratio},
};

/// One run of ours and one of the peer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) ours: Sample,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<Sample>,
}

/// What became of a figure.
#[derive(Debug)]
pub(crate) struct Result {
    row: Row,
    runs: Vec<Run>,
    ours: Option<f64>,
    peer: Option<f64>,
    ratio: Option<f64>,
    /// Bounds beside the main one, with what was seen.
    also: Vec<(String, f64, bool)>,
    met: bool,
    reason: Option<String>,
}

impl Result {
    /// Of its runs, and of what ended them too early.
    pub(crate) fn of(figure: &dyn Figure, runs: Vec<Run>, failure: Option<anyhow::Error>) -> Self {
        let row = figure.row();
        let ours = median(&values(&runs, |run| Some(run.ours.value)));
        let peer = median(&values(&runs, |run| run.peer.as_ref().map(|peer| peer.value)));
        let compared = match row.compare {
            Compare::Ours => ours,
            Compare::OursToPeer => ours.zip(peer).map(|(ours, peer)| ratio(ours, peer)),
            Compare::PeerToOurs => ours.zip(peer).map(|(ours, peer)| ratio(peer, ours)),
        };
        let also: Vec<_> = figure
            .also()
            .iter()
            .filter_map(|also| {
                let seen = median(&values(&runs, |run| run.ours.also.get(also.name).copied()))?;
                let goal = format!("{} {} {}", also.name, also.goal.sign(), also.goal.bound());
                Some((goal, seen, also.goal.is_met_by(seen)))
            })
            .collect();
        let complete = failure.is_none() && also.len() == figure.also().len();
        let met = complete
            && compared.is_some_and(|value| row.goal.is_met_by(value))
            && also.iter().all(|(_, _, met)| *met);
        let reason = failure.map(|error| match error.downcast_ref::<NotYet>() {
            Some(not_yet) => not_yet.to_string(),
            None => format!("not measured: {error:#}"),
        });
        let ratio = if row.compare == Compare::Ours { None } else { compared };
        Self { row, runs, ours, peer, ratio, also, met, reason }
    }

    /// Left out, and why.
    pub(crate) fn not_measured(figure: &dyn Figure, reason: &str) -> Self {
        let reason = Some(reason.to_owned());
        Self { reason, ..Self::of(figure, Vec::new(), None) }
    }

    fn samples_of_ours(&self) -> impl Iterator<Item = &Sample> {
        self.runs.iter().map(|run| &run.ours)
    }

    fn samples_of_peer(&self) -> impl Iterator<Item = &Sample> {
        self.runs.iter().filter_map(|run| run.peer.as_ref())
    }

    fn goal(&self) -> String {
        format!("{} {}", self.row.goal.sign(), self.row.goal.bound())
    }

    fn json(&self) -> Value {
        let mut value = json!({
            "name": self.row.name,
            "unit": self.row.unit,
            "ours": self.ours,
            "peer": self.peer,
            "peer_name": self.row.peer,
            "ratio": self.ratio,
            "goal": self.goal(),
            "met": self.met,
            "cpu_seconds_per_1000": {
                "ours": medians(self.samples_of_ours()).cpu_seconds_per_1000,
                "peer": medians(self.samples_of_peer()).cpu_seconds_per_1000,
            },
            "runs": self.runs,
            "what": self.row.what,
        });
        if !self.also.is_empty() {
            let also =
                self.also.iter().map(|(goal, seen, met)| json!({ "goal": goal, "seen": seen, "met": met }));
            value["also"] = also.collect();
        }
        if let Some(reason) = &self.reason {
            value["reason"] = json!(reason);
        }
        value
    }

    /// The figure's line in the table, and below it what its runs cost.
    pub(crate) fn line(&self) -> String {
        let spread = |values: &[f64]| match (median(values), ends(values)) {
            (Some(median), Some((least, most))) => {
                format!("{} ({}–{})", short(median), short(least), short(most))
            }
            _ => "–".to_owned(),
        };
        let ours = spread(&values(&self.runs, |run| Some(run.ours.value)));
        let peer = spread(&values(&self.runs, |run| run.peer.as_ref().map(|peer| peer.value)));
        let ratio = self.ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        let met = if self.met { "met" } else { "missed" };
        let mut lines = vec![format!(
            "{:<26} {:<14} {ours:<28} {peer:<28} {ratio:>6}  {:<7} {met}",
            self.row.name,
            self.row.unit,
            self.goal()
        )];
        for (goal, seen, met) in &self.also {
            let met = if *met { "met" } else { "missed" };
            lines.push(format!("    {goal}: {} ({met})", short(*seen)));
        }
        lines.extend(detail("ours", &medians(self.samples_of_ours())));
        lines.extend(detail("peer", &medians(self.samples_of_peer())));
        lines.extend(self.reason.as_ref().map(|reason| format!("    {reason}")));
        lines.join("\n")
    }
}

/// Processor time and what else was seen, each the median of the runs.
fn medians<'a>(samples: impl Iterator<Item = &'a Sample>) -> Sample {
    let (mut spent, mut also) = (BTreeMap::<_, Vec<f64>>::new(), BTreeMap::<_, Vec<f64>>::new());
    for sample in samples {
        for (label, seconds) in &sample.cpu_seconds_per_1000 {
            spent.entry(label.clone()).or_default().push(*seconds);
        }
        for (name, value) in &sample.also {
            also.entry(*name).or_default().push(*value);
        }
    }
    Sample {
        cpu_seconds_per_1000: spent
            .into_iter()
            .filter_map(|(label, all)| Some((label, median(&all)?)))
            .collect(),
        also: also.into_iter().filter_map(|(name, all)| Some((name, median(&all)?))).collect(),
        ..Sample::default()
    }
}

/// Processor time and what else was seen.
fn detail(side: &str, sample: &Sample) -> Option<String> {
    let micros =
        sample.cpu_seconds_per_1000.iter().map(|(label, seconds)| format!("{label} {}", short(*seconds)));
    let also = sample.also.iter().map(|(name, value)| format!("{name} {}", short(*value)));
    let (micros, also) = (micros.collect::<Vec<_>>().join(", "), also.collect::<Vec<_>>().join(", "));
    match (micros.is_empty(), also.is_empty()) {
        (true, true) => None,
        (true, false) => Some(format!("    {side}: {also}")),
        _ => Some(format!("    {side}: processor s per 1,000: {micros}; {also}")),
    }
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    quick: bool,
    results: Vec<Result>,
}

impl Report {
    pub(crate) const fn new(quick: bool) -> Self {
        Self { quick, results: Vec::new() }
    }

    pub(crate) fn add(&mut self, result: Result) {
        self.results.push(result);
    }

    /// Writes the JSON in one step.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let figures: Vec<_> = self.results.iter().map(Result::json).collect();
        let mode = if self.quick { "quick" } else { "full" };
        let text = json!({ "mode": mode, "machine": machine::facts(), "figures": figures });
        let written = file.parent().map_or(Ok(()), fs::create_dir_all);
        let new = file.with_extension("json.new");
        written
            .and_then(|()| fs::write(&new, format!("{text:#}\n")))
            .and_then(|()| fs::rename(&new, file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let head = format!(
            "{:<26} {:<14} {:<28} {:<28} {:>6}  {:<7}",
            "figure", "unit", "ours: median (min–max)", "peer: median (min–max)", "ratio", "goal"
        );
        let lines = self.results.iter().map(Result::line);
        [head].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
    }
}

/// What there is to measure.
pub(crate) fn list(figures: &[Box<dyn Figure>]) {
    for row in figures.iter().map(|figure| figure.row()) {
        let peer = row.peer.map_or(String::new(), |peer| format!(" [peer: {peer}]"));
        say(&format!("{:<26} {} {} {}{peer}", row.name, row.goal.sign(), row.goal.bound(), row.what));
    }
}

/// Tells the person at the terminal; if nobody listens any more, so be it.
pub(crate) fn say(text: &str) {
    let _nobody_listens = writeln!(std::io::stdout(), "{text}");
}

/// The same, for what went wrong.
pub(crate) fn warn(text: &str) {
    let _nobody_listens = writeln!(std::io::stderr(), "{text}");
}

fn values(runs: &[Run], value: impl Fn(&Run) -> Option<f64>) -> Vec<f64> {
    runs.iter().filter_map(value).collect()
}

/// Four digits that matter.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
