//! Doors that announce themselves on the local network: DNS-SD (RFC 6763) over multicast
//! DNS (RFC 6762). Unicast DNS is not asked.
//!
//! Comes in: whatever anybody on the network answers. Goes out: where to dial, and nothing
//! to trust: each connection keeps the authority that it had, and a broker without a
//! certificate of that authority for its name is not talked to. The first [`MOST`] by name are kept,
//! [`EACH`] addresses of each, IPv4 first; others are passed over and counted. Questions are asked
//! after 1, 2, 4 … s, at most once an hour; a door that opens is heard without.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent};
use tokio::time::{Instant, timeout_at};
use tracing::info;

use crate::config::mqtt::Connection;
use crate::config::mqtt::connection::NEARBY;

/// Doors that are kept.
const MOST: usize = 8;

/// Addresses of one door.
const EACH: usize = 2;

/// After the first one, others are waited for so long.
const SETTLE: Duration = Duration::from_secs(1);

/// What looks; ends with it.
struct Look(ServiceDaemon);

impl Drop for Look {
    fn drop(&mut self) {
        // Nothing to be done about one that has ended already.
        let _ = self.0.shutdown();
    }
}

/// Waits until there is a door; all that there are, each reached as `like` says.
///
/// # Errors
/// The network cannot be asked.
pub async fn doors(like: &Connection) -> Result<Vec<Connection>> {
    let look = Look(ServiceDaemon::new().context("multicast DNS")?);
    let events = look.0.browse(&format!("{NEARBY}.")).context("multicast DNS")?;
    let mut found = BTreeMap::new();
    let mut until = None;
    loop {
        let event = match until {
            None => events.recv_async().await,
            Some(until) => match timeout_at(until, events.recv_async()).await {
                Ok(event) => event,
                Err(_) => break,
            },
        };
        match event.context("multicast DNS")? {
            ServiceEvent::ServiceResolved(service) if is_door(&service) => {
                let addresses = service.addresses.iter().map(|a| a.to_ip_addr());
                let each = reached(like, &service.host, service.port, addresses);
                if each.is_empty() {
                    continue;
                }
                found.insert(service.fullname, each);
                if found.len() > MOST {
                    found.pop_last();
                    metrics::counter!("floorcast_doors_passed_over_total").increment(1);
                }
                until = until.or_else(|| Some(Instant::now() + SETTLE));
            }
            ServiceEvent::ServiceRemoved(_, name) => {
                found.remove(&name);
                until = until.filter(|_| !found.is_empty());
            }
            _ => {}
        }
    }
    for name in found.keys() {
        info!(name, "found a door");
    }
    Ok(found.into_values().flatten().collect())
}

/// Other brokers announce themselves too.
fn is_door(service: &ResolvedService) -> bool {
    service.get_property_val_str("floorcast") == Some("door")
}

/// How one door is reached: its name is its host's, unless `like` says another.
fn reached(
    like: &Connection,
    host: &str,
    port: u16,
    addresses: impl Iterator<Item = IpAddr>,
) -> Vec<Connection> {
    // Without an interface such an address leads nowhere.
    let far = |ip: &IpAddr| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let mut addresses: Vec<_> = addresses.filter(far).collect();
    addresses.sort();
    let at = |ip: &IpAddr| {
        let mut door = Connection { host: ip.to_string(), port, ..like.clone() };
        if let Some(tls) = door.tls.as_mut().filter(|tls| tls.server_name == NEARBY) {
            host.trim_end_matches('.').clone_into(&mut tls.server_name);
        }
        door
    };
    addresses.iter().take(EACH).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// The authority stays the box's own; the name is the host's, or the one that is written down.
    #[test]
    fn what_is_announced_moves_no_trust() {
        let like = |more: &str| {
            let url = "url = \"mqtts://_secure-mqtt._tcp.local\"\nca_file = \"ca.pem\"\n";
            let text = format!("[control.door]\n{url}{more}");
            config::load(&text).unwrap().control.door.unwrap()
        };
        let addresses = ["fe80::1", "fd00::2", "192.0.2.7", "192.0.2.6"];
        let reached = |like: &Connection| {
            let addresses = addresses.iter().map(|text| text.parse().unwrap());
            reached(like, "mqtt.local.", 8884, addresses)
        };
        let all = reached(&like(""));
        let hosts: Vec<_> = all.iter().map(|door| (&*door.host, door.port)).collect();
        assert_eq!(hosts, [("192.0.2.6", 8884), ("192.0.2.7", 8884)]);
        let tls = all[0].tls.as_ref().unwrap();
        assert_eq!((&*tls.server_name, tls.ca_file.to_str()), ("mqtt.local", Some("ca.pem")));
        let named = reached(&like("server_name = \"mqtt.example\""));
        assert_eq!(named[0].tls.as_ref().unwrap().server_name, "mqtt.example");
    }
}
