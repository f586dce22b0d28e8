//! `doctor`: why a client cannot connect, in plain words.
//!
//! Exit code 0: nothing failed. 1: something did, and is told on standard output. 2: the command line.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anstream::{AutoStream, ColorChoice};
use clap::Args;
use shared::config::Span;
use url::Url;

use super::Place;
use crate::{
    client_tls::ClientFiles,
    doctor::{Question, examine},
};

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The proxy: https://HOST:PORT
    #[arg(value_name = "URL", value_parser = https_url)]
    url: Url,
    #[command(flatten)]
    files: Files,
    /// How long each step on the network may take
    #[arg(long, value_name = "TIME", default_value = "10s")]
    timeout: Span,
}

/// The options that curl has under the same names, and what curl has not.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// Your certificate and the CAs that issued it, PEM
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Its private key, PEM, also encrypted; without it, the key is read from the file of the certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Certificate and key as PKCS#12 (.p12, .pfx), in place of --cert and --key
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cert", "key"])]
    p12: Option<PathBuf>,
    /// The CA to believe, PEM: the ca.crt that the operator gave you; may be repeated
    #[arg(long = "cacert", value_name = "FILE", required = true)]
    cacerts: Vec<PathBuf>,
}

impl Files {
    pub(super) fn named(self, place: &Place) -> ClientFiles {
        let Self { cert, key, p12, cacerts } = self;
        let passphrase_file = place.passphrase_file.clone();
        ClientFiles { cert, key, p12, cacerts, passphrase_file }
    }
}

/// `https` only, and a host.
pub(super) fn https_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{error}: write https://HOST:PORT"))?;
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => Ok(url),
        ("https", None) => Err("it names no host: write https://HOST:PORT".to_owned()),
        (other, _) => Err(format!("it is {other}, and the proxy speaks only https: write https://HOST:PORT")),
    }
}

/// Writes the findings; answers whether nothing failed.
pub(super) async fn run(place: &Place, doctor: Doctor, out: &mut dyn Write) -> anyhow::Result<bool> {
    let question = Question { url: doctor.url, files: doctor.files.named(place), patience: doctor.timeout.0 };
    let report = examine(&question).await;
    if place.json {
        report.write_json(out)?;
    } else {
        // on a terminal only, and not where NO_COLOR forbids it
        let colour = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        report.write(out, colour)?;
    }
    Ok(report.ok())
}
