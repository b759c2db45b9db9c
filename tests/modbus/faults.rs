//! A device that does everything wrong over TCP: bad samples with the reason,
//! never a value of another register, and recovery by itself.

use std::time::Duration;

use floorcast::model::{Quality, Value};
use floorcast::status::State;

use crate::plc::{Fault, Plc, word};
use crate::rig::Rig;

/// A unit with single-register reads far apart, so that all have one length.
fn scattered(port: u16, extra: &str) -> String {
    let tags: String = (0..6)
        .map(|i| format!("{{ name = \"r{i}\", table = \"holding\", address = {} }},\n", i * 100))
        .collect();
    format!(
        "[[modbus]]\nid = \"plc\"\ntcp = \"127.0.0.1:{port}\"\ntimeout_ms = 150\n{extra}\n\
         [[modbus.unit]]\nid = 1\nperiod_ms = 50\ntag = [\n{tags}]\n"
    )
}

/// Every good value is that of its own register.
fn check(name: &str, value: &Value) {
    let i: u16 = name[1..].parse().expect("a number");
    assert_eq!(*value, Value::Int(word(1, 3, i * 100).into()), "{name} shows another register");
}

/// Puts a fault on and takes it away again; watches every sample meanwhile.
async fn recovers_from(fault: Fault, reason: &str) {
    let plc = Plc::default().tcp().await;
    let mut rig = Rig::new(&scattered(plc.port, ""));
    for i in 0..6 {
        let name = format!("r{i}");
        check(&name, &rig.good(&name).await.value);
    }
    plc.fault(1, fault);
    let mut bad = 0;
    while bad < 12 {
        let sample = rig.next().await;
        match sample.quality {
            Quality::Good => check(rig.name(&sample), &sample.value),
            _ => {
                let why = sample.reason.expect("a reason");
                assert!(why.contains(reason), "{fault:?} is called {why:?}");
                bad += 1;
            }
        }
    }
    plc.fault(1, None);
    let mut seen = [0; 6];
    while seen.iter().any(|n| *n < 5) {
        let sample = rig.next().await;
        if sample.quality == Quality::Good {
            let name = rig.name(&sample);
            check(name, &sample.value);
            seen[name[1..].parse::<usize>().expect("a number")] += 1;
        }
    }
    rig.state("unit/plc/1", State::Live).await;
    rig.stop().await;
}

#[tokio::test]
async fn recovers_from_silence() {
    recovers_from(Fault::Silent, "timeout").await;
}

#[tokio::test]
async fn recovers_from_late_replies() {
    recovers_from(Fault::Late(Duration::from_millis(220)), "timeout").await;
}

#[tokio::test]
async fn recovers_from_the_wrong_unit() {
    recovers_from(Fault::WrongUnit, "garbled reply: wrong unit").await;
}

#[tokio::test]
async fn recovers_from_the_wrong_transaction() {
    recovers_from(Fault::WrongTransaction, "garbled reply: wrong transaction").await;
}

#[tokio::test]
async fn recovers_from_the_wrong_function() {
    recovers_from(Fault::WrongFunction, "garbled reply: wrong function").await;
}

#[tokio::test]
async fn recovers_from_short_replies() {
    recovers_from(Fault::Short, "garbled reply: wrong length").await;
}

#[tokio::test]
async fn recovers_from_long_replies() {
    recovers_from(Fault::Long, "garbled reply: wrong length").await;
}

#[tokio::test]
async fn recovers_from_replies_cut_short() {
    recovers_from(Fault::Cut, "garbled reply: cut short").await;
}

#[tokio::test]
async fn recovers_from_noise() {
    recovers_from(Fault::Noise, "").await;
}

#[tokio::test]
async fn recovers_from_exceptions() {
    recovers_from(Fault::Exception(4), "exception 4: device failure").await;
}

#[tokio::test]
async fn recovers_from_a_busy_device() {
    recovers_from(Fault::Exception(6), "exception 6: device busy").await;
}

/// Replies that come on time now and too late then never change places.
#[tokio::test]
async fn erratic_lateness_never_swaps_values() {
    let plc = Plc::default().tcp().await;
    let mut rig = Rig::new(&scattered(plc.port, "in_flight = 4"));
    let mut good = 0;
    while good < 150 {
        let sample = rig.next().await;
        if sample.quality == Quality::Good {
            check(rig.name(&sample), &sample.value);
            good += 1;
        }
        let late = Fault::Late(Duration::from_millis(rand::random_range(50..400)));
        plc.fault(1, (rand::random_range(0..4) == 0).then_some(late));
    }
}

/// A connection that is closed with every request is an unreachable device at last.
#[tokio::test]
async fn recovers_from_closed_connections() {
    let plc = Plc::default().tcp().await;
    let mut rig = Rig::new(&scattered(plc.port, ""));
    rig.good("r0").await;
    plc.fault(1, Fault::Close);
    let before = plc.state.lock().unwrap().connections;
    let mut changes = tokio::time::interval(Duration::from_millis(20));
    while plc.state.lock().unwrap().connections < before + 4 {
        changes.tick().await;
    }
    plc.fault(1, None);
    check("r5", &rig.good("r5").await.value);
}

