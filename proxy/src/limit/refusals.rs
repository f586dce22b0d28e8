//! Slows down who is refused again and again: a revoked client in a loop costs a handshake each time.
//!
//! In: a refusal of a certificate. Out: the same refusal, later, when it or its network address is refused more often
//! than `[refusals]` says; never another answer. Whoever is admitted meanwhile is admitted. Beyond the answers that
//! may wait, each of which holds a connection, they are given at once. Two locks of shards, and only by the refused.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use shared::{
    identity::Fingerprint,
    serve::{Connection, network},
    shutdown::Shutdown,
};
use tokio::time::sleep_until;

use super::{
    bucket::{Bucket, Limit},
    shards::Shards,
};
use crate::{
    config,
    edge::{Authorizer, Principal, Refusal},
    metrics::{Metrics, Slowed},
};

/// Certificates and addresses that are remembered; of others nobody knows how often they were refused. An attacker
/// has as many addresses as it likes, but only certificates that a trusted CA signed.
const REMEMBERED: usize = 65_536;

/// Who was refused lately.
#[derive(Debug)]
pub(crate) struct Refusals {
    certificates: Shards<Fingerprint, Refused>,
    addresses: Shards<IpAddr, Refused>,
    of_certificate: Bounds,
    of_address: Bounds,
    longest: Duration,
    waiting: AtomicUsize,
    most_waiting: usize,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    limit: Option<Limit>,
    /// Answers that may wait.
    waiting: usize,
}

#[derive(Debug)]
struct Refused {
    bucket: Bucket,
    waiting: usize,
}

/// An answer that waits; it is counted until this is dropped.
struct Waiting<'a> {
    refusals: &'a Refusals,
    certificate: Fingerprint,
    address: IpAddr,
}

impl Refusals {
    /// Nobody was refused yet.
    pub(crate) fn new(config: config::Refusals, metrics: Arc<Metrics>, shutdown: Shutdown) -> Self {
        let limit = |per_second, burst| Limit::new(per_second, f64::from(burst), 1.0);
        Self {
            certificates: Shards::new(REMEMBERED),
            addresses: Shards::new(REMEMBERED),
            of_certificate: Bounds { limit: limit(config.per_second, config.burst), waiting: config.waiting },
            of_address: Bounds {
                limit: limit(config.per_second_of_address, config.burst_of_address),
                waiting: config.waiting_of_address,
            },
            longest: config.longest.0,
            waiting: AtomicUsize::new(0),
            most_waiting: config.waiting_in_all,
            metrics,
            shutdown,
        }
    }

    /// Waits until a refusal may be answered. It is over at once when the client is admitted, and at the soft stop.
    pub(crate) async fn slow(
        &self,
        authorizer: &Authorizer,
        connection: &Connection,
        refusal: Refusal,
    ) -> Result<Principal, Refusal> {
        let (now, peer) = (Instant::now(), &connection.peer);
        let address = network(connection.remote.ip());
        let Some((waiting, wait)) = self.begin(peer.certificate.fingerprint, address, now) else {
            return Err(refusal);
        };
        let mut applied = authorizer.registry.applied();
        let until = sleep_until((now + wait).into());
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = until.as_mut() => break,
                () = self.shutdown.requested() => break,
                changed = applied.changed() => if changed.is_err() || authorizer.authorize(peer).is_ok() { break },
            }
        }
        drop(waiting);
        authorizer.authorize(peer)
    }

    /// Counts a refusal; how long its answer has to wait, if it has to.
    fn begin(
        &self,
        certificate: Fingerprint,
        address: IpAddr,
        now: Instant,
    ) -> Option<(Waiting<'_>, Duration)> {
        let longest = self.longest;
        let of_certificate = count(&self.certificates, &certificate, self.of_certificate, longest, now);
        let of_address = count(&self.addresses, &address, self.of_address, longest, now);
        let wait = of_certificate.0.max(of_address.0).min(longest);
        if wait.is_zero() {
            return None;
        }
        let most = self.most_waiting;
        let mut placed = !of_certificate.1 && !of_address.1;
        placed = placed
            && self.waiting.fetch_update(Relaxed, Relaxed, |all| (all < most).then_some(all + 1)).is_ok();
        if !placed {
            self.metrics.slowed(Slowed::TooMany);
            return None;
        }
        self.metrics.slowed(Slowed::Delayed);
        self.metrics.refusals_waiting.inc();
        self.certificates.with_known(&certificate, |refused| refused.waiting += 1);
        self.addresses.with_known(&address, |refused| refused.waiting += 1);
        Some((Waiting { refusals: self, certificate, address }, wait))
    }

    /// Forgets who has not been refused for a while; answers how many are remembered.
    pub(super) fn forget(&self, now: Instant) -> usize {
        let wanted = |bounds: Bounds| {
            move |refused: &mut Refused| refused.waiting > 0 || !refused.bucket.is_full(bounds.limit, now)
        };
        self.certificates.forget(wanted(self.of_certificate)) + self.addresses.forget(wanted(self.of_address))
    }
}

