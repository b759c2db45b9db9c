//! Modbus RTU: frames with a checksum on a serial line (Modbus over Serial
//! Line V1.02, 2.5.1).
//!
//! Comes in: the line's bytes, noise among them. Goes out: the one reply that
//! was asked for, found by its unit, function, length and checksum wherever
//! it begins. The inbox holds [`INBOX`] bytes; when full, the oldest go.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_serial::{ClearBuffer, DataBits, SerialPort, SerialStream, StopBits};

use super::fault::Fault;
use super::pdu::Request;
use crate::clock;
use crate::config::modbus::line::{Line, Parity};
use crate::model::Mono;

/// Two of the longest frames.
const INBOX: usize = 512;

/// A tty that takes none of a request for so long is gone.
const SEND: Duration = Duration::from_secs(1);

/// A serial port and what has come since the last request.
pub struct Port {
    stream: SerialStream,
    line: Line,
    inbox: Vec<u8>,
    heard: Mono,
    /// The line is silent from then on, as far as we know.
    silent: Mono,
}

impl Port {
    /// Opens the tty for ourselves alone; the error says what could not be done.
    pub fn open(line: &Line) -> anyhow::Result<Self> {
        let path = line.path.to_string_lossy();
        let parity = match line.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        };
        let stop_bits = if line.stop_bits == 2 { StopBits::Two } else { StopBits::One };
        let builder = tokio_serial::new(&*path, line.baud)
            .data_bits(DataBits::Eight)
            .parity(parity)
            .stop_bits(stop_bits);
        let stream = SerialStream::open(&builder).with_context(|| format!("open {path}"))?;
        if line.rs485 {
            rs485(stream.as_raw_fd()).with_context(|| format!("{path}: switch to RS-485"))?;
        }
        let now = clock::now();
        let silent = now + line.silence();
        Ok(Self {
            stream,
            line: line.clone(),
            inbox: Vec::with_capacity(INBOX),
            heard: now,
            silent,
        })
    }

    /// When the last bytes came.
    pub fn heard(&self) -> Mono {
        self.heard
    }

    /// No request may be sent before this.
    pub fn silent(&self) -> Mono {
        self.silent
    }

    /// Sends a request, after throwing away what came unasked: it belongs to
    /// no request, or to one that was given up. Returns how many bytes that was.
    pub async fn send(&mut self, request: &Request) -> anyhow::Result<usize> {
        let unread = self.stream.bytes_to_read().context("count unread bytes")?;
        let stray = self.inbox.len() + unread as usize;
        self.stream.clear(ClearBuffer::Input).context("clear the tty")?;
        self.inbox.clear();
        let frame = encode(request);
        timeout(SEND, self.stream.write_all(&frame))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
            .and_then(|sent| sent)
            .context("send")?;
        self.silent = clock::now() + self.line.chars(frame.len() as u32) + self.line.silence();
        Ok(stray)
    }

    /// Waits for bytes. May be dropped while it waits.
    pub async fn fill(&mut self) -> anyhow::Result<()> {
        let mut bytes = [0; INBOX];
        let n = self.stream.read(&mut bytes).await.context("receive")?;
        anyhow::ensure!(n > 0, "the tty is gone");
        let over = (self.inbox.len() + n).saturating_sub(INBOX);
        self.inbox.drain(..over.min(self.inbox.len()));
        self.inbox.extend_from_slice(&bytes[..n]);
        self.heard = clock::now();
        self.silent = self.heard + self.line.silence();
        Ok(())
    }

    /// The reply to `request`, if it has come.
    pub fn find(&self, request: &Request) -> Option<Result<&[u8], Fault>> {
        find(&self.inbox, request)
    }

    /// The reply was taken; what comes now is unasked.
    pub fn taken(&mut self) {
        self.inbox.clear();
    }

    /// What came instead of the reply, in words; `None` if nothing did.
    pub fn instead(&self, request: &Request) -> Option<&'static str> {
        if self.inbox.is_empty() { None } else { Some(instead(&self.inbox, request)) }
    }
}

fn encode(request: &Request) -> Vec<u8> {
    let mut frame = vec![request.unit];
    frame.extend(request.pdu());
    let crc = crc(&frame);
    frame.extend(crc.to_le_bytes());
    frame
}

/// The reply to `request` anywhere in `inbox`. Line noise comes before frames,
/// and replies of others between them; a false match needs five bytes of
/// header and checksum to agree.
fn find<'a>(inbox: &'a [u8], request: &Request) -> Option<Result<&'a [u8], Fault>> {
    let function = request.function();
    (0..inbox.len()).find_map(|at| {
        let rest = &inbox[at..];
        let len = match rest {
            [u, f, n, ..] if *u == request.unit && *f == function => {
                let counted = request.words.is_some() || usize::from(*n) == request.bytes();
                counted.then_some(3 + request.reply())?
            }
            [u, f, ..] if *u == request.unit && *f == function | 0x80 => 5,
            _ => return None,
        };
        let frame = rest.get(..len).filter(|frame| checked(frame))?;
        Some(request.data(&frame[1..len - 2]))
    })
}

/// A frame that ends in its checksum.
fn checked(frame: &[u8]) -> bool {
    let Some((body, sum)) = frame.split_last_chunk::<2>() else { return false };
    crc(body) == u16::from_le_bytes(*sum)
}

