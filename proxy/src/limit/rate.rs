//! What one client may ask: requests and bytes, each a bucket per client.
//!
//! In: a client, its limits, what it asks. Out: taken, or which limits it exceeds and when to come back. Nothing is
//! kept for clients without a limit, nor for those whose buckets are full again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use shared::identity::Name;

use super::{
    bucket::{Bucket, Limit},
    shards::Shards,
};
use crate::{config, edge::Principal};

/// One client's limits: the proxy's, or those of its row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rates {
    pub(crate) requests: Option<Limit>,
    pub(crate) bytes: Option<Limit>,
}

/// What is left of them; less than 0 is owed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Left {
    pub(super) requests: f64,
    pub(super) bytes: f64,
}

/// Too much was asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exceeded {
    /// The policies by their names, which are labels too.
    pub(crate) policies: &'static [&'static str],
    /// When the same may be asked again.
    pub(crate) wait: Duration,
}

/// The buckets of all clients.
#[derive(Debug)]
pub(crate) struct ClientRates {
    default: ArcSwap<config::Rate>,
    clients: Shards<Name, Client>,
}

#[derive(Debug)]
struct Client {
    requests: Bucket,
    bytes: Bucket,
    /// As they were last.
    rates: Rates,
}

impl ClientRates {
    /// Nobody asked for anything yet.
    pub(crate) fn new(default: config::Rate) -> Self {
        // as many as there are clients, at most: each was admitted
        Self { default: ArcSwap::from_pointee(default), clients: Shards::new(usize::MAX) }
    }

    /// Other limits, for every request from now on; what is owed is paid at the new rate.
    pub(crate) fn replace(&self, default: config::Rate) {
        self.default.store(Arc::new(default));
    }

    /// The limits of a client.
    pub(crate) fn of(&self, principal: &Principal) -> Rates {
        let own = principal.rate.as_deref().copied().unwrap_or_default();
        let default = self.default.load();
        let requests = own.requests_per_second.unwrap_or(default.requests_per_second);
        let burst = own.burst.unwrap_or(f64::from(default.burst));
        let bytes = own.bytes_per_second.unwrap_or_else(|| float(default.bytes_per_second.0));
        let bytes_burst = own.bytes_burst.unwrap_or_else(|| float(default.bytes_burst.0));
        Rates { requests: Limit::new(requests, burst, 1.0), bytes: Limit::new(bytes, bytes_burst, 1.0) }
    }

    /// Takes a request with a body of so many bytes; of none that is not known yet, which then must find some left.
    pub(super) fn take(
        &self,
        client: &Name,
        rates: Rates,
        bytes: Option<u64>,
        now: Instant,
    ) -> Result<(), Exceeded> {
        let known = bytes.map_or(0.0, exact);
        let needed = if bytes == Some(0) { f64::MIN } else { known.max(1.0) };
        self.with(client, rates, now, |client| client.take((1.0, 1.0), (known, needed), now))
    }

    /// Takes the further messages of a batch, whose first one was the request; all of them, or none.
    pub(crate) fn take_messages(
        &self,
        client: &Name,
        rates: Rates,
        further: usize,
        now: Instant,
    ) -> Result<(), Exceeded> {
        let further = float(further);
        // With the one that was taken it is a full bucket that a larger batch needs, and no more.
        let most = rates.requests.map_or(0.0, |limit| limit.burst - 1.0);
        let taken = self.with(client, rates, now, |client| {
            client.take((further, further.min(most)), (0.0, f64::MIN), now)
        });
        // sent again, the batch takes its first message again
        let first = rates.requests.map_or(Duration::ZERO, |limit| limit.time_for(1.0));
        taken.map_err(|exceeded| Exceeded { wait: exceeded.wait + first, ..exceeded })
    }

    /// Takes bytes that came without being announced.
    pub(super) fn take_bytes(&self, client: &Name, rates: Rates, bytes: usize, now: Instant) {
        if let Some(limit) = rates.bytes {
            self.with(client, rates, now, |client| client.bytes.take(limit, float(bytes), now));
        }
    }

