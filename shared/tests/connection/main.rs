//! Which certificates are believed, and how connections live and end, over real TLS.

mod support;

mod paths;
mod bundles;
mod doors;
