//! The hall's sensors: MQTT publications of the line's own state.
//!
//! Comes in: the time. Goes out, to the broker that is configured:
//!
//! | topic | payload | when |
//! |---|---|---|
//! | `hall/climate` | JSON `{"t_ms", "temperature", "humidity"}` | every second |
//! | `hall/air/pressure` | a number, bar | five times a second |
//! | `line1/lot` | JSON `{"t_ms", "lot", "state"}`, retained | when it changes, and every 5 s |
//!
//! `t_ms` is milliseconds since 1970, when the value held. Without a broker
//! nothing is kept for later: what is published is the state of the moment.

use std::time::Duration;

use anyhow::{Context, bail};
use rumqttc_v4::{AsyncClient, Broker, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::line::{Line, Mode};
use super::truth::Truth;
use crate::clock;

/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// A broker that has not answered by then is tried again later.
const ANSWER: Duration = Duration::from_secs(5);
/// Publications that wait for the connection; more are refused, and the
/// session starts anew.
const WAITING: usize = 64;

/// Where to publish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Connects and publishes until `stop` or the connection ends.
pub async fn publish(to: &Address, truth: &Truth, stop: &CancellationToken) -> anyhow::Result<()> {
    let who = || format!("demo line: sensors at {}:{}", to.host, to.port);
    let mut options =
        MqttOptions::new("floorcast-demo-sensors", Broker::tcp(to.host.clone(), to.port));
    options.set_keep_alive(10).set_request_channel_capacity(WAITING);
    let (client, mut poller) =
        AsyncClient::builder(options).try_build().with_context(|| format!("{}: set up", who()))?;
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        connected = timeout(ANSWER, connected(&mut poller)) => {
            connected.with_context(|| format!("{}: no answer", who()))?.with_context(who)?;
        }
    }
    info!(host = to.host, port = to.port, "demo line: sensors connected");
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = drive(&mut poller) => ended.with_context(who),
        ended = sense(&client, truth) => ended.with_context(who),
    }
}

async fn connected(poller: &mut EventLoop) -> anyhow::Result<()> {
    match poller.poll().await.context("connect")? {
        Event::Incoming(Packet::ConnAck(_)) => Ok(()),
        event => bail!("the broker began with {event:?}"),
    }
}

async fn drive(poller: &mut EventLoop) -> anyhow::Result<()> {
    loop {
        poller.poll().await.context("connection lost")?;
    }
}

async fn sense(client: &AsyncClient, truth: &Truth) -> anyhow::Result<()> {
    let mut follower = truth.follow();
    let mut looks = interval_at(Instant::now(), LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut said = None;
    for n in 0u64.. {
        looks.tick().await;
        let now = clock::now();
        let t_ms = truth.utc_us(now).div_euclid(1000);
        let line = follower.at(now);
        let say = (line.lot, line.mode());
        if said != Some(say) || n.is_multiple_of(100) {
            said = Some(say);
            send(client, "line1/lot", true, lot(line, t_ms))?;
        }
        if n.is_multiple_of(4) {
            send(client, "hall/air/pressure", false, format!("{:.3}", line.figures.air))?;
        }
        if n.is_multiple_of(20) {
            send(client, "hall/climate", false, climate(line, t_ms))?;
        }
    }
    Ok(())
}

fn send(client: &AsyncClient, topic: &str, retain: bool, payload: String) -> anyhow::Result<()> {
    let options = rumqttc_v4::PublishOptions::new(QoS::AtMostOnce).retain(retain);
    client.try_publish(topic, payload, options).with_context(|| format!("publish {topic}"))
}

fn lot(line: &Line, t_ms: i64) -> String {
    let state = match line.mode() {
        Mode::Running => "running",
        Mode::Starved => "starved",
        Mode::Stopped => "stopped",
        Mode::Changeover => "changeover",
    };
    json!({ "t_ms": t_ms, "lot": line.lot_text(), "state": state }).to_string()
}

fn climate(line: &Line, t_ms: i64) -> String {
    let rounded = |v: f64| (v * 100.0).round() / 100.0;
    let (temperature, humidity) = (rounded(line.figures.hall), rounded(line.figures.humidity));
    json!({ "t_ms": t_ms, "temperature": temperature, "humidity": humidity }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lot that is published is the lot that is on the display.
    #[test]
    fn lot_message_is_the_lines_lot() {
        let mut line = Line::new(1);
        line.advance(Duration::from_secs(60));
        let said: serde_json::Value = serde_json::from_str(&lot(&line, 42)).expect("JSON");
        assert_eq!(said, json!({ "t_ms": 42, "lot": line.lot_text(), "state": "running" }));
    }
}
