//! The one UDP port, read and written in batches.
//!
//! Comes in: datagrams for it, with the local address each was sent to. Goes
//! out: what the [`Outbox`] holds, many datagrams per system call
//! (`sendmmsg(2)`), and equal-sized ones to one viewer as one message that
//! the kernel cuts up (UDP GSO, `udp(7)`), so that the way through the network
//! stack is paid once per frame. When the kernel's buffer is full, the outbox
//! stays as it is and says so: whoever fills it stops until it is writable.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::Context;
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::io::Interest;

/// Datagrams read per system call.
const READ: usize = 32;
/// Longer datagrams are cut off; nothing a viewer sends is as long.
const DATAGRAM: usize = 2048;
/// Messages written per system call.
const WRITE: usize = 64;
/// Datagrams per message: the kernel takes 64 and 64 kB, whichever is less.
const SEGMENTS: usize = 44;
/// After so many refused GSO messages the path cannot do it.
const REFUSALS: u32 = 16;
/// Wished for in each direction; the kernel grants what `rmem_max` allows.
const BUFFER: usize = 8 << 20;

/// One datagram to send.
#[derive(Debug)]
pub struct Datagram {
    /// Where to.
    pub to: SocketAddr,
    /// From which of the machine's addresses.
    pub from: IpAddr,
    /// The bytes.
    pub data: Vec<u8>,
}

/// Datagrams that wait to be sent, in order.
#[derive(Default)]
pub struct Outbox {
    queue: VecDeque<Datagram>,
}

impl Outbox {
    /// Adds one at the end. Its user stops adding while [`Socket::flush`] says no.
    pub fn push(&mut self, datagram: Datagram) {
        self.queue.push_back(datagram);
    }

    /// Datagrams waiting.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// None waiting.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many of the first datagrams form one GSO message: same way, same
    /// size, except that the last may be shorter.
    fn group(&self, start: usize, gso: bool) -> usize {
        let first = &self.queue[start];
        let mut count = 1;
        while gso && count < SEGMENTS && start + count < self.queue.len() {
            let next = &self.queue[start + count];
            let same = next.to == first.to && next.from == first.from;
            if !same || next.data.len() > first.data.len() {
                break;
            }
            count += 1;
            if next.data.len() < first.data.len() {
                break;
            }
        }
        count
    }
}

/// What was received, as [`Socket::read`] hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// The address of this machine that it was sent to.
    pub to: SocketAddr,
    /// The bytes.
    pub data: &'a [u8],
}

/// The UDP port.
pub struct Socket {
    inner: tokio::net::UdpSocket,
    local: SocketAddr,
    /// GSO messages refused so far; [`REFUSALS`] switch it off.
    refused: u32,
    buffers: Vec<[u8; DATAGRAM]>,
}

/// Binds the port; usable before there is a runtime.
pub fn bind(at: SocketAddr) -> anyhow::Result<UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))
        .context("media port: open a UDP socket")?;
    if at.is_ipv6() {
        socket.set_only_v6(false).context("media port: serve IPv4 on the IPv6 socket")?;
    }
    // Best effort: less only means less slack.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.set_nonblocking(true).context("media port: make it non-blocking")?;
    socket.bind(&at.into()).with_context(|| format!("web.media: bind UDP {at}"))?;
    let fd = socket.as_raw_fd();
    if at.is_ipv4() {
        set_flag(fd, libc::IPPROTO_IP, libc::IP_PKTINFO)
    } else {
        set_flag(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    }
    .context("media port: ask for local addresses (IP_PKTINFO)")?;
    Ok(socket.into())
}

