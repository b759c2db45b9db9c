//! A bus's connection, of either kind, and the session that runs over it.
//!
//! Comes in: what the poller wants sent, and the peer's bytes. Goes out: the
//! poller's replies. Ends with the reason when the connection cannot be
//! trusted any more; the owner connects anew.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::fault::Fault;
use super::poller::{Order, Poller};
use super::rtu::Port;
use super::tcp::Connection;
use super::write::Wish;
use crate::clock;
use crate::config::modbus::Link;
use crate::model::Mono;

/// A serial line that is not silent for so long cannot be used.
const BABBLE: Duration = Duration::from_secs(1);

/// A tty that brought not one byte for so many requests is opened anew.
const DEAF: u32 = 3;

/// Either kind.
pub enum Wire {
    /// Modbus TCP.
    Tcp(Connection),
    /// Modbus RTU.
    Rtu {
        /// The tty.
        port: Port,
        /// Requests in a row without a byte.
        deaf: u32,
    },
}

impl Wire {
    /// Connects, or opens the tty.
    pub async fn open(link: &Link) -> anyhow::Result<Self> {
        Ok(match link {
            Link::Tcp { host, port } => Self::Tcp(Connection::open(host, *port).await?),
            Link::Serial(line) => Self::Rtu { port: Port::open(line)?, deaf: 0 },
        })
    }

    /// Polls until `stop` (`Ok`) or until the connection breaks.
    pub async fn run(
        &mut self,
        poller: &mut Poller,
        wishes: &mut mpsc::Receiver<Wish>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut held_up: Option<Mono> = None;
        loop {
            self.expire(poller, clock::now())?;
            while let Some(order) = self.next(poller) {
                self.send(&order).await?;
            }
            let now = clock::now();
            held_up = held_up.or(Some(now)).filter(|_| self.noisy(now) && poller.wants(now));
            let babbles = held_up.is_some_and(|since| now.since(since) > BABBLE);
            anyhow::ensure!(!babbles, "the line is never silent");
            let wake = poller.wake(now).map_or(BABBLE, |wake| wake.since(now));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                filled = self.fill() => {
                    filled?;
                    self.drain(poller, clock::now())?;
                }
                Some(wish) = wishes.recv(), if poller.is_free() => {
                    poller.write(wish, clock::now());
                }
                () = sleep(wake) => {}
            }
        }
    }

    fn next(&self, poller: &mut Poller) -> Option<Order> {
        if let Self::Rtu { port, .. } = self {
            poller.rest(port.silent());
        }
        poller.next(clock::now())
    }

    fn noisy(&self, now: Mono) -> bool {
        matches!(self, Self::Rtu { port, .. } if port.silent() > now)
    }

    async fn send(&mut self, order: &Order) -> anyhow::Result<()> {
        match self {
            Self::Tcp(connection) => connection.send(order).await,
            Self::Rtu { port, .. } => {
                let stray = port.send(&order.request).await?;
                if stray > 0 {
                    metrics::counter!("floorcast_modbus_stray_bytes_total").increment(stray as u64);
                }
                Ok(())
            }
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Tcp(connection) => connection.fill().await,
            Self::Rtu { port, .. } => port.fill().await,
        }
    }

    fn drain(&mut self, poller: &mut Poller, now: Mono) -> anyhow::Result<()> {
        match self {
            Self::Tcp(connection) => loop {
                match connection.frame() {
                    Ok(None) => return Ok(()),
                    Ok(Some(f)) => {
                        (poller.take(f.transaction, f.unit, &f.pdu, now)).map_err(distrust)?;
                    }
                    Err(fault) => {
                        poller.blame_oldest(fault.clone(), now);
                        return Err(distrust(fault));
                    }
                }
            },
            Self::Rtu { port, deaf } => {
                *deaf = 0;
                if let Some(order) = poller.expected()
                    && let Some(result) = port.find(&order.request)
                {
                    poller.answer(result, now);
                    port.taken();
                }
                Ok(())
            }
        }
    }

    fn expire(&mut self, poller: &mut Poller, now: Mono) -> anyhow::Result<()> {
        match self {
            Self::Tcp(connection) => {
                let cut = connection.mid_frame();
                let fault = if cut { Fault::Garbled("cut short") } else { Fault::Timeout };
                let before = poller.under_way();
                let suspect = poller.expire(now, &fault);
                // Half a frame would become the beginning of the next one.
                if cut && poller.under_way() < before {
                    return Err(distrust(fault));
                }
                let deaf = suspect.is_some_and(|sent| connection.heard() < sent);
                anyhow::ensure!(!deaf, "no reply");
            }
            Self::Rtu { port, deaf } => {
                let instead = poller.expected().and_then(|order| port.instead(&order.request));
                let fault = instead.map_or(Fault::Timeout, Fault::Garbled);
                if let Some(sent) = poller.expire(now, &fault)
                    && port.heard() < sent
                {
                    *deaf += 1;
                    anyhow::ensure!(*deaf < DEAF, "no reply");
                }
            }
        }
        Ok(())
    }
}

fn distrust(fault: Fault) -> anyhow::Error {
    anyhow::anyhow!("{}", fault.reason())
}
