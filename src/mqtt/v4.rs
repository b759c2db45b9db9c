//! MQTT 3.1.1.

use anyhow::Context;
use bytes::Bytes;
use rumqttc_v4::mqttbytes::Error as Malformed;
use rumqttc_v4::{
    AsyncClient, Broker, ClientError, ConnectReturnCode, ConnectionError, Event as Raw, EventLoop,
    LastWill, MqttOptions, NetworkOptions, Outgoing, Packet, PublishNotice, PublishOptions, QoS,
    StateError, SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};

use super::wire::{CONNECT, Ended, Event, INFLIGHT, PACKETS, REQUESTS, Ticket};
use super::{Subscription, Unsent, dial};

/// The library's defaults that hurt are set: packet size (10 KiB) and connect
/// deadline (5 s).
pub fn open(ticket: Ticket<'_>) -> anyhow::Result<(AsyncClient, EventLoop)> {
    let to = ticket.connection;
    let name = to.tls.as_ref().map_or(&to.host, |tls| &tls.server_name);
    let mut options = MqttOptions::new(ticket.client_id, Broker::tcp(name, to.port));
    let largest = to.message_max as usize;
    options
        .set_keep_alive(to.keep_alive.as_secs() as u16)
        .set_clean_session(true)
        .set_max_packet_size(largest, largest)
        .set_inflight(INFLIGHT)
        .set_read_batch_size(PACKETS)
        .set_request_channel_capacity(REQUESTS);
    match (&to.username, ticket.password) {
        (Some(user), Some(password)) => _ = options.set_credentials(user, password),
        (Some(user), None) => _ = options.set_username(user),
        // 3.1.1 has no password without a user name; the configuration says so.
        (None, _) => {}
    }
    if let Some(tls) = ticket.tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
    }
    if let Some(will) = ticket.will {
        let (topic, payload) = (will.topic, will.payload);
        options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, will.retain));
    }
    let (host, port) = (to.host.clone(), to.port);
    options.set_socket_connector(move |_, _| {
        let host = host.clone();
        async move { dial::dial(&host, port).await }
    });
    let (client, mut poller) = AsyncClient::builder(options).try_build().context("MQTT options")?;
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECT.as_secs());
    poller.set_network_options(network);
    Ok((client, poller))
}

pub fn event(raw: Raw) -> Event {
    match raw {
        Raw::Incoming(Packet::Publish(p)) => Event::Message {
            topic: p.topic,
            payload: p.payload,
            retained: p.retain,
            response_topic: None,
        },
        Raw::Incoming(Packet::ConnAck(_)) => {
            Event::Connected { keep_alive: None, packet_max: None }
        }
        Raw::Incoming(Packet::PingResp) => Event::Pong,
        Raw::Outgoing(Outgoing::PingReq) => Event::Ping,
        _ => Event::Other,
    }
}

pub fn ended(error: ConnectionError) -> Ended {
    Ended { reason: reason(error), wrong_version: false }
}

fn reason(error: ConnectionError) -> String {
    use ConnectReturnCode as Code;
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            Code::NotAuthorized | Code::BadUserNamePassword => {
                "refused: not authorized; check username, password_file and certificate".into()
            }
            Code::BadClientId => "refused: the broker does not take this client_id".into(),
            code => format!("refused: {code:?}"),
        },
        ConnectionError::MqttState(error) => state(error),
        ConnectionError::NetworkTimeout => format!("no answer within {CONNECT:?}"),
        ConnectionError::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

fn state(error: StateError) -> String {
    match error {
        StateError::Deserialization(Malformed::PayloadSizeLimitExceeded(size)) => {
            format!("a message of {size} bytes exceeds message_max_kib")
        }
        StateError::Deserialization(Malformed::Io(error)) | StateError::Io(error) => {
            error.to_string()
        }
        StateError::Deserialization(error) => format!("not MQTT: {error}"),
        StateError::ConnectionAborted => "the broker closed the connection".into(),
        StateError::AwaitPingResp => "no sign of life from the broker".into(),
        error => error.to_string(),
    }
}

/// Hands a message over; resolves when the library has taken it.
pub async fn publish(
    client: &AsyncClient,
    topic: &str,
    payload: Bytes,
    qos: u8,
    retain: bool,
) -> Result<PublishNotice, Unsent> {
    let qos = if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    let options = PublishOptions::new(qos).retain(retain);
    client.publish_tracked(topic, payload, options).await.map_err(|error| match error {
        ClientError::InvalidRequest(_) => Unsent::Refused("not a topic to publish to".into()),
        _ => Unsent::Lost,
    })
}

/// Waits for the acknowledgement; 3.1.1 has no refusal.
pub async fn acknowledged(notice: PublishNotice) -> Result<(), Unsent> {
    notice.wait_async().await.map(drop).map_err(|_| Unsent::Lost)
}

pub async fn subscribe(
    client: &AsyncClient,
    wanted: &[Subscription],
) -> anyhow::Result<Vec<Option<String>>> {
    let filters = wanted.iter().map(|s| {
        let qos = if s.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        SubscribeFilter::new(s.filter.as_str().to_owned(), qos)
    });
    let notice = client.subscribe_many_tracked(filters).await.context("subscribe")?;
    let ack = notice.wait_async().await.context("subscribe")?;
    let refusal = |code: &SubscribeReasonCode| match code {
        SubscribeReasonCode::Success(_) => None,
        // 3.1.1 gives no reason.
        SubscribeReasonCode::Failure => Some("refused".to_owned()),
    };
    Ok(ack.return_codes.iter().map(refusal).collect())
}