/// Late replies are recognised by their transaction; the connection stays.
#[tokio::test]
async fn a_late_reply_does_not_cost_the_connection() {
    let plc = Plc::default().tcp().await;
    let both = |id: u8| {
        format!(
            "[[modbus.unit]]\nid = {id}\nperiod_ms = 50\ntag = [{{ name = \"u{id}\", \
             table = \"input\", address = 9 }}]\n"
        )
    };
    let mut rig = Rig::new(&format!(
        "[[modbus]]\nid = \"gw\"\ntcp = \"127.0.0.1:{}\"\ntimeout_ms = 300\n{}{}",
        plc.port,
        both(1),
        both(2)
    ));
    rig.good("u1").await;
    rig.good("u2").await;
    plc.fault(2, Fault::Late(Duration::from_millis(450)));
    assert_eq!(rig.bad("u2").await, "timeout");
    rig.state("unit/gw/2", State::NoSignal).await;
    for _ in 0..20 {
        let sample = rig.wait("u1", |_| true).await.0;
        assert_eq!(sample.value, Value::Int(word(1, 4, 9).into()));
    }
    assert_eq!(plc.state.lock().unwrap().connections, 1);
    plc.fault(2, None);
    assert_eq!(rig.good("u2").await.value, Value::Int(word(2, 4, 9).into()));
}

/// No device at first, then one; it goes and comes back: every time without help.
#[tokio::test]
async fn recovers_from_an_absent_device() {
    let port = crate::support::peer::free_port();
    let mut rig = Rig::new(&scattered(port, ""));
    let why = rig.bad("r0").await;
    assert!(why.contains(&format!("connect to 127.0.0.1:{port}")), "{why}");
    rig.state("bus/plc", State::Connecting).await;
    let address = format!("127.0.0.1:{port}");
    let listener = tokio::net::TcpListener::bind(&address).await.expect("bind");
    let (stream, _) = listener.accept().await.expect("accept");
    rig.state("bus/plc", State::Live).await;
    drop((stream, listener));
    rig.state("bus/plc", State::Connecting).await;
}

/// One refused register costs its own tag its value, and no neighbour a single one.
#[tokio::test]
async fn one_missing_register_makes_one_tag_bad() {
    let plc = Plc::default().tcp().await;
    // 16 lies in a gap; 20 is a tag's own.
    plc.state.lock().unwrap().holes.extend([16, 20]);
    let tags: String = (10..30u16)
        .filter(|a| !(15..18).contains(a))
        .map(|a| format!("{{ name = \"r{a}\", table = \"holding\", address = {a} }},\n"))
        .collect();
    let mut rig = Rig::new(&format!(
        "[[modbus]]\nid = \"plc\"\ntcp = \"127.0.0.1:{}\"\n[[modbus.unit]]\nid = 1\n\
         period_ms = 100\ntag = [\n{tags}]\n",
        plc.port
    ));
    let mut rounds = 0;
    while rounds < 5 {
        let sample = rig.next().await;
        let name = rig.name(&sample).to_owned();
        if name == "r20" {
            assert_eq!(sample.reason.as_deref(), Some("exception 2: illegal data address"));
            rounds += 1;
        } else {
            let address = name[1..].parse().expect("a number");
            assert_eq!(sample.value, Value::Int(word(1, 3, address).into()), "{name}");
        }
    }
    // The parts are remembered: later rounds ask for the missing one alone.
    let asked = plc.state.lock().unwrap().asked.len();
    assert!(asked < 5 * 7 + 10, "{asked} requests for 5 rounds");
}

/// A device that gives less than its manual says is asked for less.
#[tokio::test]
async fn a_smaller_reply_limit_is_found() {
    let plc = Plc::default().tcp().await;
    plc.state.lock().unwrap().most = 10;
    let tags: String = (0..40u16)
        .map(|a| format!("{{ name = \"r{a}\", table = \"holding\", address = {a} }},\n"))
        .collect();
    let mut rig = Rig::new(&format!(
        "[[modbus]]\nid = \"plc\"\ntcp = \"127.0.0.1:{}\"\n[[modbus.unit]]\nid = 1\n\
         period_ms = 100\ntag = [\n{tags}]\n",
        plc.port
    ));
    for _ in 0..200 {
        let sample = rig.next().await;
        let address = rig.name(&sample)[1..].parse().expect("a number");
        assert_eq!(sample.value, Value::Int(word(1, 3, address).into()));
    }
}

/// A device that answers what is no number, or what cannot be, shows no number.
#[tokio::test]
async fn implausible_values_are_bad() {
    let plc = Plc::default().tcp().await;
    let mut rig = Rig::new(&format!(
        r#"
        [[modbus]]
        id = "plc"
        tcp = "127.0.0.1:{}"
        [[modbus.unit]]
        id = 1
        period_ms = 100
        tag = [
            {{ name = "hot", table = "holding", address = 1, range = [0, 10] }},
            {{ name = "hot-scaled", table = "holding", address = 1, scale = 1e-6, range = [0, 10] }},
            {{ name = "code", table = "holding", address = 1, type = "string", length = 2 }},
        ]
        "#,
        plc.port
    ));
    assert_eq!(rig.bad("hot").await, "out of range");
    let x = f64::from(word(1, 3, 1)) * 1e-6;
    assert_eq!(rig.good("hot-scaled").await.value, Value::Real(x));
    assert_eq!(rig.bad("code").await, "not UTF-8 text");
}
