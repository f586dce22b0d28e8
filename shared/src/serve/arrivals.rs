//! Who is let in before anything is known of them: so many in all, from one address, in their handshake.
//!
//! In: an accepted socket's address. Out: its arrival, given back when it is dropped. Refused: one too many of all, or
//! of its address, for the price of closing a socket. A handshake too many is *not* refused: the oldest one is dropped
//! for it. Who means it is done within milliseconds; whoever fills the places with silence only ends its own.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use super::{Limits, metrics::Bound};

/// All arrivals of one door.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    next: u64,
    /// None of them is 0.
    of_address: HashMap<IpAddr, usize>,
    /// By age: numbers only grow.
    handshaking: BTreeMap<u64, CancellationToken>,
}

/// A connection, from its acceptance to its end.
#[derive(Debug)]
pub(super) struct Arrival {
    arrivals: Arc<Arrivals>,
    address: IpAddr,
    number: u64,
    dropped: CancellationToken,
}

impl Arrivals {
    /// A connection from there, within the limits as they are now. Beside it, whether an older handshake was dropped for it.
    pub(super) fn arrive(
        self: &Arc<Self>,
        remote: IpAddr,
        limits: &Limits,
    ) -> Result<(Arrival, bool), Bound> {
        let address = network(remote);
        let mut state = self.lock();
        if state.open >= limits.connections {
            return Err(Bound::Connections);
        }
        let own = state.of_address.get(&address).copied().unwrap_or(0);
        if own >= limits.connections_per_ip {
            return Err(Bound::ConnectionsPerIp);
        }
        state.of_address.insert(address, own + 1);
        state.open += 1;
        let (number, dropped) = (state.next, CancellationToken::new());
        state.next += 1;
        let crowded = state.handshaking.len() >= limits.handshakes;
        if crowded && let Some((_, oldest)) = state.handshaking.pop_first() {
            oldest.cancel();
        }
        state.handshaking.insert(number, dropped.clone());
        Ok((Arrival { arrivals: self.clone(), address, number, dropped }, crowded))
    }

    /// No code that holds it panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrival {
    /// Returns when a later one was let in for it.
    pub(super) async fn dropped(&self) {
        self.dropped.cancelled().await;
    }

    /// Its handshake is over.
    pub(super) fn shaken(&self) {
        self.arrivals.lock().handshaking.remove(&self.number);
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut state = self.arrivals.lock();
        state.handshaking.remove(&self.number);
        state.open -= 1;
        let left = state.of_address.remove(&self.address).unwrap_or(0).saturating_sub(1);
        if left > 0 {
            state.of_address.insert(self.address, left);
        }
    }
}

/// What one peer has at its disposal: an IPv4 address, or an IPv6 /64 (RFC 6177).
#[must_use]
pub fn network(remote: IpAddr) -> IpAddr {
    match remote.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: usize, connections_per_ip: usize, handshakes: usize) -> Limits {
        Limits { connections, connections_per_ip, handshakes, ..Limits::default() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_has_its_places_and_all_have_theirs() {
        let (arrivals, limits) = (Arc::new(Arrivals::default()), limits(3, 2, 9));
        let arrive = |from| arrivals.arrive(ip(from), &limits);
        let [a, _b] = [(); 2].map(|()| arrive("192.0.2.1").unwrap());
        assert_eq!(arrive("::ffff:192.0.2.1").err(), Some(Bound::ConnectionsPerIp));
        let _c = arrive("192.0.2.2").unwrap();
        assert_eq!(arrive("192.0.2.3").err(), Some(Bound::Connections));
        drop(a);
        let d = arrive("192.0.2.1").unwrap();
        drop(d);
        assert_eq!(arrivals.lock().open, 2);
        assert_eq!(arrivals.lock().of_address.len(), 2);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let (arrivals, limits) = (Arc::new(Arrivals::default()), limits(9, 1, 9));
        let arrive = |from| arrivals.arrive(ip(from), &limits);
        let _one = arrive("2001:db8:0:1::1").unwrap();
        assert_eq!(arrive("2001:db8:0:1:ffff::2").err(), Some(Bound::ConnectionsPerIp));
        assert!(arrive("2001:db8:0:2::1").is_ok());
    }

    #[test]
    fn the_oldest_unfinished_handshake_makes_room_and_finished_ones_stay() {
        let (arrivals, limits) = (Arc::new(Arrivals::default()), limits(9, 9, 2));
        let arrive = || arrivals.arrive(ip("192.0.2.1"), &limits).unwrap();
        let (done, _) = arrive();
        done.shaken();
        let ((a, dropped_by_a), (b, dropped_by_b), (c, dropped_by_c)) = (arrive(), arrive(), arrive());
        assert_eq!([dropped_by_a, dropped_by_b, dropped_by_c], [false, false, true]);
        let dropped = [&done, &a, &b, &c].map(|one| one.dropped.is_cancelled());
        assert_eq!(dropped, [false, true, false, false]);
    }

    #[test]
    fn whoever_comes_meets_the_limits_of_that_moment() {
        let arrivals = Arc::new(Arrivals::default());
        let arrive = |most| arrivals.arrive(ip("192.0.2.1"), &limits(most, 9, 9));
        let _open = [(); 3].map(|()| arrive(3).unwrap());
        assert_eq!(arrive(2).err(), Some(Bound::Connections), "those that are open stay, and count");
        assert!(arrive(4).is_ok());
    }
}
