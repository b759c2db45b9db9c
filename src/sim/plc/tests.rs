use tokio::time::timeout;
use tokio_modbus::client::{Context, tcp};
use tokio_modbus::prelude::*;

use super::*;
use crate::clock::WallClock;

struct Bench {
    truth: Truth,
    address: SocketAddr,
    stop: CancellationToken,
}

async fn bench() -> Bench {
    let truth = Truth::new(1, &WallClock::new(), clock::now());
    let plc = Plc::bind(([127, 0, 0, 1], 0).into(), &truth).await.expect("bind");
    let (address, stop) = (plc.address(), CancellationToken::new());
    let until = stop.clone();
    tokio::spawn(async move { plc.serve(&until).await });
    Bench { truth, address, stop }
}

async fn client(bench: &Bench, unit: u8) -> Context {
    tcp::connect_slave(bench.address, Slave(unit)).await.expect("connect")
}

/// A reply holds the state of one instant between request and response.
#[tokio::test]
async fn registers_hold_the_state_of_the_read() {
    let bench = bench().await;
    let mut filler = client(&bench, 1).await;
    for _ in 0..50 {
        let before = clock::now();
        let got = filler.read_holding_registers(0, 31).await.expect("read").expect("registers");
        let after = clock::now();
        let tick = got[0];
        let (first, last) = (bench.truth.tick(before), bench.truth.tick(after));
        let late = last.wrapping_sub(first);
        assert!(tick.wrapping_sub(first) <= late, "{tick} not in {first}..={last}");
        // Some instant in between gives exactly these registers.
        let mut own = bench.truth.follow();
        let step = Duration::from_micros(500);
        let matched =
            (0..).map(|n| before + step * n).take_while(|at| *at <= after + step).any(|at| {
                let line = own.at(at).clone();
                map::registers(1, &line, tick).as_deref() == Some(&got[..])
            });
        assert!(matched, "{got:?}");
    }
    bench.stop.cancel();
}

/// Each unit answers for itself; a missing one is told by the gateway.
#[tokio::test]
async fn units_are_separate_and_a_missing_one_is_told() {
    let bench = bench().await;
    for (unit, most) in [(1, 31), (2, 14), (3, 7)] {
        let mut client = client(&bench, unit).await;
        let all = client.read_input_registers(0, most).await.expect("read").expect("registers");
        assert_eq!(all.len(), usize::from(most));
        let past = client.read_holding_registers(0, most + 1).await.expect("read");
        assert_eq!(past, Err(ExceptionCode::IllegalDataAddress), "unit {unit}");
    }
    let mut nobody = client(&bench, 9).await;
    let answer = nobody.read_holding_registers(0, 1).await.expect("read");
    assert_eq!(answer, Err(ExceptionCode::GatewayTargetDevice));
    let answer = nobody.write_single_register(0, 1).await.expect("write");
    assert_eq!(answer, Err(ExceptionCode::GatewayTargetDevice));
    let mut filler = client(&bench, 1).await;
    let answer = filler.write_single_register(0, 1).await.expect("write");
    assert_eq!(answer, Err(ExceptionCode::IllegalFunction));
    let coils = filler.read_coils(0, 7).await.expect("read").expect("coils");
    assert_eq!(coils.len(), 7);
}

/// The one client too many is turned away, and the others are served on.
#[tokio::test]
async fn connections_are_bounded() {
    let bench = bench().await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = client(&bench, 1).await;
        client.read_holding_registers(0, 1).await.expect("read").expect("register");
        clients.push(client);
    }
    let mut extra = client(&bench, 1).await;
    let refused = timeout(Duration::from_secs(5), extra.read_holding_registers(0, 1)).await;
    assert!(refused.expect("closed at once").is_err());
    clients[0].read_holding_registers(0, 1).await.expect("read").expect("register");
}

/// Figures read as the types the table promises.
#[test]
fn values_decode_as_documented() {
    let mut line = super::super::line::Line::new(1);
    line.advance(Duration::from_secs(100));
    let filler = map::registers(1, &line, 7).expect("unit 1");
    let real = |at: usize| f32::from_bits(u32::from(filler[at]) << 16 | u32::from(filler[at + 1]));
    let count = |at: usize| u32::from(filler[at]) << 16 | u32::from(filler[at + 1]);
    assert_eq!(filler[0], 7);
    assert_eq!(filler[1], 1);
    assert!((30.0..90.0).contains(&real(2)), "speed {}", real(2));
    assert!((0.0..=100.0).contains(&real(4)), "level {}", real(4));
    assert!((40.0..44.0).contains(&real(8)), "temperature {}", real(8));
    assert_eq!(count(14), line.counts.good);
    assert_eq!(count(16), line.counts.rejected);
    assert_eq!(count(18), line.counts.bottles);
    let lot: Vec<u8> = filler[22..30].iter().flat_map(|r| r.to_be_bytes()).collect();
    assert_eq!(String::from_utf8_lossy(&lot).trim_end_matches('\0'), line.lot_text());
    let meter = map::registers(3, &line, 7).expect("unit 3");
    let energy = meter[2..6].iter().fold(0u64, |e, r| e << 16 | u64::from(*r));
    assert_eq!(energy, line.figures.energy as u64);
}