/// How long one more has to wait, and whether as many as may are waiting.
fn count<K: std::hash::Hash + Eq + Clone>(
    all: &Shards<K, Refused>,
    key: &K,
    bounds: Bounds,
    longest: Duration,
    now: Instant,
) -> (Duration, bool) {
    let Some(limit) = bounds.limit else { return (Duration::ZERO, false) };
    let new = || Refused { bucket: Bucket::full(Some(limit), now), waiting: 0 };
    let counted = all.with(key, new, |refused| {
        // Nobody waits longer than the longest wait, so nobody owes more.
        refused.bucket.take_owing(limit, 1.0, longest.as_secs_f64() * limit.per_second, now);
        let owed = -refused.bucket.level(limit, now);
        (limit.time_for(owed), refused.waiting >= bounds.waiting)
    });
    counted.unwrap_or((Duration::ZERO, false))
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Self { refusals, certificate, address } = self;
        refusals.waiting.fetch_sub(1, Relaxed);
        refusals.metrics.refusals_waiting.dec();
        // it may not have been remembered when it began to wait
        let one_less = |refused: &mut Refused| refused.waiting = refused.waiting.saturating_sub(1);
        refusals.certificates.with_known(certificate, one_less);
        refusals.addresses.with_known(address, one_less);
    }
}

#[cfg(test)]
mod tests {
    use shared::config::Span;

    use super::*;

    fn refusals(config: config::Refusals) -> Refusals {
        let metrics = Arc::new(Metrics::register(&mut prometheus_client::registry::Registry::default()));
        Refusals::new(config, metrics, Shutdown::new())
    }

    fn certificate(number: u8) -> Fingerprint {
        Fingerprint::of_der(&[number])
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_burst_is_answered_at_once_and_then_each_waits_for_its_turn_but_not_for_ever() {
        let config = config::Refusals { burst: 3, waiting: 100, ..config::Refusals::default() };
        let (all, now) = (refusals(config), Instant::now());
        let mut held = Vec::new();
        let mut waits = Vec::new();
        for _ in 0..10 {
            let begun = all.begin(certificate(1), HERE, now);
            waits.push(begun.as_ref().map_or(0, |(_, wait)| wait.as_secs()));
            held.extend(begun);
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 3, 4, 5, 5, 5]);
        assert!(all.begin(certificate(2), HERE, now).is_none(), "another certificate does not wait");
    }

    #[test]
    fn who_asks_one_after_the_other_is_answered_once_a_second() {
        let all = refusals(config::Refusals { burst: 2, ..config::Refusals::default() });
        let begin = Instant::now();
        let mut now = begin;
        for _ in 0..102 {
            now += all.begin(certificate(1), HERE, now).map_or(Duration::ZERO, |(_, wait)| wait);
        }
        assert_eq!(now - begin, Duration::from_secs(100));
    }

    #[test]
    fn only_so_many_wait_and_the_others_are_answered_at_once() {
        for (config, most) in [
            (config::Refusals { waiting: 4, ..config::Refusals::default() }, 4),
            (config::Refusals { waiting_of_address: 3, ..config::Refusals::default() }, 3),
            (config::Refusals { waiting_in_all: 2, ..config::Refusals::default() }, 2),
            (config::Refusals { longest: Span::seconds(0), ..config::Refusals::default() }, 0),
            (config::Refusals { per_second: 0.0, ..config::Refusals::default() }, 0),
        ] {
            let (all, now) = (refusals(config), Instant::now());
            let held: Vec<_> = (0..100).filter_map(|_| all.begin(certificate(1), HERE, now)).collect();
            assert_eq!(held.len(), most, "{config:?}");
            drop(held);
            assert_eq!(all.waiting.load(Relaxed), 0);
            assert!(most == 0 || all.begin(certificate(1), HERE, now).is_some(), "{config:?}");
        }
    }

    #[test]
    fn many_refused_certificates_of_one_address_are_slowed_together() {
        let config = config::Refusals { burst_of_address: 5, ..config::Refusals::default() };
        let (all, now) = (refusals(config), Instant::now());
        let held = (0..20).filter_map(|number| all.begin(certificate(number), HERE, now)).count();
        assert_eq!(held, 15);
        let other = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
        assert!(all.begin(certificate(30), other, now).is_none());
    }

    #[test]
    fn the_addresses_of_one_network_are_one() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        for (one, other, same) in [
            ("2001:db8::1", "2001:db8::ffff:0:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            assert_eq!(network(parse(one)) == network(parse(other)), same, "{one} and {other}");
        }
    }

    #[test]
    fn who_stays_away_is_forgotten_but_not_who_waits() {
        let (all, now) =
            (refusals(config::Refusals { burst: 1, ..config::Refusals::default() }), Instant::now());
        assert!(all.begin(certificate(1), HERE, now).is_none());
        let held = all.begin(certificate(1), HERE, now);
        let later = now + Duration::from_secs(100);
        assert_eq!(all.forget(later), 2);
        drop(held);
        assert_eq!(all.forget(now), 2);
        assert_eq!(all.forget(later), 0);
    }
}
