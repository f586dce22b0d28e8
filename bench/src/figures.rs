//! All figures, in the order of the table of goals.

mod ingest;
mod end_to_end;
mod rows;
mod handshake;
mod large_list;
mod revocation;
mod latency;
mod registry;
mod idle;
mod backlog;
mod xmin;
mod overload;

use crate::figure::Figure;

pub(crate) fn all() -> Vec<Box<dyn Figure>> {
    vec![
        Box::new(ingest::SINGLE_TO_NGINX),
        Box::new(ingest::SINGLE_TO_RABBITMQ),
        Box::new(ingest::BATCH_TO_RABBITMQ),
        Box::new(end_to_end::EndToEnd),
        Box::new(rows::Rows),
        Box::new(handshake::Handshake),
        Box::new(large_list::Handshakes),
        Box::new(large_list::Reload),
        Box::<revocation::Revocation>::default(),
        Box::new(latency::P50),
        Box::new(latency::P99),
        Box::<registry::Registry>::default(),
        Box::new(idle::Idle),
        Box::<backlog::Backlog>::default(),
        Box::new(xmin::HeldXmin),
        Box::<overload::Overload>::default(),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_figure_has_a_name_of_its_own() {
        let names: Vec<_> = all().iter().map(|figure| figure.row().name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }
}