    /// What is left for a client.
    pub(super) fn left(&self, client: &Name, rates: Rates, now: Instant) -> Left {
        self.with(client, rates, now, |client| {
            let left = |bucket: &mut Bucket, limit: Option<Limit>| {
                limit.map_or(0.0, |limit| bucket.level(limit, now))
            };
            let requests = left(&mut client.requests, rates.requests);
            Left { requests, bytes: left(&mut client.bytes, rates.bytes) }
        })
    }

    /// Forgets who has everything left; answers how many are remembered.
    pub(super) fn forget(&self, now: Instant) -> usize {
        self.clients.forget(|client| {
            let rates = client.rates;
            !(client.requests.is_full(rates.requests, now) && client.bytes.is_full(rates.bytes, now))
        })
    }

    fn with<T>(
        &self,
        client: &Name,
        rates: Rates,
        now: Instant,
        mut look: impl FnMut(&mut Client) -> T,
    ) -> T {
        let new = || Client {
            requests: Bucket::full(rates.requests, now),
            bytes: Bucket::full(rates.bytes, now),
            rates,
        };
        let looked = self.clients.with(client, new, |client| {
            client.rates = rates;
            look(client)
        });
        // there is room for all
        looked.unwrap_or_else(|| look(&mut new()))
    }
}

impl Client {
    /// Takes from both buckets or from neither: so much of each, if so much is there.
    fn take(&mut self, requests: (f64, f64), bytes: (f64, f64), now: Instant) -> Result<(), Exceeded> {
        let Rates { requests: of_requests, bytes: of_bytes } = self.rates;
        let has = |bucket: &mut Bucket, limit: Option<Limit>, needed| {
            limit.and_then(|limit| bucket.has(limit, needed, now).err())
        };
        let missing =
            (has(&mut self.requests, of_requests, requests.1), has(&mut self.bytes, of_bytes, bytes.1));
        let (policies, wait): (&'static [&'static str], _) = match missing {
            (None, None) => {
                if let Some(limit) = of_requests {
                    self.requests.take(limit, requests.0, now);
                }
                if let Some(limit) = of_bytes {
                    self.bytes.take(limit, bytes.0, now);
                }
                return Ok(());
            }
            (Some(wait), None) => (&["requests"], wait),
            (None, Some(wait)) => (&["bytes"], wait),
            (Some(one), Some(other)) => (&["requests", "bytes"], one.max(other)),
        };
        Err(Exceeded { policies, wait })
    }
}

