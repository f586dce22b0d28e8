//! RabbitMQ: one node, TLS with client certificates, for quorum queues. No system service is touched.

use std::{net::SocketAddr, path::Path, time::Duration};

use super::place::{Kept, Place, free_port};
use crate::processor::Watched;

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// How long it may take to listen.
const START: Duration = Duration::from_secs(90);

/// A node, running.
#[derive(Debug)]
pub(crate) struct RabbitMq {
    // dropped in this order: the node says goodbye to its port mapper
    node: Kept,
    _epmd: Kept,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    _place: Place,
}

impl RabbitMq {
    /// Starts a node with the certificates of a stack.
    pub(crate) fn start(pki: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(Path::new(SERVER).exists(), "no {SERVER}: run deploy/install-packages.sh bench");
        let place = Place::new()?;
        let service = pki.join("services").join("main-server").join("main-server-1");
        let certificate = place.gather("server.crt", &[&service.join("main-server-1.crt")])?;
        let key = place.gather("server.key", &[&service.join("main-server-1.key")])?;
        let ca = place.gather("clients.pem", &[&pki.join("clients-ca.crt"), &pki.join("ca.crt")])?;
        let (address, epmd_port, distribution) = (free_port()?, free_port()?, free_port()?);
        let config = format!(
            "listeners.tcp = none\nlisteners.ssl.1 = {address}\nssl_options.cacertfile = {}\n\
             ssl_options.certfile = {}\nssl_options.keyfile = {}\nssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = true\nssl_options.depth = 2\nlog.file.level = warning\n",
            ca.display(),
            certificate.display(),
            key.display()
        );
        let config = place.write("rabbitmq.conf", config.as_bytes())?;
        let plugins = place.write("enabled_plugins", b"[].\n")?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let epmd_port = epmd_port.port().to_string();
        let mut epmd = place.keep(&[], &["epmd", "-port", &epmd_port, "-address", "127.0.0.1"])?;
        place.wait_for(&mut epmd, format!("127.0.0.1:{epmd_port}").parse()?, START)?;
        let environment = [
            ("HOME", text(&place.folder("home")?)),
            ("ERL_EPMD_PORT", epmd_port),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODENAME", "portcullis-bench@localhost".to_owned()),
            ("RABBITMQ_DIST_PORT", distribution.port().to_string()),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}".to_owned()),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
            ("RABBITMQ_CONFIG_FILE", text(&config)),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", text(&plugins)),
            ("RABBITMQ_MNESIA_BASE", text(&place.folder("data")?)),
            ("RABBITMQ_LOG_BASE", text(&place.folder("logs")?)),
            ("RABBITMQ_PID_FILE", text(&place.path("pid"))),
        ];
        let mut node = place.keep(&environment, &[SERVER])?;
        place.wait_for(&mut node, address, START)?;
        Ok(Self { node, _epmd: epmd, address, _place: place })
    }

    pub(crate) fn watched(&self) -> Vec<Watched> {
        vec![self.node.watched("beam")]
    }
}
