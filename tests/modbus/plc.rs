//! A PLC with every fault, over TCP and on a tty. Each register's content
//! follows from its unit, table and address, so a value that belongs to
//! another register is noticed wherever it turns up.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_serial::SerialStream;

/// What a unit does with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    Silent,
    Late(Duration),
    WrongUnit,
    WrongTransaction,
    WrongFunction,
    /// A shorter reply that is whole in itself.
    Short,
    /// A reply that ends before it should.
    Cut,
    /// A reply with more data than was asked for.
    Long,
    /// Random bytes instead of a reply.
    Noise,
    /// Random bytes, then the reply (serial only).
    Spark,
    Exception(u8),
    /// The connection is closed instead of a reply.
    Close,
}

#[derive(Default)]
pub struct State {
    pub faults: HashMap<u8, Fault>,
    /// Holding registers that no unit has.
    pub holes: BTreeSet<u16>,
    /// The most registers a unit gives; 0: no limit.
    pub most: u16,
    /// Every request: when, unit, function, address, count.
    pub asked: Vec<(Instant, u8, u8, u16, u16)>,
    /// Connections so far.
    pub connections: usize,
}

/// What register `address` of `unit` holds; never 0.
pub fn word(unit: u8, function: u8, address: u16) -> u16 {
    1 + (u32::from(address) * 97 + u32::from(unit) * 7919 + u32::from(function) * 131) as u16
        % 65_521
}

#[derive(Clone, Default)]
pub struct Plc {
    pub state: Arc<Mutex<State>>,
}

/// A serving PLC; dropping it stops it.
pub struct Serving {
    plc: Plc,
    pub port: u16,
    task: JoinHandle<()>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::ops::Deref for Serving {
    type Target = Plc;
    fn deref(&self) -> &Plc {
        &self.plc
    }
}

impl Plc {
    pub fn fault(&self, unit: u8, fault: impl Into<Option<Fault>>) {
        let faults = &mut self.state.lock().unwrap().faults;
        match fault.into() {
            Some(fault) => faults.insert(unit, fault),
            None => faults.remove(&unit),
        };
    }