fn float(number: usize) -> f64 {
    exact(number as u64)
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and nobody counts bytes beyond")]
fn exact(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use shared::{config::ByteSize, identity::Fingerprint};

    use super::*;
    use crate::registry::RateOverride;

    const SECOND: Duration = Duration::from_secs(1);

    fn principal(client_id: &str, rate: Option<RateOverride>) -> Principal {
        Principal {
            client_id: client_id.parse().unwrap(),
            domain: "default".into(),
            fingerprint: Fingerprint::of_der(b"x"),
            ends_at: i64::MAX,
            rate: rate.map(Arc::new),
        }
    }

    fn rates(
        requests_per_second: f64,
        burst: u32,
        bytes_per_second: usize,
        bytes_burst: usize,
    ) -> ClientRates {
        let (bytes_per_second, bytes_burst) = (ByteSize(bytes_per_second), ByteSize(bytes_burst));
        ClientRates::new(config::Rate { requests_per_second, burst, bytes_per_second, bytes_burst })
    }

    #[test]
    fn each_column_of_a_row_overrides_what_the_proxy_says_and_null_does_not() {
        let limit = |per_second, burst| Some(Limit { per_second, burst });
        let none = RateOverride::default();
        for (own, requests, bytes) in [
            (none, limit(10.0, 20.0), limit(1000.0, 4000.0)),
            (
                RateOverride { requests_per_second: Some(5.0), ..none },
                limit(5.0, 20.0),
                limit(1000.0, 4000.0),
            ),
            (RateOverride { burst: Some(0.0), ..none }, limit(10.0, 10.0), limit(1000.0, 4000.0)),
            (RateOverride { requests_per_second: Some(0.0), ..none }, None, limit(1000.0, 4000.0)),
            (RateOverride { bytes_per_second: Some(0.0), burst: Some(1.0), ..none }, limit(10.0, 1.0), None),
            (RateOverride { bytes_burst: Some(9.0), ..none }, limit(10.0, 20.0), limit(1000.0, 9.0)),
        ] {
            let all = rates(10.0, 20, 1000, 4000);
            assert_eq!(all.of(&principal("a", Some(own))), Rates { requests, bytes }, "{own:?}");
        }
        assert_eq!(rates(0.0, 5, 0, 5).of(&principal("a", None)), Rates { requests: None, bytes: None });
    }

    #[test]
    fn one_clients_limit_is_not_anothers() {
        let (all, now) = (rates(1.0, 2, 0, 0), Instant::now());
        let (a, b) = (principal("a", None), principal("b", None));
        let take = |one: &Principal| all.take(&one.client_id, all.of(one), None, now).is_ok();
        assert_eq!(
            [take(&a), take(&a), take(&a), take(&b), take(&b), take(&b)],
            [true, true, false, true, true, false]
        );
    }

    #[test]
    fn a_request_that_one_limit_refuses_uses_up_nothing_of_the_other() {
        let (all, now) = (rates(1.0, 2, 100, 100), Instant::now());
        let a = principal("a", None);
        let take = |bytes, now| all.take(&a.client_id, all.of(&a), bytes, now);
        assert_eq!(take(Some(90), now), Ok(()));
        assert_eq!(
            take(Some(90), now),
            Err(Exceeded { policies: &["bytes"], wait: Duration::from_millis(800) })
        );
        assert_eq!(take(Some(0), now), Ok(()), "the request was not used up");
        let both = Exceeded { policies: &["requests", "bytes"], wait: SECOND };
        assert_eq!(take(Some(90), now), Err(both));
        assert_eq!(take(Some(0), now), Err(Exceeded { policies: &["requests"], wait: SECOND }));
    }

    #[test]
    fn a_body_of_unknown_length_is_paid_for_as_it_comes() {
        let (all, now) = (rates(0.0, 0, 100, 100), Instant::now());
        let a = principal("a", None);
        let take = |bytes, now| all.take(&a.client_id, all.of(&a), bytes, now);
        assert_eq!(take(None, now), Ok(()));
        all.take_bytes(&a.client_id, all.of(&a), 299, now);
        assert_eq!(take(None, now), Err(Exceeded { policies: &["bytes"], wait: SECOND * 2 }));
        assert_eq!(take(Some(0), now), Ok(()), "a request without a body asks for none");
        assert_eq!(take(None, now + SECOND * 2), Ok(()));
    }

    #[test]
    fn a_batch_counts_its_messages() {
        // limit of 10, after so many were used, a batch of so many: fits, or fits after so many seconds
        for (used, batch, wait) in [
            (0, 10, None),
            (2, 8, None),
            (3, 8, Some(2)),
            (0, 1000, None),
            (1, 1000, Some(2)),
            (9, 10, Some(10)),
        ] {
            let (all, now) = (rates(1.0, 10, 0, 0), Instant::now());
            let a = principal("a", None);
            let (of_a, name) = (all.of(&a), &a.client_id);
            (0..used).for_each(|_| all.take(name, of_a, None, now).unwrap());
            assert_eq!(all.take(name, of_a, None, now), Ok(()), "its first message");
            let taken = all.take_messages(name, of_a, batch - 1, now);
            assert_eq!(
                taken.err().map(|exceeded| u32::try_from(exceeded.wait.as_secs()).unwrap()),
                wait,
                "{used}, then {batch}"
            );
            if let Some(wait) = wait {
                // sent again, its first message counts again
                let later = now + SECOND * wait;
                assert_eq!(all.take(name, of_a, None, later), Ok(()));
                assert_eq!(all.take_messages(name, of_a, batch - 1, later), Ok(()), "{used}, then {batch}");
            }
        }
    }

    #[test]
    fn whoever_has_everything_left_is_forgotten_and_nobody_else() {
        let (all, now) = (rates(1.0, 3, 0, 0), Instant::now());
        for name in ["a", "b"] {
            let one = principal(name, None);
            all.take(&one.client_id, all.of(&one), None, now).unwrap();
        }
        let b = principal("b", None);
        all.take(&b.client_id, all.of(&b), None, now).unwrap();
        assert_eq!(all.forget(now), 2);
        assert_eq!(all.forget(now + SECOND), 1);
        assert_eq!(all.forget(now + SECOND * 2), 0);
    }
}
