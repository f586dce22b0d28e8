//! What the proxy answers: whether both clocks agree, and who it says the client is.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use shared::{identity::Certificate, wire::Code};
use time::{
    OffsetDateTime, PrimitiveDateTime, format_description::well_known::Rfc3339, macros::format_description,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::client::TlsStream;

use super::{
    Belongings, Question,
    certificate::now_seconds,
    handshake::after,
    refusal,
    report::{Check, Report},
};
use crate::describe;

const WHOAMI: &str = "/api/v1/whoami";
/// Ours is under 1 KiB; somebody else's page is not read to its end.
const MAX_ANSWER: usize = 64 * 1024;
/// Two clocks that are set by anybody differ by less; `Date` has whole seconds.
const SKEW: i64 = 60;

type Answer = (StatusCode, HeaderMap, Bytes);
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Asks `whoami` and explains what comes back.
pub(super) async fn ask(
    question: &Question,
    belongings: &Belongings,
    stream: TlsStream<TcpStream>,
    report: &mut Report,
) {
    let host = question.url.authority().to_owned();
    match timeout(question.patience, get(stream, &host)).await {
        Ok(Ok((status, headers, body))) => {
            if belongings.credentials.is_some() {
                report.pass(Check::CertificateAccepted, "the handshake is complete and HTTP is answered");
            } else {
                report.warn(
                    Check::CertificateAccepted,
                    "the server asks for no certificate, so it is no client door of Portcullis",
                    "check the URL",
                );
            }
            clock(&headers, belongings, report);
            whoami(status, &body, report);
        }
        Ok(Err(error)) => after(&*error, belongings, report),
        Err(_) => {
            report.fail(
                Check::Whoami,
                format!("no answer to GET {WHOAMI} within {:?}", question.patience),
                "check the port: the server may not be a proxy of Portcullis; ask the operator about its state",
            );
        }
    }
}

async fn get(stream: TlsStream<TcpStream>, host: &str) -> Result<Answer, Failure> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(WHOAMI)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, concat!("portcullis-certs/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        drop(sender);
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        Ok::<_, Failure>((head.status, head.headers, body))
    };
    // whichever side meets an alert, it is told; a server that closes without close_notify has answered all the same
    let (answer, connection) = tokio::join!(answer, connection);
    match (answer, connection) {
        (Ok(answer), _) => Ok(answer),
        (Err(_), Err(error)) => Err(error.into()),
        (Err(error), Ok(())) => Err(error),
    }
}

fn clock(headers: &HeaderMap, belongings: &Belongings, report: &mut Report) {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let date = headers.get(header::DATE).and_then(|value| value.to_str().ok());
    let Some(server) = date.and_then(|text| PrimitiveDateTime::parse(text, format).ok()) else {
        return report.skip(Check::Clock, "the server does not tell its time");
    };
    let (server, here) = (server.assume_utc().unix_timestamp(), now_seconds());
    let skew = here - server;
    if skew.abs() <= SKEW {
        return report.pass(Check::Clock, format!("both agree within {SKEW} s"));
    }
    let direction = if skew > 0 { "ahead of" } else { "behind" };
    let text = format!(
        "this machine's clock ({}) is {} {direction} the server's ({})",
        describe::moment(here),
        lasting(skew.abs()),
        describe::moment(server)
    );
    let remedy = "set the clock that is wrong (NTP: timedatectl set-ntp true); certificates are judged by it";
    let chain = belongings.credentials.iter().flat_map(|credentials| &credentials.chain);
    let decides = chain.filter_map(|der| Certificate::parse(der).ok()).any(|facts| {
        let within = |moment| (facts.validity.not_before..=facts.validity.not_after).contains(&moment);
        within(here) != within(server)
    });
    if decides {
        report.fail(Check::Clock, format!("{text}: by one of them your certificate is not in force"), remedy);
    } else {
        report.warn(Check::Clock, text, remedy);
    }
}

fn lasting(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn whoami(status: StatusCode, body: &[u8], report: &mut Report) {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |member: &str| body[member].as_str().map(str::to_owned);
    if let (StatusCode::OK, Some(client)) = (status, text("client_id")) {
        let until = text("expires_at");
        let end = until.as_deref().and_then(|until| OffsetDateTime::parse(until, &Rfc3339).ok());
        let known =
            format!("the proxy knows you as {client}, until {}", until.unwrap_or_else(|| "(unsaid)".into()));
        return match end {
            Some(end) if end.unix_timestamp() - now_seconds() < 30 * 86_400 => {
                report.warn(
                    Check::Whoami,
                    known,
                    "ask the operator to renew your certificate and registration now",
                );
            }
            _ => report.pass(Check::Whoami, known),
        };
    }
    let Some(word) = text("code") else {
        report.fail(
            Check::Whoami,
            format!("HTTP {status}, but not as a proxy of Portcullis answers"),
            "check host and port in the URL: another server, or something in front of the proxy, answers",
        );
        return;
    };
    let code = Code::ALL.iter().copied().find(|code| code.as_str() == word);
    let (meaning, remedy) =
        code.map_or(("the proxy refuses the request", "see docs/http.md"), refusal::explain);
    let extra = ["reason_code", "revoked_at", "fingerprint", "request_id"]
        .iter()
        .filter_map(|member| Some(format!("{member} {}", text(member)?)))
        .collect::<Vec<_>>()
        .join(", ");
    let text = format!("{} {word}: {meaning} ({extra})", status.as_u16());
    report.fail(Check::Whoami, text, remedy).code = Some(word);
}
