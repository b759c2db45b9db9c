//! Who may come in.
//!
//! Comes in: opens, with the address they come from. Goes out: a seat, or a
//! refusal with the time to wait. Bounded: viewers in all, sessions that have
//! not connected yet, opens per second from one address and from all, and the
//! addresses remembered. Time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The limits of the gate.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions at once, connected or not.
    pub viewers: usize,
    /// Of these, sessions that have not connected.
    pub half_open: usize,
    /// A session that has not connected makes room for another after this.
    pub yields_after: Duration,
    /// Opens per second from one address (IPv6: one /64), and at once.
    pub per_source: (f64, f64),
    /// Opens per second from all, and at once.
    pub overall: (f64, f64),
}

impl Limits {
    /// The usual ones for so many viewers.
    pub fn new(viewers: usize) -> Self {
        Self {
            viewers,
            half_open: 64.min(viewers.max(8)),
            yields_after: Duration::from_secs(3),
            per_source: (20.0, 60.0),
            overall: (60.0, 120.0),
        }
    }
}

/// Addresses remembered; beyond it the longest silent are forgotten.
const SOURCES: usize = 4096;

/// Why an open is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Every seat is taken.
    Full,
    /// Too many sessions are on their way in.
    Busy,
    /// This address opens too fast.
    TooFast,
}

/// What a seat is for: unguessable, part of the session's URL.
pub type SessionId = Arc<str>;

/// The gate. Clones share it.
#[derive(Clone)]
pub struct Gate(Arc<Mutex<Inner>>);

struct Inner {
    limits: Limits,
    seats: HashMap<SessionId, Seat>,
    sources: HashMap<IpAddr, Bucket>,
    overall: Bucket,
}

struct Seat {
    since: Instant,
    connected: bool,
}

/// A token bucket.
#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full((_, most): (f64, f64), at: Instant) -> Self {
        Self { tokens: most, at }
    }

    fn take(&mut self, (rate, most): (f64, f64), now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate).min(most);
        self.at = self.at.max(now);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }
}

/// A seat taken.
#[derive(Debug)]
pub struct Admitted {
    /// Its id.
    pub session: SessionId,
    /// The session that has to go for it, if any.
    pub yields: Option<SessionId>,
}

impl Gate {
    /// An open gate.
    pub fn new(limits: Limits, now: Instant) -> Self {
        let overall = Bucket::full(limits.overall, now);
        let (seats, sources) = (HashMap::new(), HashMap::new());
        Self(Arc::new(Mutex::new(Inner { limits, seats, sources, overall })))
    }

    /// Counts an open from `source`, before anything costly is done for it.
    pub fn knock(&self, source: IpAddr, now: Instant) -> Result<(), Refusal> {
        let mut inner = self.0.lock().expect("gate lock");
        let Inner { limits, sources, overall, .. } = &mut *inner;
        let source = match source.to_canonical() {
            IpAddr::V6(ip) => {
                let net = u128::from(ip) & !u128::from(u64::MAX);
                IpAddr::V6(net.into())
            }
            v4 => v4,
        };
        if sources.len() >= SOURCES && !sources.contains_key(&source) {
            let mut ages: Vec<_> = sources.values().map(|bucket| bucket.at).collect();
            let (_, median, _) = ages.select_nth_unstable(SOURCES / 2);
            let median = *median;
            sources.retain(|_, bucket| bucket.at > median);
        }
        let bucket = sources.entry(source).or_insert(Bucket::full(limits.per_source, now));
        if bucket.take(limits.per_source, now) && overall.take(limits.overall, now) {
            Ok(())
        } else {
            Err(Refusal::TooFast)
        }
    }

