//! `send`: messages to a proxy, for those without curl.
//!
//! In: one message as arguments, its text perhaps on standard input, or many, one JSON object per line. Exit code 0: all
//! are stored. 1: some were refused or not acknowledged in time; they are named on standard error. 2: the command line.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Read as _, Write},
    path::PathBuf,
};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use shared::config::Span;
use url::Url;

use super::{
    Place,
    doctor::{Files, https_url},
};
use crate::{
    describe::printable,
    send::{Caller, Journal, Progress, Settled, journal_of, many, new_key, one},
};

#[derive(Debug, Args)]
pub(super) struct Send {
    /// The proxy: https://HOST:PORT
    #[arg(value_name = "URL", value_parser = https_url)]
    url: Url,
    #[command(flatten)]
    files: Files,
    /// The `sender_number` of one message, E.164
    #[arg(long, value_name = "NUMBER")]
    number: Option<String>,
    /// Its `message_body`; without it, the text is read from standard input
    #[arg(long, value_name = "TEXT", requires = "number")]
    text: Option<String>,
    /// Its `metadata`, a JSON object
    #[arg(long, value_name = "JSON", requires = "number", value_parser = json_object)]
    metadata: Option<Box<RawValue>>,
    /// Its `routing_key`
    #[arg(long, value_name = "KEY", requires = "number")]
    routing_key: Option<String>,
    /// Many messages, one JSON object per line; `-` is standard input, which is also read when there is no --number
    #[arg(long, value_name = "FILE", conflicts_with = "number")]
    file: Option<PathBuf>,
    /// Where to keep what was acknowledged; FILE.sent by default, nowhere for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "number")]
    state: Option<PathBuf>,
    /// Marks the message, so that it is stored once however often it is sent; of many, each is marked KEY:LINE
    #[arg(long, value_name = "KEY", value_parser = key)]
    idempotency_key: Option<String>,
    /// Give up when nothing was acknowledged for so long
    #[arg(long, value_name = "TIME", default_value = "5m")]
    max_time: Span,
}

/// Visible characters without quotes; shorter than the 255 that the proxy takes, for the number of the line comes after it.
fn key(text: &str) -> Result<String, String> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    if visible && (1..=200).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("1 to 200 visible ASCII characters, no quotes, no backslash".to_owned())
    }
}

fn json_object(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str::<Map<String, Value>>(text)
        .map_err(|error| format!("not a JSON object: {error}"))?;
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Sends; answers whether everything is stored.
pub(super) async fn run(place: &Place, send: Send, out: &mut dyn Write) -> anyhow::Result<bool> {
    if send.number.is_some() { single(place, send, out).await } else { lines(place, send, out).await }
}

async fn single(place: &Place, send: Send, out: &mut dyn Write) -> anyhow::Result<bool> {
    let message = message(&send)?;
    let key = send.idempotency_key.unwrap_or_else(new_key);
    let caller = Caller::new(send.url, &send.files.named(place), send.max_time.0, Progress::none())?;
    let settled = one(&caller, message, &key).await.with_context(|| {
        format!("it may be stored or not; to send it once at most, repeat it with --idempotency-key {key}")
    })?;
    if place.json {
        let mut object = serde_json::to_value(&settled)?;
        object["idempotency_key"] = key.into();
        writeln!(out, "{object}")?;
    } else if let Some(id) = settled.message_id.as_ref().filter(|_| settled.accepted()) {
        writeln!(
            out,
            "stored as {}{}",
            printable(id),
            if settled.replayed { ", by an earlier sending" } else { "" }
        )?;
    } else {
        bail!("refused: {}", refusal(&settled));
    }
    Ok(settled.accepted())
}

/// In the order of the documentation; the metadata keeps its own spelling.
#[derive(Serialize)]
struct Composed<'a> {
    sender_number: &'a str,
    message_body: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing_key: Option<&'a str>,
}

fn message(send: &Send) -> anyhow::Result<String> {
    let text = send.text.clone().map_or_else(text_of_stdin, Ok)?;
    Ok(serde_json::to_string(&Composed {
        sender_number: send.number.as_deref().unwrap_or_default(),
        message_body: &text,
        metadata: send.metadata.as_deref(),
        routing_key: send.routing_key.as_deref(),
    })?)
}

/// Without the newline at the end that `echo` adds.
fn text_of_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).context("the message on standard input is not UTF-8 text")?;
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(line.unwrap_or(&text).to_owned())
}

async fn lines(place: &Place, send: Send, out: &mut dyn Write) -> anyhow::Result<bool> {
    let file = send.file.filter(|file| file.as_os_str() != "-");
    if file.is_none() && io::stdin().is_terminal() {
        bail!(
            "nothing to send: give --number and --text, or --file, or one JSON object per line on standard input"
        );
    }
    let (input, bytes): (Box<dyn BufRead>, _) = match &file {
        Some(path) => {
            let opened = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            let bytes = opened.metadata().map(|metadata| metadata.len()).ok();
            (Box::new(BufReader::new(opened)), bytes)
        }
        None => (Box::new(BufReader::new(io::stdin())), None),
    };
    let wanted = send.idempotency_key.as_deref();
    let (mut journal, key) = match send.state.or_else(|| file.as_deref().map(journal_of)) {
        Some(state) => Journal::open(&state, wanted)?,
        None => (Journal::none(), wanted.map_or_else(new_key, str::to_owned)),
    };
    let progress = Progress::over(bytes);
    let caller = Caller::new(send.url, &send.files.named(place), send.max_time.0, progress.clone())?;
    let mut tell = |settled: &Settled| {
        if place.json {
            writeln!(out, "{}", serde_json::to_string(settled)?)?;
        } else if !settled.accepted() {
            progress.say(&format!("line {}: {}", settled.line, refusal(settled)));
        }
        anyhow::Ok(())
    };
    let done = many(&caller, input, &key, &mut journal, &progress, &mut tell).await;
    progress.end();
    let tally = done.map_err(|error| match &file {
        Some(_) => error.context("not finished; run the same command again to go on: nothing is sent twice"),
        None => anyhow!(error)
            .context(format!("not finished; with the same input, go on with --idempotency-key {key}")),
    })?;
    if place.json {
        writeln!(out, "{}", serde_json::to_string(&tally)?)?;
    } else {
        let before = if tally.before > 0 { format!(", {} sent before", tally.before) } else { String::new() };
        writeln!(out, "{} stored, {} refused{before}", tally.accepted, tally.refused)?;
    }
    Ok(tally.refused == 0)
}

fn refusal(settled: &Settled) -> String {
    let words = [settled.code.as_deref(), settled.detail.as_deref()];
    let words: Vec<_> = words.into_iter().flatten().collect();
    printable(&format!("{} {}", settled.status, words.join(": ")))
}
