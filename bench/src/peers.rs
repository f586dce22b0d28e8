//! What Portcullis is measured beside: Debian's nginx and RabbitMQ, each configured as its users would for this job,
//! in private folders, on free ports, unprivileged.

mod place;
mod nginx;
mod rabbitmq;

pub(crate) use nginx::Nginx;
pub(crate) use rabbitmq::RabbitMq;
