//! Servers nobody here wrote: pymodbus over TCP and RTU, libmodbus over TCP.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use floorcast::model::Quality;
use floorcast::status::State;
use tokio::time::Instant;

use crate::cells::{self, Cell};
use crate::rig::{PATIENCE, Rig};
use crate::serial::Wire;
use crate::support::peer::{Peer, free_port, python, script, wait_port};

/// Starts a server that takes its cells from its standard input.
fn serve(command: &mut Command, cells: &[Cell], what: &str) -> Peer {
    let mut child = match command.stdin(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => panic!("{:?}: {error}; the test needs {what}", command.get_program()),
    };
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(cells::lines(cells).as_bytes()).expect("send the cells");
    Peer(child)
}

pub fn pymodbus(place: &str, cells: &[Cell]) -> Peer {
    let mut command = Command::new(python());
    command.arg(script("pymodbus_server.py")).arg(place);
    serve(&mut command, cells, "pymodbus: run scripts/setup")
}

/// Compiles the libmodbus server once per build.
pub fn libmodbus(port: u16, cells: &[Cell]) -> Peer {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let program = out.join(format!("libmodbus_server_{port}"));
    let flags = Command::new("pkg-config").args(["--cflags", "--libs", "libmodbus"]).output();
    let flags = match flags {
        Ok(flags) if flags.status.success() => String::from_utf8(flags.stdout).expect("flags"),
        _ => panic!("the test needs pkg-config and libmodbus-dev: run scripts/setup"),
    };
    let built = Command::new("cc")
        .args(["-O1", "-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(script("libmodbus_server.c"))
        .args(flags.split_whitespace())
        .status();
    assert!(built.is_ok_and(|s| s.success()), "cc: the test needs a C compiler: run scripts/setup");
    let peer = serve(Command::new(&program).arg(port.to_string()), cells, "libmodbus");
    wait_port(port, Duration::from_secs(10));
    std::fs::remove_file(&program).expect("remove the program");
    peer
}

/// Waits until every cell was read, and checks each value that comes.
pub async fn read_all(rig: &mut Rig, cells: &[Cell]) {
    let mut left: BTreeSet<usize> = (0..cells.len()).collect();
    while !left.is_empty() {
        let sample = rig.next().await;
        let i: usize = rig.name(&sample)[1..].parse().expect("a cell");
        cells::check(&cells[i], &sample.value, sample.reason.as_deref());
        left.remove(&i);
    }
}

pub fn tcp(port: u16, cells: &[Cell], keys: &str) -> String {
    format!(
        "[[modbus]]\nid = \"peer\"\ntcp = \"127.0.0.1:{port}\"\ntimeout_ms = 5000\n\
         [[modbus.unit]]\nid = 1\nperiod_ms = 100\n{keys}tag = [\n{}]\n",
        cells::tags(cells)
    )
}

#[tokio::test]
async fn pymodbus_every_type_and_order() {
    let (cells, port) = (cells::all(), free_port());
    let _peer = pymodbus(&port.to_string(), &cells);
    wait_port(port, Duration::from_secs(30));
    let mut rig = Rig::new(&tcp(port, &cells, "gap_registers = 0\ngap_bits = 0\n"));
    read_all(&mut rig, &cells).await;
    rig.stop().await;
}

/// pymodbus refuses what it does not have: gaps that are read over are found
/// out, and cost no value.
#[tokio::test]
async fn pymodbus_refuses_gaps() {
    let (cells, port) = (cells::all(), free_port());
    let _peer = pymodbus(&port.to_string(), &cells);
    wait_port(port, Duration::from_secs(30));
    let mut rig = Rig::new(&tcp(port, &cells, "gap_registers = 8\ngap_bits = 128\n"));
    read_all(&mut rig, &cells).await;
    rig.stop().await;
}

#[tokio::test]
async fn libmodbus_every_type_and_order() {
    let (cells, port) = (cells::all(), free_port());
    let _peer = libmodbus(port, &cells);
    for keys in ["", "max_registers = 8\ngap_registers = 0\n", "max_registers = 33\n"] {
        let mut rig = Rig::new(&tcp(port, &cells, keys));
        read_all(&mut rig, &cells).await;
        rig.stop().await;
    }
}

#[tokio::test]
async fn pymodbus_over_a_serial_line() {
    let (cells, wire) = (cells::all(), Wire::new());
    let _peer = pymodbus(wire.theirs.to_str().expect("path"), &cells);
    let mut rig = Rig::new(&format!(
        "[[modbus]]\nid = \"line\"\nserial = {:?}\nbaud = 115200\nparity = \"none\"\n\
         timeout_ms = 2000\n[[modbus.unit]]\nid = 1\nperiod_ms = 5000\ntag = [\n{}]\n",
        wire.ours,
        cells::tags(&cells)
    ));
    // Until the server has opened its end, nobody answers.
    rig.state("unit/line/1", State::Live).await;
    let deadline = Instant::now() + PATIENCE;
    let mut left: BTreeSet<usize> = (0..cells.len()).collect();
    while !left.is_empty() {
        let sample =
            rig.next_before(deadline).await.unwrap_or_else(|| panic!("not read: {left:?}"));
        if sample.quality == Quality::Good {
            let i: usize = rig.name(&sample)[1..].parse().expect("a cell");
            cells::check(&cells[i], &sample.value, None);
            left.remove(&i);
        }
    }
    rig.stop().await;
}

/// The server is killed and started again: values are bad meanwhile, and come
/// back by themselves.
#[tokio::test]
async fn pymodbus_killed_and_back() {
    let (mut cells, port) = (cells::all(), free_port());
    cells.truncate(20);
    let mut peer = pymodbus(&port.to_string(), &cells);
    wait_port(port, Duration::from_secs(30));
    let mut rig = Rig::new(&tcp(port, &cells, "gap_registers = 0\n"));
    read_all(&mut rig, &cells).await;
    peer.kill();
    rig.bad("c0").await;
    rig.state("bus/peer", State::Connecting).await;
    let _peer = pymodbus(&port.to_string(), &cells);
    rig.good("c0").await;
    rig.state("unit/peer/1", State::Live).await;
    rig.stop().await;
}
