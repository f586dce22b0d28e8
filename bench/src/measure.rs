//! Takes the figures: ours and the peer in turn, so that a machine that gets slower is slower for both.
//!
//! A figure that fails is reported with its reason; the next one begins on a fresh stack.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use anyhow::bail;
use local::Interrupt;

use crate::{
    command::Options,
    figure::{Figure, NotYet},
    figures,
    report::{self, Report, Result, Run},
    scene::Scene,
};

/// Measures what was asked for; `false` if something could not be measured.
pub(crate) fn measure(options: &Options) -> anyhow::Result<bool> {
    let chosen = choose(&options.figures)?;
    let interrupt = Interrupt::on_signals()?;
    let mut scene = Scene::new(options.quick, interrupt);
    let mut report = Report::new(options.quick);
    let began = Instant::now();
    let mut complete = true;
    for mut figure in chosen {
        let late = options.within.is_some_and(|within| began.elapsed() >= within);
        let runs = runs(options, figure.as_ref());
        let name = figure.row().name;
        let mut failed = false;
        let result = if late {
            Result::not_measured(figure.as_ref(), "not measured: the time given by --within was over")
        } else if runs == 0 {
            Result::not_measured(figure.as_ref(), "not measured: it takes minutes, and this is a quick run")
        } else {
            report::say(&format!(
                "{name}: {runs} × ours{} …",
                figure.row().peer.map_or("", |_| " and the peer")
            ));
            let (taken, failure) = take(figure.as_mut(), &mut scene, runs);
            failed = failure.as_ref().is_some_and(|error| !error.is::<NotYet>());
            complete &= !failed;
            Result::of(figure.as_ref(), taken, failure)
        };
        report::say(&result.line());
        report.add(result);
        // after each, so that nothing that comes later can lose it
        report.write(&options.out)?;
        // its stacks stop here, before the next figure's start
        complete &= stopped(|| drop(figure));
        if failed {
            complete &= stopped(|| scene.discard());
        }
        if scene.interrupt.is_asked() {
            bail!("interrupted; what was measured is in {}", options.out.display());
        }
    }
    complete &= stopped(|| scene.discard());
    report::say(&format!("\n{}\n{}", report.table(), options.out.display()));
    Ok(complete)
}

fn choose(names: &[String]) -> anyhow::Result<Vec<Box<dyn Figure>>> {
    let all = figures::all();
    for name in names {
        if !all.iter().any(|figure| figure.row().name == name) {
            bail!("no figure {name}; --list says what there is");
        }
    }
    let wanted = |figure: &dyn Figure| names.is_empty() || names.iter().any(|name| name == figure.row().name);
    Ok(all.into_iter().filter(|figure| wanted(figure.as_ref())).collect())
}

/// Five runs; three of a slow figure; one of a quick run, and none if both.
fn runs(options: &Options, figure: &dyn Figure) -> u32 {
    let asked_for = !options.figures.is_empty();
    match (options.quick, figure.row().slow) {
        (true, true) if !asked_for => 0,
        (true, _) => options.runs.unwrap_or(1),
        (false, true) => options.runs.unwrap_or(3),
        (false, false) => options.runs.unwrap_or(5),
    }
}

/// Lets stacks stop. One that does not stop as it should panics, and no figure is lost by it; `false` if it did.
fn stopped(stop: impl FnOnce()) -> bool {
    let outcome = catch_unwind(AssertUnwindSafe(stop));
    outcome.inspect_err(|panic| report::warn(&format!("did not stop: {}", text(panic.as_ref())))).is_ok()
}

/// The runs, and what ended them too early. One that fails is taken once more: a noisy moment is no reason to lose those
/// before it.
fn take(figure: &mut dyn Figure, scene: &mut Scene, runs: u32) -> (Vec<Run>, Option<anyhow::Error>) {
    let (mut taken, mut again) = (Vec::new(), true);
    while taken.len() < runs as usize {
        // a stack that does not stop as it should panics; that is one figure's failure
        let run = catch_unwind(AssertUnwindSafe(|| {
            anyhow::Ok(Run { ours: figure.ours(scene)?, peer: figure.peer(scene)? })
        }));
        match run {
            Ok(Ok(run)) => taken.push(run),
            Ok(Err(error)) if again && !error.is::<NotYet>() && !scene.interrupt.is_asked() => {
                report::warn(&format!("a run failed and is taken again: {error:#}"));
                again = false;
            }
            Ok(Err(error)) => return (taken, Some(error)),
            Err(panic) => return (taken, Some(anyhow::anyhow!("it panicked: {}", text(panic.as_ref())))),
        }
        if scene.interrupt.is_asked() {
            return (taken, Some(anyhow::anyhow!("interrupted")));
        }
    }
    (taken, None)
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}
