//! nginx as an edge: client certificates and revocation lists checked, requests passed on over kept TLS connections
//! to another nginx, which answers 202 and stores nothing.

use std::{net::SocketAddr, path::Path, time::Duration};

use super::place::{Kept, Place, free_port};
use crate::processor::Watched;

/// How long it may take to listen.
const START: Duration = Duration::from_secs(10);

/// Both of them, running.
#[derive(Debug)]
pub(crate) struct Nginx {
    // dropped in this order: the edge before what it passes on to, the folder last
    edge: Kept,
    upstream: Kept,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    _place: Place,
}

impl Nginx {
    /// Starts both with the certificates of a stack.
    pub(crate) fn start(pki: &Path) -> anyhow::Result<Self> {
        let place = Place::new()?;
        let service = |kind: &str, name: &str, ending: &str| {
            pki.join("services").join(kind).join(name).join(format!("{name}.{ending}"))
        };
        for (name, kind, service_name) in
            [("edge", "proxy", "proxy-1"), ("upstream", "main-server", "main-server-1")]
        {
            place.gather(&format!("{name}.crt"), &[&service(kind, service_name, "crt")])?;
            place.gather(&format!("{name}.key"), &[&service(kind, service_name, "key")])?;
        }
        let list = |name: &str| pki.join("crl").join(name);
        place.gather("clients.pem", &[&pki.join("clients-ca.crt"), &pki.join("ca.crt")])?;
        place.gather("services.pem", &[&pki.join("services-ca.crt"), &pki.join("ca.crt")])?;
        place.gather("lists.pem", &[&list("revoked.pem"), &list("root.pem")])?;
        let (address, upstream_address) = (free_port()?, free_port()?);
        let upstream = start(&place, "upstream", upstream_address, &upstream_server(upstream_address))?;
        let edge = start(&place, "edge", address, &edge_server(address, upstream_address))?;
        Ok(Self { edge, upstream, address, _place: place })
    }

    pub(crate) fn watched(&self) -> Vec<Watched> {
        vec![self.edge.watched("nginx"), self.upstream.watched("nginx upstream")]
    }
}

fn start(place: &Place, name: &str, address: SocketAddr, server: &str) -> anyhow::Result<Kept> {
    let folder = place.folder(name)?;
    let prefix = folder.to_string_lossy();
    // two workers at the edge, as many as there are processors; one behind it, which has next to nothing to do
    let workers = if name == "edge" { 2 } else { 1 };
    let config = format!(
        "daemon off;\nworker_processes {workers};\npid nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n client_body_temp_path body;\n proxy_temp_path proxy;\n fastcgi_temp_path fastcgi;\n \
         uwsgi_temp_path uwsgi;\n scgi_temp_path scgi;\n client_body_buffer_size 64k;\n \
         keepalive_requests 1000000000;\n keepalive_timeout 300;\n ssl_protocols TLSv1.2 TLSv1.3;\n \
         ssl_verify_client on;\n ssl_verify_depth 2;\n{server}}}\n"
    );
    let config = place.write(&format!("{name}.conf"), config.as_bytes())?;
    let config = config.to_string_lossy();
    let mut kept = place.keep(&[], &["/usr/sbin/nginx", "-p", &prefix, "-c", &config, "-e", "stderr"])?;
    place.wait_for(&mut kept, address, START)?;
    Ok(kept)
}

/// Its access log is on, written 8 KiB at a time: ours is written several lines at a time, where it is busy.
fn edge_server(address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        " access_log access.log combined buffer=8k flush=1s;\n \
         upstream main {{ server {upstream}; keepalive 128; keepalive_requests 1000000000; }}\n \
         server {{\n  listen {address} ssl backlog=4096;\n  ssl_certificate edge.crt;\n  \
         ssl_certificate_key edge.key;\n  ssl_client_certificate clients.pem;\n  ssl_crl lists.pem;\n  \
         location = /health {{ default_type application/json; return 200 '{{\"status\":\"ok\"}}'; }}\n  \
         location / {{\n   proxy_pass https://main;\n   proxy_http_version 1.1;\n   \
         proxy_set_header Connection \"\";\n   proxy_ssl_certificate edge.crt;\n   \
         proxy_ssl_certificate_key edge.key;\n   proxy_ssl_trusted_certificate services.pem;\n   \
         proxy_ssl_verify on;\n   proxy_ssl_verify_depth 2;\n   proxy_ssl_name localhost;\n  }}\n }}\n"
    )
}

/// It logs no requests, as our main server logs none.
fn upstream_server(address: SocketAddr) -> String {
    let body = "{\"message_id\":\"0192f0c1-2345-7000-8000-000000000000\",\"status\":\"queued\",\
                \"client_id\":\"bench\",\"queued_at\":\"2026-01-01T00:00:00.000000Z\"}";
    format!(
        " access_log off;\n server {{\n  listen {address} ssl backlog=4096;\n  ssl_certificate upstream.crt;\n  \
         ssl_certificate_key upstream.key;\n  ssl_client_certificate services.pem;\n  \
         location / {{ default_type application/json; return 202 '{body}'; }}\n }}\n"
    )
}