    pub fn asked(&self, unit: u8) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|a| a.1 == unit).count()
    }

    /// Serves on a free port of 127.0.0.1.
    pub async fn tcp(self) -> Serving {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let plc = self.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                stream.set_nodelay(true).expect("nodelay");
                self.state.lock().unwrap().connections += 1;
                let (read, write) = stream.into_split();
                tokio::spawn(self.clone().serve_tcp(read, write));
            }
        });
        Serving { plc, port, task }
    }

    async fn serve_tcp(
        self,
        mut read: impl AsyncRead + Unpin,
        write: impl AsyncWrite + Unpin + Send + 'static,
    ) {
        let write = Arc::new(tokio::sync::Mutex::new(write));
        let mut frame = [0; 12];
        while read.read_exact(&mut frame).await.is_ok() {
            assert_eq!(frame[2..6], [0, 0, 0, 6], "a client sends whole frames");
            let (unit, pdu) = (frame[6], frame[7..].try_into().expect("five bytes"));
            let (fault, mut reply) = self.reply(unit, pdu);
            let mut header = [frame[0], frame[1], 0, 0, 0, 0, unit];
            let mut pause = Duration::ZERO;
            match fault {
                Some(Fault::Silent) => continue,
                Some(Fault::Close) => return,
                Some(Fault::Late(late)) => pause = late,
                Some(Fault::WrongUnit) => header[6] = unit.wrapping_add(100),
                Some(Fault::WrongTransaction) => header[0] ^= 0x55,
                _ => {}
            }
            let len = reply.len() as u16 + 1;
            header[4..6].copy_from_slice(&len.to_be_bytes());
            if fault == Some(Fault::Cut) {
                reply.truncate(reply.len() - 1);
            }
            let mut bytes = [&header[..], &reply].concat();
            if fault == Some(Fault::Noise) {
                bytes = rand::random::<[u8; 32]>().to_vec();
            }
            let write = write.clone();
            tokio::spawn(async move {
                sleep(pause).await;
                // The client may have gone meanwhile.
                let _ = write.lock().await.write_all(&bytes).await;
            });
        }
    }

    /// Serves on a tty; answers in order, as a device does.
    pub fn serial(self, path: &str) -> Serving {
        let port = SerialStream::open(&tokio_serial::new(path, 115_200)).expect("open the tty");
        let plc = self.clone();
        let task = tokio::spawn(self.serve_serial(port));
        Serving { plc, port: 0, task }
    }

    async fn serve_serial(self, mut port: SerialStream) {
        let mut inbox: Vec<u8> = Vec::new();
        loop {
            let mut bytes = [0; 64];
            let n = port.read(&mut bytes).await.expect("read the tty");
            inbox.extend_from_slice(&bytes[..n]);
            while inbox.len() >= 8 {
                let sum = u16::from_le_bytes([inbox[6], inbox[7]]);
                assert_eq!(sum, crc(&inbox[..6]), "a client sends whole frames: {inbox:02x?}");
                let (unit, pdu) = (inbox[0], inbox[1..6].try_into().expect("five bytes"));
                inbox.drain(..8);
                let (fault, pdu) = self.reply(unit, pdu);
                let from = if fault == Some(Fault::WrongUnit) { unit + 100 } else { unit };
                let mut reply = [&[from], &pdu[..]].concat();
                reply.extend(crc(&reply).to_le_bytes());
                match fault {
                    Some(Fault::Silent | Fault::Close) => continue,
                    Some(Fault::Late(late)) => sleep(late).await,
                    Some(Fault::Cut) => reply.truncate(reply.len() - 1),
                    Some(Fault::Noise) => reply = rand::random::<[u8; 32]>().to_vec(),
                    Some(Fault::Spark) => {
                        reply.splice(..0, rand::random::<[u8; 5]>());
                    }
                    Some(Fault::WrongTransaction) => reply[3] ^= 1,
                    _ => {}
                }
                port.write_all(&reply).await.expect("write the tty");
            }
        }
    }

    /// The unit's fault, and the reply to a request, function and all.
    fn reply(&self, unit: u8, pdu: [u8; 5]) -> (Option<Fault>, Vec<u8>) {
        let [function, a, b, c, d] = pdu;
        let (address, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let mut state = self.state.lock().unwrap();
        state.asked.push((Instant::now(), unit, function, address, count));
        let fault = state.faults.get(&unit).copied();
        if function > 4 {
            return (fault, vec![function | 0x80, 1]);
        }
        let mut range = address..address.saturating_add(count);
        if let Some(Fault::Exception(code)) = fault {
            return (fault, vec![function | 0x80, code]);
        }
        if function > 2 && state.most > 0 && count > state.most {
            return (fault, vec![function | 0x80, 3]);
        }
        if function == 3 && range.any(|at| state.holes.contains(&at)) {
            return (fault, vec![function | 0x80, 2]);
        }
        let count = match fault {
            Some(Fault::Short) => count - 1,
            Some(Fault::Long) => count + 1,
            _ => count,
        };
        let words = (0..count).map(|i| word(unit, function, address.wrapping_add(i)));
        let data: Vec<u8> = match function {
            1 | 2 => {
                let mut bytes = vec![0; usize::from(count).div_ceil(8)];
                for (i, word) in words.enumerate() {
                    bytes[i / 8] |= ((word & 1) as u8) << (i % 8);
                }
                bytes
            }
            _ => words.flat_map(u16::to_be_bytes).collect(),
        };
        let function = if fault == Some(Fault::WrongFunction) { 7 - function } else { function };
        (fault, [&[function, data.len() as u8], &data[..]].concat())
    }
}

/// CRC-16/MODBUS, bit by bit.
fn crc(bytes: &[u8]) -> u16 {
    let mut crc = 0xFFFFu16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc >>= 1;
            if low == 1 {
                crc ^= 0xA001;
            }
        }
    }
    crc
}