    /// Takes a seat for a session that is on its way in.
    pub fn admit(&self, now: Instant) -> Result<Admitted, Refusal> {
        let mut inner = self.0.lock().expect("gate lock");
        let Inner { limits, seats, .. } = &mut *inner;
        let half_open = seats.values().filter(|seat| !seat.connected).count();
        let full = seats.len() >= limits.viewers;
        let mut yields = None;
        if full || half_open >= limits.half_open {
            let oldest = (seats.iter())
                .filter(|(_, seat)| !seat.connected && seat.since + limits.yields_after <= now)
                .min_by_key(|(_, seat)| seat.since)
                .map(|(id, _)| id.clone());
            match oldest {
                Some(id) => {
                    seats.remove(&id);
                    yields = Some(id);
                }
                None if full => return Err(Refusal::Full),
                None => return Err(Refusal::Busy),
            }
        }
        let session: SessionId = format!("{:032x}", rand::random::<u128>()).into();
        seats.insert(session.clone(), Seat { since: now, connected: false });
        Ok(Admitted { session, yields })
    }

    /// The session is connected.
    pub fn connected(&self, session: &str) {
        let mut inner = self.0.lock().expect("gate lock");
        if let Some(seat) = inner.seats.get_mut(session) {
            seat.connected = true;
        }
    }

    /// The session is gone.
    pub fn left(&self, session: &str) {
        self.0.lock().expect("gate lock").seats.remove(session);
    }

    /// Viewers connected.
    pub fn viewers(&self) -> usize {
        let inner = self.0.lock().expect("gate lock");
        inner.seats.values().filter(|seat| seat.connected).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn gate(viewers: usize, half_open: usize, now: Instant) -> Gate {
        Gate::new(Limits { half_open, ..Limits::new(viewers) }, now)
    }

    /// Connected viewers keep their seats; one who leaves makes room.
    #[test]
    fn a_full_house_is_full_until_someone_leaves() {
        let now = Instant::now();
        let gate = gate(2, 2, now);
        let ids = [(); 2].map(|()| gate.admit(now).expect("a seat").session);
        ids.iter().for_each(|id| gate.connected(id));
        let later = now + Duration::from_secs(60);
        assert_eq!(gate.admit(later).map(|_| ()), Err(Refusal::Full));
        gate.left(&ids[0]);
        assert_eq!(gate.admit(later).map(|a| a.yields), Ok(None));
        assert_eq!(gate.viewers(), 1);
    }

    /// Sessions that never connect cannot keep others out for long.
    #[test]
    fn half_open_sessions_yield_to_newcomers() {
        let now = Instant::now();
        let gate = gate(100, 2, now);
        let first = gate.admit(now).expect("a seat").session;
        gate.admit(now + Duration::from_secs(1)).expect("a seat");
        let soon = now + Duration::from_secs(2);
        assert_eq!(gate.admit(soon).map(|_| ()), Err(Refusal::Busy));
        let later = now + Duration::from_secs(3);
        assert_eq!(gate.admit(later).expect("a seat").yields, Some(first));
    }

    /// One address that knocks a thousand times a second does not use up the
    /// tokens of another.
    #[test]
    fn one_fast_address_does_not_shut_out_others() {
        let start = Instant::now();
        let gate = gate(100, 10, start);
        let [fast, other] = [1, 2].map(|d| IpAddr::V4(Ipv4Addr::new(192, 0, 2, d)));
        let granted = (0..1000)
            .filter(|ms| gate.knock(fast, start + Duration::from_millis(*ms)).is_ok())
            .count();
        assert!((60..=81).contains(&granted), "{granted}");
        assert_eq!(gate.knock(other, start + Duration::from_secs(1)), Ok(()));
    }

    /// However many addresses knock, the memory of them is bounded.
    #[test]
    fn remembered_addresses_are_bounded() {
        let start = Instant::now();
        let gate = gate(100, 10, start);
        for i in 0..20_000u32 {
            let source = IpAddr::V4(Ipv4Addr::from(i));
            let _ = gate.knock(source, start + Duration::from_millis(u64::from(i)));
        }
        assert!(gate.0.lock().expect("gate lock").sources.len() <= SOURCES);
    }
}
