//! Each command once, and not too many of them.
//!
//! Comes in: who asks, under which txid, when. Goes out: whether it may run. Holds
//! [`MOST`] txids, of each user a quarter of that; one is forgotten when its command has
//! expired, so when it is full, commands are refused.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::change::Now;
use super::super::change::request::unset;
use crate::model::{Mono, UtcMicros};

/// So many txids are remembered.
pub const MOST: usize = 1024;
/// Commands of one user in a second.
pub const RATE: u32 = 10;

const SECOND: Duration = Duration::from_secs(1);
/// No command is valid for longer.
const HOUR: Duration = Duration::from_secs(3600);

/// What has run, and how often who asks.
#[derive(Default)]
pub struct Once {
    /// By user and txid: until when.
    ran: BTreeMap<(String, String), Mono>,
    /// Of this second, by user: since when, and how many.
    pace: BTreeMap<String, (Mono, u32)>,
}

impl Once {
    /// Counts a command.
    ///
    /// # Errors
    /// It is one too many; true for the first of them in its second.
    pub fn pace(&mut self, user: &str, now: Mono) -> Result<(), bool> {
        self.pace.retain(|_, (since, _)| now.since(*since) < SECOND);
        let (_, count) = self.pace.entry(user.to_owned()).or_insert((now, 0));
        *count = count.saturating_add(1);
        if *count <= RATE { Ok(()) } else { Err(*count == RATE + 1) }
    }

    /// Whether it has run and may not have expired.
    pub fn has(&self, user: &str, txid: &str, now: Mono) -> bool {
        let until = self.ran.get(&(user.to_owned(), txid.to_owned()));
        until.is_some_and(|until| *until > now)
    }

    /// Remembers a command that is about to run.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn remember(
        &mut self,
        user: &str,
        txid: &str,
        expires: UtcMicros,
        now: Now,
    ) -> Result<(), String> {
        self.ran.retain(|_, until| *until > now.mono);
        let theirs = self.ran.keys().filter(|(of, _)| of == user).count();
        if theirs >= MOST / 4 || self.ran.len() >= MOST {
            return Err(format!("{theirs} commands of yours that have not expired are remembered"));
        }
        let ahead = u64::try_from(expires.0.saturating_sub(now.utc.0)).unwrap_or(0);
        let valid = if unset(now) { HOUR } else { Duration::from_micros(ahead).min(HOUR) };
        self.ran.insert((user.to_owned(), txid.to_owned()), now.mono + valid);
        Ok(())
    }
}
