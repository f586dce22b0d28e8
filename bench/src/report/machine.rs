//! On what the figures were taken, so that nobody compares two machines.

use std::{fs, process::Command, thread};

use serde_json::{Value, json};

/// Processors, memory, kernel, and the versions of what was measured.
pub(super) fn facts() -> Value {
    let first_line = |path: &str| fs::read_to_string(path).ok()?.lines().next().map(str::to_owned);
    json!({
        "processors": thread::available_parallelism().map_or(0, usize::from),
        "memory": first_line("/proc/meminfo"),
        "kernel": first_line("/proc/version"),
        "processor": fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| model(&text)),
        "nginx": package("nginx"),
        "rabbitmq": package("rabbitmq-server"),
        "erlang": package("erlang-base"),
        "postgres": said_by("psql", &["--version"]),
    })
}

fn model(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn package(name: &str) -> Option<String> {
    said_by("dpkg-query", &["--show", "--showformat=${Version}", name])
}

fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