fn set_flag(fd: i32, level: i32, name: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `on` is a valid int for the length given.
    match unsafe { libc::setsockopt(fd, level, name, (&raw const on).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Room for one pktinfo and one segment size, aligned as `cmsghdr` asks.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 96]);

impl Socket {
    /// Takes the bound port into the current runtime.
    pub fn new(socket: UdpSocket) -> anyhow::Result<Self> {
        let local = socket.local_addr().context("media port: its address")?;
        let inner = tokio::net::UdpSocket::from_std(socket).context("media port: watch it")?;
        Ok(Self { inner, local, refused: 0, buffers: vec![[0; DATAGRAM]; READ] })
    }

    /// Where it is bound.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Resolves when there may be something to read.
    pub async fn readable(&self) -> io::Result<()> {
        self.inner.readable().await
    }

    /// Resolves when there may be room to write.
    pub async fn writable(&self) -> io::Result<()> {
        self.inner.writable().await
    }

    /// Reads one batch and hands each datagram to `take`. Returns how many;
    /// fewer than a full batch means that nothing more waits.
    pub fn read(&mut self, mut take: impl FnMut(Received)) -> io::Result<bool> {
        // SAFETY: all-zero is valid for these C structs of integers and pointers.
        let mut names: [libc::sockaddr_storage; READ] = unsafe { std::mem::zeroed() };
        let mut controls = [Control([0; 96]); READ];
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; READ] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut iovs: [libc::iovec; READ] = unsafe { std::mem::zeroed() };
        for i in 0..READ {
            iovs[i].iov_base = self.buffers[i].as_mut_ptr().cast();
            iovs[i].iov_len = DATAGRAM;
            let header = &mut headers[i].msg_hdr;
            header.msg_name = (&raw mut names[i]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut iovs[i];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut controls[i]).cast();
            header.msg_controllen = size_of::<Control>();
        }
        let fd = self.inner.as_raw_fd();
        // SAFETY: every header points at buffers that outlive the call.
        let got = unsafe {
            let no_timeout = std::ptr::null_mut();
            libc::recvmmsg(fd, headers.as_mut_ptr(), READ as u32, libc::MSG_DONTWAIT, no_timeout)
        };
        if got < 0 {
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => self.forget_ready(Interest::READABLE),
                io::ErrorKind::Interrupted => return Ok(true),
                // An ICMP error of an earlier datagram; the next read is clean.
                io::ErrorKind::ConnectionRefused => return Ok(true),
                _ => return Err(error),
            }
            return Ok(false);
        }
        for i in 0..got as usize {
            let header = &headers[i].msg_hdr;
            let Some(from) = address(&names[i]) else { continue };
            let ip = destination(header).unwrap_or(self.local.ip());
            let len = (headers[i].msg_len as usize).min(DATAGRAM);
            if header.msg_flags & libc::MSG_TRUNC != 0 {
                continue;
            }
            let to = SocketAddr::new(ip, self.local.port());
            take(Received { from, to, data: &self.buffers[i][..len] });
        }
        Ok(got as usize == READ)
    }

    fn forget_ready(&self, interest: Interest) {
        let full = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.inner.try_io(interest, full);
    }

    /// Sends what waits. False: the kernel's buffer is full, try again when
    /// [`Self::writable`].
    pub fn flush(&mut self, outbox: &mut Outbox) -> bool {
        while !outbox.is_empty() {
            match self.write(outbox) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.forget_ready(Interest::WRITABLE);
                    return false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // No route, no permission …: that datagram's problem, not the others'.
                    tracing::debug!("datagram not sent: {error}");
                    metrics::counter!("floorcast_web_datagrams_unsent_total").increment(1);
                    outbox.queue.pop_front();
                }
            }
        }
        true
    }

    /// One `sendmmsg`; removes what was taken from the outbox.
    fn write(&mut self, outbox: &mut Outbox) -> io::Result<()> {
        // SAFETY: all-zero is valid for these C structs of integers and pointers.
        let mut names: [libc::sockaddr_storage; WRITE] = unsafe { std::mem::zeroed() };
        let mut controls = [Control([0; 96]); WRITE];
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; WRITE] = unsafe { std::mem::zeroed() };
        let mut iovs: Vec<libc::iovec> = Vec::with_capacity(WRITE * 8);
        let mut counts = [0usize; WRITE];
        let (mut messages, mut taken) = (0, 0);
        let gso = self.refused < REFUSALS;
        while messages < WRITE && taken < outbox.len() {
            let count = outbox.group(taken, gso);
            for datagram in outbox.queue.range(taken..taken + count) {
                iovs.push(libc::iovec {
                    iov_base: datagram.data.as_ptr().cast_mut().cast(),
                    iov_len: datagram.data.len(),
                });
            }
            counts[messages] = count;
            taken += count;
            messages += 1;
        }
        let mut next_iov = 0;
        let mut next = 0;
        for i in 0..messages {
            let first = &outbox.queue[next];
            let header = &mut headers[i].msg_hdr;
            header.msg_namelen = self.write_name(first.to, &mut names[i]);
            header.msg_name = (&raw mut names[i]).cast();
            // SAFETY: `iovs` is complete and not touched again before the call.
            header.msg_iov = unsafe { iovs.as_mut_ptr().add(next_iov) };
            header.msg_iovlen = counts[i];
            header.msg_control = (&raw mut controls[i]).cast();
            header.msg_controllen = size_of::<Control>();
            let segment = (counts[i] > 1).then_some(first.data.len() as u16);
            header.msg_controllen = self.write_control(header, first.from, segment);
            next_iov += counts[i];
            next += counts[i];
        }
        let fd = self.inner.as_raw_fd();
        // SAFETY: every header points at names, controls and data that outlive the call.
        let sent = unsafe {
            libc::sendmmsg(fd, headers.as_mut_ptr(), messages as u32, libc::MSG_DONTWAIT)
        };
        if sent < 0 {
            let error = io::Error::last_os_error();
            let refusals = [libc::EIO, libc::EINVAL, libc::EMSGSIZE, libc::EOPNOTSUPP];
            if counts[0] > 1 && refusals.contains(&error.raw_os_error().unwrap_or(0)) {
                return self.write_one_by_one(outbox, counts[0]);
            }
            return Err(error);
        }
        let done: usize = counts[..sent as usize].iter().sum();
        outbox.queue.drain(..done);
        Ok(())
    }

    /// The first `count` datagrams without GSO: the path refuses it.
    fn write_one_by_one(&mut self, outbox: &mut Outbox, count: usize) -> io::Result<()> {
        self.refused += 1;
        if self.refused == REFUSALS {
            tracing::info!("the network does not take segmented datagrams: sending one by one");
        }
        let before = std::mem::replace(&mut self.refused, REFUSALS);
        let rest = outbox.queue.split_off(count.min(outbox.queue.len()));
        let mut first = Outbox { queue: std::mem::replace(&mut outbox.queue, rest) };
        let room = self.flush(&mut first);
        self.refused = before;
        for datagram in first.queue.into_iter().rev() {
            outbox.queue.push_front(datagram);
        }
        if room { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// Writes a socket address as this socket's family wants it; its length.
    fn write_name(&self, to: SocketAddr, name: &mut libc::sockaddr_storage) -> libc::socklen_t {
        let to = match to {
            SocketAddr::V4(v4) if self.local.is_ipv6() => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            other => other,
        };
        let address = socket2::SockAddr::from(to);
        // SAFETY: a SockAddr is a sockaddr_storage of which `len` bytes count.
        unsafe {
            let to = (&raw mut *name).cast::<u8>();
            address.as_ptr().cast::<u8>().copy_to(to, address.len() as usize);
        }
        address.len()
    }

    /// Writes source address and segment size; the control length used.
    fn write_control(
        &self,
        header: &mut libc::msghdr,
        from: IpAddr,
        segment: Option<u16>,
    ) -> usize {
        let mut used = 0;
        // SAFETY: `Control` has room for both messages and is aligned; CMSG_*
        // walk inside `msg_control` as `msg_controllen` says.
        unsafe {
            let mut at = libc::CMSG_FIRSTHDR(header);
            match from {
                IpAddr::V4(ip) if self.local.is_ipv4() => {
                    let mut info: libc::in_pktinfo = std::mem::zeroed();
                    info.ipi_spec_dst.s_addr = u32::from_ne_bytes(ip.octets());
                    used += put(at, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
                }
                ip => {
                    let ip = match ip {
                        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                        IpAddr::V6(ip) => ip,
                    };
                    let mut info: libc::in6_pktinfo = std::mem::zeroed();
                    info.ipi6_addr.s6_addr = ip.octets();
                    used += put(at, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
                }
            }
            if let Some(size) = segment {
                at = libc::CMSG_NXTHDR(header, at);
                used += put(at, libc::SOL_UDP, libc::UDP_SEGMENT, size);
            }
        }
        used
    }
}

/// Writes one control message; the space it takes.
///
/// # Safety
/// `at` points at room for it, as `CMSG_FIRSTHDR` or `CMSG_NXTHDR` gave.
unsafe fn put<T>(at: *mut libc::cmsghdr, level: i32, kind: i32, value: T) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        (*at).cmsg_level = level;
        (*at).cmsg_type = kind;
        (*at).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as usize;
        libc::CMSG_DATA(at).cast::<T>().write_unaligned(value);
        libc::CMSG_SPACE(size_of::<T>() as u32) as usize
    }
}

/// The peer's address, IPv4 as IPv4 also on an IPv6 socket.
fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what it is.
            let v4 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says what it is.
            let v6 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddrV4::new(v4, port).into(),
                None => SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into(),
            })
        }
        _ => None,
    }
}

/// The local address that a datagram was sent to.
fn destination(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel filled `msg_control` up to `msg_controllen`.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while !at.is_null() {
            match ((*at).cmsg_level, (*at).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = libc::CMSG_DATA(at).cast::<libc::in_pktinfo>().read_unaligned();
                    return Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = libc::CMSG_DATA(at).cast::<libc::in6_pktinfo>().read_unaligned();
                    return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical());
                }
                _ => at = libc::CMSG_NXTHDR(header, at),
            }
        }
    }
    None
}

/// What the kernel granted: bytes of receive and send buffer.
pub fn buffers(socket: &UdpSocket) -> (usize, usize) {
    let socket = SockRef::from(socket);
    (socket.recv_buffer_size().unwrap_or(0), socket.send_buffer_size().unwrap_or(0))
}
