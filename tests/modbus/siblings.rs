//! What units behind one endpoint owe each other: nothing.

use std::time::Duration;

use floorcast::model::{Quality, Sample};
use floorcast::status::State;

use crate::plc::{Fault, Plc};
use crate::rig::Rig;

fn two_units(port: u16, keys: &str) -> String {
    let unit = |id: u8| {
        format!(
            "[[modbus.unit]]\nid = {id}\nperiod_ms = 200\ntag = [{{ name = \"u{id}\", \
             table = \"holding\", address = 0, type = \"u32\" }}]\n"
        )
    };
    format!(
        "[[modbus]]\nid = \"gw\"\ntcp = \"127.0.0.1:{port}\"\ntimeout_ms = 1500\n{keys}{}{}",
        unit(1),
        unit(2)
    )
}

/// Whether samples taken every 200 ms are all there.
fn complete(samples: &[Sample]) -> bool {
    let (first, last) = (samples[0].requested, samples[samples.len() - 1].requested);
    let slots = (last.since(first).as_secs_f64() / 0.2).round() as usize;
    samples.iter().all(|s| s.quality == Quality::Good) && slots == samples.len() - 1
}

/// One of two units stops answering: the other keeps its rate, and no sample
/// is lost; and so when the first one comes back.
#[tokio::test]
async fn a_dead_unit_costs_its_sibling_nothing() {
    let plc = Plc::default().tcp().await;
    let mut rig = Rig::new(&two_units(plc.port, ""));
    rig.good("u2").await;
    plc.fault(2, Fault::Silent);
    let mut samples = Vec::new();
    while rig.status.get("unit/gw/2").expect("known").state != State::NoSignal {
        samples.push(rig.wait("u1", |_| true).await.0);
    }
    while samples.len() < 40 {
        samples.push(rig.wait("u1", |_| true).await.0);
    }
    assert!(complete(&samples), "{samples:#?}");
    plc.fault(2, None);
    samples.clear();
    while rig.status.get("unit/gw/2").expect("known").state != State::Live {
        samples.push(rig.wait("u1", |_| true).await.0);
    }
    assert!(complete(&samples), "{samples:#?}");
    assert_eq!(plc.state.lock().unwrap().connections, 1);
}

/// A dead unit is asked ever more rarely, and no more than once in five seconds.
#[tokio::test]
async fn a_dead_unit_is_asked_ever_more_rarely() {
    let plc = Plc::default().tcp().await;
    plc.fault(2, Fault::Silent);
    let text = two_units(plc.port, "").replace("timeout_ms = 1500", "timeout_ms = 50");
    let mut rig = Rig::new(&text);
    // 0, 0.05, 0.35, 0.9, 1.95, 4, 8 s, and then every five.
    for _ in 0..40 {
        rig.good("u1").await;
    }
    let asked = plc.asked(2);
    assert!((5..=8).contains(&asked), "{asked} requests in eight seconds");
}

/// A unit that wants rest gets it, also between the parts of one slot.
#[tokio::test]
async fn pauses_are_kept() {
    let plc = Plc::default().tcp().await;
    let text = two_units(plc.port, "connect_pause_ms = 300\n")
        .replace("id = 1\n", "id = 1\npause_ms = 60\nmax_registers = 2\n")
        .replace(
            "type = \"u32\" }]",
            "type = \"u32\" }, { name = \"x\", table = \"holding\", address = 2, type = \"u32\" }]",
        )
        .replacen("name = \"x\"", "name = \"y\"", 1);
    let began = tokio::time::Instant::now();
    let mut rig = Rig::new(&text);
    for _ in 0..8 {
        rig.good("u1").await;
    }
    let state = plc.state.lock().unwrap();
    let asked: Vec<_> = state.asked.iter().filter(|a| a.1 == 1).map(|a| a.0).collect();
    assert!(state.asked[0].0 - began >= Duration::from_millis(300));
    assert!(asked.windows(2).all(|w| w[1] - w[0] >= Duration::from_millis(60)), "{asked:?}");
}

/// Request and reply times bracket the reading, and the sample is their middle.
#[tokio::test]
async fn a_sample_is_the_middle_of_its_round_trip() {
    let plc = Plc::default().tcp().await;
    plc.fault(1, Fault::Late(Duration::from_millis(100)));
    let mut rig = Rig::new(&two_units(plc.port, ""));
    let s = rig.good("u1").await;
    let trip = s.received.since(s.requested);
    assert!(trip >= Duration::from_millis(100));
    assert_eq!(s.taken, s.requested + trip / 2);
    assert!(s.error >= trip / 2 && s.error <= trip / 2 + Duration::from_nanos(1));
}
