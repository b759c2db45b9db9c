//! The brokers of a larger site, NATS with JetStream and RabbitMQ: a box on air, and a
//! technician with plain `mosquitto_pub` and `mosquitto_sub`.

mod course;
mod examples;
#[path = "../technician/rig.rs"]
#[allow(dead_code)]
mod rig;
#[path = "../support/mod.rs"]
mod support;
mod telemetry;

use crate::rig::Site;
use crate::support::mosquitto::Broker;
use crate::support::nats::Nats;
use crate::support::rabbitmq::RabbitMq;

/// A broker that is killed and comes back with what it had stored.
trait Cluster: Broker {
    fn kill(&mut self);
    fn start(&mut self);
}

impl Cluster for Nats {
    fn kill(&mut self) {
        Self::kill(self);
    }

    fn start(&mut self) {
        Self::start(self);
    }
}

impl Cluster for RabbitMq {
    fn kill(&mut self) {
        Self::kill(self);
    }

    fn start(&mut self) {
        Self::start(self);
    }
}

/// All of it with one broker: a node takes its time to start.
fn all(broker: impl Cluster) {
    let mut site = Site::at(broker, |_| {});
    course::who_comes_later_finds_state_and_health(&mut site);
    course::every_mistake_is_named_and_nothing_changes(&mut site);
    course::a_confirmed_change_stays(&mut site);
    course::an_unconfirmed_change_is_back_by_itself(&mut site);
    course::a_wrong_broker_is_back_by_itself(&mut site);
    course::what_the_broker_may_not_carry_is_no_transaction(&mut site);
    course::a_killed_box_is_said_to_be_gone(&mut site);
    course::a_stored_document_reaches_a_box_that_was_away(&mut site);
    telemetry::a_killed_broker_loses_and_doubles_nothing(&mut site);
}

/// A box is set up over NATS, and its telemetry survives a broker that is killed.
#[test]
fn nats_carries_a_box() {
    all(Nats::open());
}

/// The same over RabbitMQ.
#[test]
fn rabbitmq_carries_a_box() {
    all(RabbitMq::open());
}