/// What a full inbox without the reply holds.
fn instead(inbox: &[u8], request: &Request) -> &'static str {
    let whole = (0..inbox.len()).find_map(|at| {
        let rest = &inbox[at..];
        let len = match rest {
            [_, 1..=4, n, ..] => 5 + usize::from(*n),
            [_, 5 | 6 | 16, ..] => 8,
            [_, 0x81..=0x86 | 0x90, ..] => 5,
            _ => return None,
        };
        rest.get(..len).filter(|frame| checked(frame))
    });
    match whole {
        Some([unit, ..]) if *unit != request.unit => "wrong unit",
        Some([_, function, ..]) if *function != request.function() => "wrong function",
        Some(_) => "wrong length",
        None if inbox.first() == Some(&request.unit) && inbox.len() < 3 + request.reply() => {
            "cut short"
        }
        None => "wrong checksum",
    }
}

/// CRC-16/MODBUS (Modbus over Serial Line V1.02, 6.2.2).
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 }
            },
        )
    })
}

/// `struct serial_rs485` of `linux/serial.h`.
#[repr(C)]
struct SerialRs485 {
    flags: u32,
    delay_rts_before_send: u32,
    delay_rts_after_send: u32,
    padding: [u32; 5],
}

/// RS-485 on, RTS high while sending and low after (kernel docs, "RS485 Serial
/// Communications"). Fails where the driver cannot.
fn rs485(tty: RawFd) -> io::Result<()> {
    const ENABLED: u32 = 1 << 0;
    const RTS_ON_SEND: u32 = 1 << 1;
    let config = SerialRs485 {
        flags: ENABLED | RTS_ON_SEND,
        delay_rts_before_send: 0,
        delay_rts_after_send: 0,
        padding: [0; 5],
    };
    // SAFETY: `tty` is open, and `config` has the kernel's layout and size.
    match unsafe { libc::ioctl(tty, libc::TIOCSRS485, &config) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::modbus::form::{Order, Swap};
    use crate::config::modbus::point::Table;
    use proptest::prelude::*;

    fn request(unit: u8, count: u16) -> Request {
        Request { unit, table: Table::Holding, address: 0x2B, count, words: None }
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        [body, &crc(body).to_le_bytes()].concat()
    }

    /// Known checksums.
    #[test]
    fn checksums_of_known_frames() {
        assert_eq!(crc(&[0x02, 0x07]), 0x1241); // V1.02, appendix B
        assert_eq!(crc(&[0x01, 0x03, 0x04, 0x00, 0x20, 0x00, 0x00]), 0xF9FB);
    }

    /// A late reply of the same unit with another length is not taken, even
    /// though its checksum is right.
    #[test]
    fn a_reply_of_another_length_is_not_taken() {
        let late = frame(&[1, 3, 4, 0, 7, 0, 8]);
        assert_eq!(find(&late, &request(1, 1)), None);
        assert_eq!(instead(&late, &request(1, 1)), "wrong length");
        assert_eq!(instead(&late, &request(2, 2)), "wrong unit");
        let both = [late, frame(&[1, 3, 2, 0, 9])].concat();
        assert_eq!(find(&both, &request(1, 1)), Some(Ok(&[0, 9][..])));
    }

    /// A write's reply has no length of its own, and must be that write's.
    #[test]
    fn the_reply_to_a_write_is_found() {
        let words = Some(Order::of(Swap::Abcd, 2).words(7));
        let write = Request { words, ..request(1, 1) };
        let late = frame(&[1, 3, 2, 0, 9]);
        assert_eq!(encode(&write), frame(&[1, 6, 0, 0x2B, 0, 7]));
        let line = [late, frame(&[1, 6, 0, 0x2B, 0, 7])].concat();
        assert_eq!(find(&line, &write), Some(Ok(&[][..])));
        assert_eq!(find(&line[..line.len() - 1], &write), None);
        let other = frame(&[1, 6, 0, 0x2B, 0, 8]);
        assert_eq!(find(&other, &write), Some(Err(Fault::Garbled("repeats another write"))));
    }

    /// The switch is refused by a tty that has no direction to switch.
    #[tokio::test]
    async fn a_pty_has_no_rs485() {
        let (pty, _other) = SerialStream::pair().unwrap();
        assert!(rs485(pty.as_raw_fd()).is_err());
    }

    proptest! {
        /// The reply is found behind and before noise, and only once whole.
        #[test]
        fn the_reply_is_found_in_noise(
            before in prop::collection::vec(any::<u8>(), 0..40),
            after in prop::collection::vec(any::<u8>(), 0..40),
            data in prop::collection::vec(any::<u8>(), 8),
        ) {
            let ask = request(17, 4);
            let reply = frame(&[&[17, 3, 8], &data[..]].concat());
            let line = [&before[..], &reply, &after].concat();
            prop_assert_eq!(find(&line, &ask), Some(Ok(&data[..])));
            let cut = &line[..before.len() + reply.len() - 1];
            prop_assert_eq!(find(cut, &ask), None);
        }

        /// A reply with any one bit wrong is never taken.
        #[test]
        fn a_flipped_bit_is_noticed(data in prop::collection::vec(any::<u8>(), 8), bit in 0usize..104) {
            let mut reply = frame(&[&[17, 3, 8], &data[..]].concat());
            reply[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(find(&reply, &request(17, 4)), None);
        }
    }
}
