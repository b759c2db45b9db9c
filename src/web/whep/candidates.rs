//! The addresses at which viewers may reach the media port.
//!
//! Comes in: the bound address, the machine's interfaces, the configured outer
//! addresses. Goes out: ICE candidates, at most [`MOST`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// More interfaces than this are not offered: viewers probe every one.
pub const MOST: usize = 16;

/// The addresses on which datagrams for `bound` arrive: itself, or if it is
/// unspecified those of all interfaces that are up, loopback last.
pub fn local(bound: SocketAddr) -> Vec<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let mut ips = interfaces();
    ips.retain(|ip| usable(*ip) && (bound.is_ipv6() || ip.is_ipv4()));
    ips.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    ips.dedup();
    ips.truncate(MOST);
    ips.into_iter().map(|ip| SocketAddr::new(ip, bound.port())).collect()
}

/// Link-local IPv6 needs a zone, which candidates do not have; multicast,
/// unspecified and ::1 (browsers refuse it) are of no use.
fn usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_link_local(),
        IpAddr::V6(ip) => {
            !ip.is_unspecified()
                && !ip.is_multicast()
                && !ip.is_unicast_link_local()
                && ip != Ipv6Addr::LOCALHOST
        }
    }
}

/// The addresses of all interfaces that are up (`getifaddrs(3)`).
fn interfaces() -> Vec<IpAddr> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `list` is valid for writes; freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        tracing::warn!("interfaces unknown: {}", std::io::Error::last_os_error());
        return vec![Ipv4Addr::LOCALHOST.into()];
    }
    let mut ips = Vec::new();
    let mut at = list;
    while !at.is_null() {
        // SAFETY: `at` is an entry of the list; its address is null or valid
        // for the family it names.
        unsafe {
            let entry = &*at;
            at = entry.ifa_next;
            if entry.ifa_addr.is_null() || entry.ifa_flags & libc::IFF_UP as u32 == 0 {
                continue;
            }
            match i32::from((*entry.ifa_addr).sa_family) {
                libc::AF_INET => {
                    let v4 = entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                    ips.push(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()).into());
                }
                libc::AF_INET6 => {
                    let v6 = entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                    ips.push(Ipv6Addr::from(v6.sin6_addr.s6_addr).into());
                }
                _ => {}
            }
        }
    }
    // SAFETY: the list that getifaddrs made.
    unsafe { libc::freeifaddrs(list) };
    ips
}

/// SDP lines for outer addresses: host candidates (a lite agent has no other,
/// RFC 8445, section 2.5) after the local ones in preference (5.1.2.1).
pub fn extra_lines(extra: &[SocketAddr]) -> Vec<String> {
    let line = |(i, at): (usize, &SocketAddr)| {
        let priority = (126u32 << 24) + ((1000 - i as u32) << 8) + 255;
        let (ip, port) = (at.ip(), at.port());
        format!("a=candidate:extra{i} 1 udp {priority} {ip} {port} typ host")
    };
    extra.iter().take(MOST).enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port bound to one address is reachable there only.
    #[test]
    fn a_bound_address_is_the_only_candidate() {
        let at: SocketAddr = "10.1.2.3:8189".parse().expect("address");
        assert_eq!(local(at), [at]);
    }

    /// A port bound to all addresses offers the real ones, loopback too but last.
    #[test]
    fn an_unspecified_address_becomes_the_real_ones() {
        let found = local("0.0.0.0:8189".parse().expect("address"));
        assert!(found.iter().all(|at| at.is_ipv4() && !at.ip().is_unspecified()));
        assert_eq!(found.last().map(ToString::to_string).as_deref(), Some("127.0.0.1:8189"));
    }

    /// Behind NAT the outer port may differ from the inner one.
    #[test]
    fn extra_addresses_keep_their_port() {
        let lines = extra_lines(&["203.0.113.7:30000".parse().expect("address")]);
        assert_eq!(lines, ["a=candidate:extra0 1 udp 2114185471 203.0.113.7 30000 typ host"]);
    }
}
