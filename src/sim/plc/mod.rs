//! The line's PLC: a Modbus TCP server with several units (`map.rs` says what
//! is where).
//!
//! In come read requests; out goes the state at the instant of the request,
//! one instant for all registers of a reply. Writes are refused. At most
//! [`CONNECTIONS`] clients are served; a further one is closed at once and
//! counted.

mod map;
#[cfg(test)]
mod tests;

use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::truth::{Follower, Truth};
use crate::clock;

/// Clients served at once.
pub const CONNECTIONS: usize = 16;

/// A bound server that is not serving yet.
pub struct Plc {
    server: Server,
    address: SocketAddr,
    state: Arc<Mutex<Follower>>,
    seats: Arc<Semaphore>,
}

impl Plc {
    /// Binds `listen`; port 0 takes a free one.
    pub async fn bind(listen: SocketAddr, truth: &Truth) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("demo line: PLC: listen on {listen}"))?;
        let address = listener.local_addr().context("demo line: PLC: own address")?;
        let state = Arc::new(Mutex::new(truth.follow()));
        let seats = Arc::new(Semaphore::new(CONNECTIONS));
        Ok(Self { server: Server::new(listener), address, state, seats })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`. Its connections end with it.
    pub async fn serve(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        let refused = metrics::counter!("floorcast_sim_plc_refused_total");
        let admit = |stream: TcpStream, _| {
            let seat = self.seats.clone().try_acquire_owned();
            let state = self.state.clone();
            let refused = refused.clone();
            async move {
                // Requests and replies are small and wait for each other.
                let seat = seat.ok().filter(|_| stream.set_nodelay(true).is_ok());
                if seat.is_none() {
                    refused.increment(1);
                }
                Ok(seat.map(|seat| (Client { state, _seat: seat }, stream)))
            }
        };
        let ended = |error| debug!("demo line: PLC: a client left: {error}");
        tokio::select! {
            served = self.server.serve(&admit, ended) => served.context("demo line: PLC"),
            () = self.keep_up() => Ok(()),
            () = stop.cancelled() => Ok(()),
        }
    }

    /// Follows the line while nobody asks: the first answer after an hour must
    /// not wait for an hour's steps.
    async fn keep_up(&self) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.state.lock().expect("plc lock").at(clock::now());
        }
    }
}

/// One connection.
struct Client {
    state: Arc<Mutex<Follower>>,
    _seat: OwnedSemaphorePermit,
}

impl Service for Client {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let mut state = self.state.lock().expect("plc lock");
        // Within the lock: of two clients the later one must not see less.
        let now = clock::now();
        let tick = state.truth().tick(now);
        ready(answer(&request, state.at(now), tick))
    }
}

fn answer(
    asked: &SlaveRequest<'_>,
    line: &super::line::Line,
    tick: u16,
) -> Result<Response, ExceptionCode> {
    // Modbus V1.1b3, 7: a gateway says so when the device behind it is missing.
    let registers =
        map::registers(asked.slave, line, tick).ok_or(ExceptionCode::GatewayTargetDevice)?;
    let coils = || map::coils(asked.slave, line);
    match asked.request {
        Request::ReadHoldingRegisters(at, n) => {
            Ok(Response::ReadHoldingRegisters(part(&registers, at, n, 125)?))
        }
        Request::ReadInputRegisters(at, n) => {
            Ok(Response::ReadInputRegisters(part(&registers, at, n, 125)?))
        }
        Request::ReadCoils(at, n) => Ok(Response::ReadCoils(part(&coils(), at, n, 2000)?)),
        Request::ReadDiscreteInputs(at, n) => {
            Ok(Response::ReadDiscreteInputs(part(&coils(), at, n, 2000)?))
        }
        _ => Err(ExceptionCode::IllegalFunction),
    }
}

/// `n` values from address `at`, with the exceptions of Modbus V1.1b3, 6.1 to 6.4.
fn part<T: Copy>(all: &[T], at: u16, n: u16, most: u16) -> Result<Vec<T>, ExceptionCode> {
    if n == 0 || n > most {
        return Err(ExceptionCode::IllegalDataValue);
    }
    let (from, to) = (usize::from(at), usize::from(at) + usize::from(n));
    all.get(from..to).map(<[T]>::to_vec).ok_or(ExceptionCode::IllegalDataAddress)
}
