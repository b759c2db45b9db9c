//! A viewer's UDP port. Linux hands it a burst as one buffer (`UDP_GRO`,
//! `udp(7)`) where the server sent it as one: what would be the network card's
//! work at either end is then done by nobody, and a benchmark over loopback
//! does not charge the server for the viewer's half.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The largest burst.
const BURST: usize = 64 << 10;

/// A bound UDP port.
pub struct Port {
    socket: UdpSocket,
    buffer: Vec<u8>,
}

/// Where one datagram of a burst is in the buffer.
pub type Piece = std::ops::Range<usize>;

impl Port {
    /// Binds; `gro` asks for bursts in one piece.
    pub async fn bind(at: SocketAddr, gro: bool) -> io::Result<Self> {
        let socket = UdpSocket::bind(at).await?;
        // Best effort: less only means less slack.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(2 << 20);
        if gro {
            let on: libc::c_int = 1;
            let len = size_of::<libc::c_int>() as libc::socklen_t;
            // SAFETY: `on` is a valid int of that length. Where the kernel
            // does not know it, datagrams come one by one.
            unsafe {
                let on = (&raw const on).cast();
                libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_GRO, on, len);
            }
        }
        Ok(Self { socket, buffer: vec![0; BURST] })
    }

    /// Its address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Something may be there to read.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Sends; a full buffer is a lost datagram, as on any network.
    pub fn send(&self, data: &[u8], to: SocketAddr) {
        let _ = self.socket.try_send_to(data, to);
    }

    /// Reads one burst: who sent it, and its datagrams.
    pub fn read(&mut self) -> io::Result<(SocketAddr, Vec<Piece>)> {
        let Self { socket, buffer } = self;
        let fd = socket.as_raw_fd();
        let (len, from, segment) = socket.try_io(Interest::READABLE, || receive(fd, buffer))?;
        let segment = segment.unwrap_or(len).max(1);
        let pieces = (0..len).step_by(segment).map(|at| at..len.min(at + segment)).collect();
        Ok((from, pieces))
    }

    /// The bytes of a piece.
    pub fn bytes(&self, piece: Piece) -> &[u8] {
        &self.buffer[piece]
    }
}

/// `recvmsg`: length, sender, and the size of the burst's datagrams.
fn receive(fd: i32, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<usize>)> {
    #[repr(C, align(8))]
    struct Control([u8; 64]);
    let mut control = Control([0; 64]);
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut segment = None;
    // SAFETY: the header points at buffers that outlive the call, and the
    // control messages are walked as the kernel wrote them.
    let (len, from) = unsafe {
        socket2::SockAddr::try_init(|name, name_len| {
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_name = name.cast();
            header.msg_namelen = *name_len;
            header.msg_iov = &raw mut iov;
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut control).cast();
            header.msg_controllen = size_of::<Control>();
            let len = libc::recvmsg(fd, &raw mut header, libc::MSG_DONTWAIT);
            if len < 0 {
                return Err(io::Error::last_os_error());
            }
            *name_len = header.msg_namelen;
            let mut at = libc::CMSG_FIRSTHDR(&raw const header);
            while !at.is_null() {
                if ((*at).cmsg_level, (*at).cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO) {
                    let size = libc::CMSG_DATA(at).cast::<libc::c_int>().read_unaligned();
                    segment = usize::try_from(size).ok();
                }
                at = libc::CMSG_NXTHDR(&raw const header, at);
            }
            Ok(len as usize)
        })?
    };
    let from = from.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    Ok((len, from, segment))
}
