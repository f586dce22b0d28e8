//! The way to the server: an address for its name, and somebody who listens there.

use std::{io, net::SocketAddr};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use url::{Host, Url};

use super::{
    Question,
    report::{Check, Report},
};

/// Resolves and connects: the first address that takes a connection.
pub(super) async fn reach(question: &Question, report: &mut Report) -> Option<TcpStream> {
    let addresses = resolve(question, report).await?;
    connect(question, &addresses, report).await
}

/// The host as it is resolved: an IPv6 address without its brackets.
pub(super) fn host(url: &Url) -> String {
    match url.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(host) => host.to_string(),
        None => String::new(),
    }
}

fn port(url: &Url) -> u16 {
    url.port_or_known_default().unwrap_or(443)
}

async fn resolve(question: &Question, report: &mut Report) -> Option<Vec<SocketAddr>> {
    let host = host(&question.url);
    let remedy = format!(
        "check the spelling of {host}; ask the operator for the proxy's name, and whoever runs your network whether it \
         is known there"
    );
    let found = timeout(question.patience, lookup_host((host.as_str(), port(&question.url)))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            report.fail(Check::Dns, format!("{host} has no address: {error}"), remedy);
            return None;
        }
        Err(_) => {
            let text = format!("no answer about {host} within {:?}", question.patience);
            report.fail(Check::Dns, text, "check this machine's network and its DNS servers");
            return None;
        }
    };
    if addresses.is_empty() {
        report.fail(Check::Dns, format!("{host} has no address"), remedy);
        return None;
    }
    let shown: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    report.pass(Check::Dns, format!("{host} is {}", shown.join(", ")));
    Some(addresses)
}

async fn connect(question: &Question, addresses: &[SocketAddr], report: &mut Report) -> Option<TcpStream> {
    let mut last = None;
    for address in addresses {
        match timeout(question.patience, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                report.pass(Check::Tcp, format!("{address} takes connections"));
                return Some(socket);
            }
            Ok(Err(error)) => last = Some((address, error)),
            Err(_) => last = Some((address, io::ErrorKind::TimedOut.into())),
        }
    }
    let (address, error) = last?;
    let (text, remedy) = unreached(question, *address, &error);
    report.fail(Check::Tcp, text, remedy);
    None
}

fn unreached(question: &Question, address: SocketAddr, error: &io::Error) -> (String, String) {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            let port_hint = if question.url.port().is_none() {
                "the URL names no port, so 443 is asked; the proxy's is 8001 unless the operator says otherwise"
            } else {
                "check the port in the URL: the proxy's is 8001 unless the operator says otherwise"
            };
            (
                format!("{address} refuses the connection: nothing listens on port {port}"),
                format!("{port_hint}; then ask the operator whether the proxy runs"),
            )
        }
        io::ErrorKind::TimedOut => (
            format!(
                "{address} does not answer within {:?}: a firewall drops the packets, or the host is off",
                question.patience
            ),
            format!("ask whoever runs your network to allow TCP to {address}"),
        ),
        _ => (
            format!("{address} cannot be reached: {error}"),
            "check this machine's network, its routes and its firewall".to_owned(),
        ),
    }
}
