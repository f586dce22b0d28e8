//! How much may be asked: the tables `[rate]`, `[admission]` and `[refusals]`.

use serde::Deserialize;
use shared::config::{ByteSize, Source, Span};

/// More than this a second is a typing error.
const MOST_PER_SECOND: f64 = 1e6;

/// The table `[rate]`: what one client may ask, where its row in `clients` says nothing else.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rate {
    /// Requests a second, every message of a batch being one; 0: no limit.
    pub requests_per_second: f64,
    /// Requests at once; 0: those of one second.
    pub burst: u32,
    /// Bytes of bodies a second; 0: no limit.
    pub bytes_per_second: ByteSize,
    /// Bytes at once; 0: those of one second.
    pub bytes_burst: ByteSize,
}

/// The table `[admission]`: what all clients together may send.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admission {
    /// Messages a second; 0: no limit.
    pub messages_per_second: f64,
    /// Messages at once; 0: those of a tenth of a second.
    pub burst: u32,
}

/// The table `[refusals]`: when a refused certificate has to wait for its 403.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refusals {
    /// Refusals of one certificate a second that need not wait; 0: none ever has to.
    pub per_second: f64,
    /// As many at once.
    pub burst: u32,
    /// Refusals of one network address a second that need not wait; 0: none ever has to.
    pub per_second_of_address: f64,
    /// As many at once.
    pub burst_of_address: u32,
    /// The longest wait.
    pub longest: Span,
    /// Answers to one certificate that may wait; further ones are given at once.
    pub waiting: usize,
    /// Answers to one network address that may wait.
    pub waiting_of_address: usize,
    /// Answers that may wait, in all.
    pub waiting_in_all: usize,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            per_second: 1.0,
            burst: 10,
            per_second_of_address: 50.0,
            burst_of_address: 500,
            longest: Span::seconds(5),
            waiting: 64,
            waiting_of_address: 256,
            waiting_in_all: 2048,
        }
    }
}

impl Rate {
    pub(super) fn check(&self, source: &mut Source) {
        check_rate(source, "rate.requests_per_second", self.requests_per_second);
    }
}

impl Admission {
    pub(super) fn check(&self, source: &mut Source) {
        check_rate(source, "admission.messages_per_second", self.messages_per_second);
    }
}

impl Refusals {
    pub(super) fn check(&self, source: &mut Source) {
        check_rate(source, "refusals.per_second", self.per_second);
        check_rate(source, "refusals.per_second_of_address", self.per_second_of_address);
        if self.burst == 0 || self.burst_of_address == 0 {
            source.fault("refusals", "burst and burst_of_address must be at least 1");
        }
        if self.longest > Span::seconds(30) {
            source.fault("refusals.longest", "must be at most 30s: whoever waits holds a connection");
        }
    }
}

fn check_rate(source: &mut Source, key: &str, per_second: f64) {
    // a comparison with NaN is false
    if !(0.0..=MOST_PER_SECOND).contains(&per_second) {
        source.fault(key, "must lie between 0 (no limit) and 1000000");
    }
}
