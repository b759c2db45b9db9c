//! Modbus TCP: frames with a transaction number on a stream (Messaging on
//! TCP/IP V1.0b, 3.1.3).
//!
//! Comes in: the stream's bytes. Goes out: whole frames. A frame is at most
//! 260 bytes; what cannot be the start of one ends the connection.

use std::io;
use std::time::Duration;

use anyhow::Context;
use bytes::{Buf, Bytes, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::fault::Fault;
use super::poller::Order;
use crate::clock;
use crate::model::Mono;

/// A device that does not take a connection in this time has none to give.
const CONNECT: Duration = Duration::from_secs(3);

/// A request is at most 21 bytes; a peer that takes none of them for so long is gone.
const SEND: Duration = Duration::from_secs(1);

/// Transaction, protocol, length, unit.
const HEADER: usize = 7;

/// A connection and the bytes of its next frame.
pub struct Connection {
    stream: TcpStream,
    inbox: BytesMut,
    heard: Mono,
}

impl Connection {
    /// Connects; the error says what could not be done.
    pub async fn open(host: &str, port: u16) -> anyhow::Result<Self> {
        let stream = timeout(CONNECT, TcpStream::connect((host, port)))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
            .and_then(|connected| connected)
            .with_context(|| format!("connect to {host}:{port}"))?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        // A gateway that was switched off is noticed even where nothing is due.
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(10))
            .with_interval(Duration::from_secs(5))
            .with_retries(3);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive).context("set SO_KEEPALIVE")?;
        Ok(Self { stream, inbox: BytesMut::with_capacity(1024), heard: clock::now() })
    }

    /// When the last bytes came.
    pub fn heard(&self) -> Mono {
        self.heard
    }

    /// A frame has begun and not ended.
    pub fn mid_frame(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Sends a request.
    pub async fn send(&mut self, order: &Order) -> anyhow::Result<()> {
        let frame = encode(order);
        timeout(SEND, self.stream.write_all(&frame))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
            .and_then(|sent| sent)
            .context("send")
    }

    /// Waits for bytes. May be dropped while it waits.
    pub async fn fill(&mut self) -> anyhow::Result<()> {
        let n = self.stream.read_buf(&mut self.inbox).await.context("receive")?;
        anyhow::ensure!(n > 0, "closed by the device");
        self.heard = clock::now();
        Ok(())
    }

    /// The next whole frame of what has come.
    pub fn frame(&mut self) -> Result<Option<Frame>, Fault> {
        decode(&mut self.inbox)
    }
}

/// A reply in its frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// The transaction it belongs to.
    pub transaction: u16,
    /// Who answers.
    pub unit: u8,
    /// Function and what follows it.
    pub pdu: Bytes,
}

fn encode(order: &Order) -> Vec<u8> {
    let ([a, b], pdu) = (order.ticket.to_be_bytes(), order.request.pdu());
    [&[a, b, 0, 0, 0, 1 + pdu.len() as u8, order.request.unit], &pdu[..]].concat()
}

fn decode(inbox: &mut BytesMut) -> Result<Option<Frame>, Fault> {
    let Some(header) = inbox.first_chunk::<HEADER>() else { return Ok(None) };
    let [a, b, protocol @ .., l, m, unit] = *header;
    let len = usize::from(u16::from_be_bytes([l, m]));
    if protocol != [0, 0] {
        return Err(Fault::Garbled("not Modbus"));
    }
    // Unit and PDU; a PDU has 1 to 253 bytes (V1.1b3, 4.1).
    if !(2..=254).contains(&len) {
        return Err(Fault::Garbled("impossible length"));
    }
    if inbox.len() < HEADER - 1 + len {
        return Ok(None);
    }
    inbox.advance(HEADER);
    let pdu = inbox.split_to(len - 1).freeze();
    Ok(Some(Frame { transaction: u16::from_be_bytes([a, b]), unit, pdu }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::modbus::point::Table;
    use crate::telemetry::modbus::pdu::Request;
    use proptest::prelude::*;

    /// The frame of the standard's example (Messaging on TCP/IP V1.0b, 4.4.2.2).
    #[test]
    fn request_has_the_standards_frame() {
        let request =
            Request { unit: 0xFF, table: Table::Holding, address: 4, count: 1, words: None };
        let frame = encode(&Order { ticket: 0x1501, request });
        assert_eq!(frame, [0x15, 0x01, 0, 0, 0, 6, 0xFF, 3, 0, 4, 0, 1]);
    }

    proptest! {
        /// Frames come out whole and in order however the stream is cut.
        #[test]
        fn frames_survive_any_cut(
            pdus in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=253), 1..8),
            cut in 1usize..600,
        ) {
            let mut stream = Vec::new();
            for (i, pdu) in pdus.iter().enumerate() {
                stream.extend([0, i as u8, 0, 0, 0, pdu.len() as u8 + 1, 9]);
                stream.extend(pdu);
            }
            let (mut inbox, mut frames) = (BytesMut::new(), Vec::new());
            for chunk in stream.chunks(cut) {
                inbox.extend_from_slice(chunk);
                while let Some(frame) = decode(&mut inbox).unwrap() {
                    frames.push(frame);
                }
            }
            prop_assert_eq!(frames.len(), pdus.len());
            for (i, (frame, pdu)) in frames.iter().zip(&pdus).enumerate() {
                prop_assert_eq!((frame.transaction, frame.unit), (i as u16, 9));
                prop_assert_eq!(&frame.pdu[..], &pdu[..]);
            }
            prop_assert!(inbox.is_empty());
        }

        /// Noise never grows the inbox past one frame, and never panics.
        #[test]
        fn noise_is_bounded(noise in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut inbox = BytesMut::from(&noise[..]);
            while let Ok(Some(_)) = decode(&mut inbox) {}
            prop_assert!(decode(&mut inbox).is_err() || inbox.len() < 260);
        }
    }
}
