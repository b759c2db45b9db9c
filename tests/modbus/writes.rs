//! Writes to servers nobody here wrote, and to a PLC with faults: what they hold afterwards
//! is asked of pymodbus.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use floorcast::model::Value;
use floorcast::telemetry::modbus::write::Outcome;

use crate::cells::{self, Cell};
use crate::peers::{libmodbus, pymodbus, read_all, tcp};
use crate::plc::{Fault, Plc};
use crate::rig::Rig;
use crate::serial::Wire;
use crate::support::peer::{free_port, python, script, wait_port};

/// Writes every cell; each is read back as it was written.
async fn write_all(rig: &Rig, values: &[Value]) {
    for (i, value) in values.iter().enumerate() {
        let outcome = rig.write(&format!("c{i}"), value.clone()).await;
        let Outcome::Written { holds, replied: true, .. } = outcome else {
            panic!("c{i} = {value:?}: {outcome:?}");
        };
        assert_eq!(holds, *value, "c{i}");
    }
}

/// What pymodbus reads at a server.
fn held(port: u16, cells: &[Cell]) -> Vec<String> {
    let mut command = Command::new(python());
    command.arg(script("pymodbus_read.py")).arg(port.to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python");
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(cells::lines(cells).as_bytes()).expect("send the cells");
    drop(stdin);
    let out = child.wait_with_output().expect("its output");
    assert!(out.status.success(), "pymodbus_read.py failed");
    String::from_utf8(out.stdout).expect("text").lines().map(str::to_owned).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Bool(on) => u8::from(*on).to_string(),
        Value::Int(n) => n.to_string(),
        Value::Real(x) => x.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Every type in every order is written as two other libraries understand it.
#[tokio::test]
async fn every_type_and_order_is_written() {
    let (cells, values) = cells::writable();
    let expected: Vec<_> = values.iter().map(text).collect();
    let serve: [fn(u16, &[Cell]) -> _; 2] =
        [|port, cells| pymodbus(&port.to_string(), cells), libmodbus];
    for serve in serve {
        let port = free_port();
        let _peer = serve(port, &cells);
        wait_port(port, Duration::from_secs(30));
        let mut rig = Rig::new(&tcp(port, &cells, "gap_registers = 0\ngap_bits = 0\n"));
        read_all(&mut rig, &cells).await;
        write_all(&rig, &values).await;
        // A server may have one connection to give.
        rig.stop().await;
        assert_eq!(held(port, &cells), expected);
    }
}

/// The same over a serial line, between the reads of others.
#[tokio::test]
async fn a_serial_line_is_written() {
    let ((cells, values), wire) = (cells::writable(), Wire::new());
    let _peer = pymodbus(wire.theirs.to_str().expect("path"), &cells);
    let mut rig = Rig::new(&format!(
        "[[modbus]]\nid = \"line\"\nserial = {:?}\nbaud = 115200\nparity = \"none\"\n\
         timeout_ms = 2000\n[[modbus.unit]]\nid = 1\nperiod_ms = 2000\ntag = [\n{}]\n",
        wire.ours,
        cells::tags(&cells)
    ));
    for i in 0..cells.len() {
        rig.good(&format!("c{i}")).await;
    }
    write_all(&rig, &values).await;
    let shows = |value: &Value, wanted: &Value| value == wanted;
    for (i, value) in values.iter().enumerate() {
        rig.wait(&format!("c{i}"), |sample| shows(&sample.value, value)).await;
    }
    rig.stop().await;
}

/// A register that the unit does not have, and a unit that falls silent: each is told, and
/// nothing is sent twice.
#[tokio::test]
async fn what_is_not_taken_is_told() {
    let plc = Plc::default().tcp().await;
    let mut rig = Rig::new(&format!(
        "[[modbus]]\nid = \"b\"\ntcp = \"127.0.0.1:{}\"\ntimeout_ms = 200\n[[modbus.unit]]\n\
         id = 1\nperiod_ms = 100\n[[modbus.unit.tag]]\nname = \"speed\"\ntable = \"holding\"\n\
         address = 3\nwrite = {{ range = [0, 60], every_ms = 100 }}\n",
        plc.port
    ));
    rig.good("speed").await;
    // This PLC knows only reads.
    let Outcome::NotTaken { reason, .. } = rig.write("speed", Value::Int(7)).await else {
        panic!("told");
    };
    assert!(reason.contains("illegal function"), "{reason}");
    rig.good("speed").await;
    plc.fault(1, Fault::Silent);
    let outcome = rig.write("speed", Value::Int(8)).await;
    assert!(
        matches!(outcome, Outcome::Unknown { .. } | Outcome::Refused { .. }),
        "nobody can know: {outcome:?}"
    );
    let writes = plc.state.lock().unwrap().asked.iter().filter(|a| a.2 == 6).count();
    assert!(writes <= 2, "{writes} writes");
    plc.fault(1, None);
    rig.good("speed").await;
    rig.stop().await;
}
