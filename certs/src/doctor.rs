//! Why a client cannot connect, in plain words.
//!
//! In: the files and the URL that a client uses. Out: a [`Report`] with one finding per check, in the order in which
//! things go wrong: the files, what is in them, the way to the server, the handshake, and what the proxy says.
//! Nothing is sent to a server that the client would not believe.

mod report;
mod files;
mod certificate;
mod network;
mod observer;
mod handshake;
mod alert;
mod answer;
mod refusal;

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use url::Url;

pub use report::{Check, Finding, Outcome, Report};

use crate::{client_tls::ClientFiles, credentials::Credentials};

/// What a client has and where it wants to go.
#[derive(Debug)]
pub struct Question {
    /// `https://HOST:PORT`; a path is ignored.
    pub url: Url,
    /// Its files.
    pub files: ClientFiles,
    /// How long each step on the network may take.
    pub patience: Duration,
}

/// What could be read of the client's files.
struct Belongings {
    /// Usable ones: certificate and key belong together.
    credentials: Option<Credentials>,
    /// Nothing was named, so that nothing can be wrong with it.
    nothing_named: bool,
    /// The CAs to believe.
    roots: Vec<CertificateDer<'static>>,
}

/// Makes every check that can be made; those that depend on a failed one are skipped, and say so.
pub async fn examine(question: &Question) -> Report {
    let mut report = Report::new(&question.url);
    let belongings = files::read(&question.files, &mut report);
    certificate::authorities(&belongings.roots, &mut report);
    if let Some(credentials) = &belongings.credentials {
        certificate::judge(credentials, &belongings.roots, &mut report);
    }
    if let Some(socket) = network::reach(question, &mut report).await
        && let Some(stream) = handshake::shake(question, &belongings, socket, &mut report).await
    {
        answer::ask(question, &belongings, stream, &mut report).await;
    }
    report.complete();
    report
}
