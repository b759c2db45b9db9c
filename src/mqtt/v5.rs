//! MQTT 5.

use std::io::ErrorKind;

use anyhow::Context;
use bytes::Bytes;
use rumqttc::mqttbytes::Error as Malformed;
use rumqttc::{
    AsyncClient, Broker, ClientError, ConnectReturnCode, ConnectionError, DisconnectReasonCode,
    Event as Raw, EventLoop, LastWill, MqttOptions, Outgoing, Packet, PubAckReason, PublishNotice,
    PublishNoticeError, PublishOptions, QoS, StateError, SubscribeFilter, SubscribeReasonCode,
    TlsConfiguration, Transport,
};

use super::wire::{CONNECT, Ended, Event, INFLIGHT, PACKETS, REQUESTS, Ticket};
use super::{Subscription, Unsent, dial};

/// The library's defaults that hurt are set: packet size (10 KiB), inflight
/// table (65536 slots), connect deadline (5 s).
pub fn open(ticket: Ticket<'_>) -> anyhow::Result<(AsyncClient, EventLoop)> {
    let to = ticket.connection;
    let name = to.tls.as_ref().map_or(&to.host, |tls| &tls.server_name);
    let mut options = MqttOptions::new(ticket.client_id, Broker::tcp(name, to.port));
    options
        .set_keep_alive(to.keep_alive.as_secs() as u16)
        .set_connect_timeout(CONNECT)
        .set_clean_start(true)
        // Also what the broker is told: it keeps larger ones back.
        .set_max_packet_size(Some(to.message_max))
        .set_outgoing_inflight_upper_limit(INFLIGHT)
        .set_read_batch_size(PACKETS)
        .set_request_channel_capacity(REQUESTS);
    if let Some(user) = &to.username {
        options.set_username(user);
    }
    match (&to.username, ticket.password) {
        (Some(user), Some(password)) => _ = options.set_credentials(user, password),
        (None, Some(password)) => _ = options.set_password(password),
        (_, None) => {}
    }
    if let Some(tls) = ticket.tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
    }
    if let Some(will) = ticket.will {
        let (topic, payload) = (will.topic, will.payload);
        options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, will.retain, None));
    }
    let (host, port) = (to.host.clone(), to.port);
    options.set_socket_connector(move |_, _| {
        let host = host.clone();
        async move { dial::dial(&host, port).await }
    });
    AsyncClient::builder(options).try_build().context("MQTT options")
}

pub fn event(raw: Raw) -> Event {
    match raw {
        Raw::Incoming(Packet::Publish(p)) => {
            let response_topic = p.properties.and_then(|p| p.response_topic);
            Event::Message {
                topic: p.topic,
                payload: p.payload,
                retained: p.retain,
                response_topic,
            }
        }
        Raw::Incoming(Packet::ConnAck(ack)) => {
            let told = ack.properties.as_ref();
            let seconds = told.and_then(|p| p.server_keep_alive);
            Event::Connected {
                keep_alive: seconds.map(|s| std::time::Duration::from_secs(s.into())),
                packet_max: told.and_then(|p| p.max_packet_size),
            }
        }
        Raw::Incoming(Packet::PingResp) => Event::Pong,
        Raw::Outgoing(Outgoing::PingReq) => Event::Ping,
        _ => Event::Other,
    }
}

pub fn ended(error: ConnectionError) -> Ended {
    Ended { wrong_version: wrong_version(&error), reason: reason(error) }
}

/// While connecting: a broker that speaks only 3.1.1 says so with its code 1,
/// in a CONNACK that is too short for MQTT 5, or hangs up.
fn wrong_version(error: &ConnectionError) -> bool {
    use ConnectReturnCode as Code;
    match error {
        ConnectionError::ConnectionRefused(code) => {
            matches!(code, Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion)
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => true,
        ConnectionError::MqttState(StateError::Deserialization(Malformed::Io(error)))
        | ConnectionError::MqttState(StateError::Io(error))
        | ConnectionError::Io(error) => matches!(
            error.kind(),
            ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
        ),
        ConnectionError::MqttState(StateError::Deserialization(_)) => true,
        _ => false,
    }
}

fn reason(error: ConnectionError) -> String {
    use ConnectReturnCode as Code;
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            Code::NotAuthorized | Code::BadUserNamePassword => {
                "refused: not authorized; check username, password_file and certificate".into()
            }
            Code::ClientIdentifierNotValid | Code::BadClientId => {
                "refused: the broker does not take this client_id".into()
            }
            Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => {
                "refused: the broker does not speak MQTT 5; leave version out, or set \"3.1.1\""
                    .into()
            }
            code => format!("refused: {code:?}"),
        },
        ConnectionError::MqttState(error) => state(error),
        ConnectionError::Timeout(_) => format!("no answer within {CONNECT:?}"),
        ConnectionError::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

fn state(error: StateError) -> String {
    match error {
        StateError::ServerDisconnect { reason_code, reason_string } => match reason_code {
            DisconnectReasonCode::SessionTakenOver => {
                "another client connected with this client_id".into()
            }
            code => {
                let more = reason_string.map_or(String::new(), |text| format!(": {text}"));
                format!("the broker ended the connection: {code:?}{more}")
            }
        },
        StateError::Deserialization(Malformed::PayloadSizeLimitExceeded { pkt_size, .. }) => {
            format!("a message of {pkt_size} bytes exceeds message_max_kib")
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

/// Waits for the acknowledgement.
pub async fn acknowledged(notice: PublishNotice) -> Result<(), Unsent> {
    notice.wait_completion_async().await.map_err(|error| match error {
        PublishNoticeError::V5PubAck(PubAckReason::NotAuthorized) => {
            Unsent::Refused("not authorized".into())
        }
        PublishNoticeError::V5PubAck(PubAckReason::QuotaExceeded) => {
            Unsent::Refused("quota exceeded".into())
        }
        PublishNoticeError::V5PubAck(code) => Unsent::Refused(format!("{code:?}")),
        PublishNoticeError::RetainNotSupported => {
            Unsent::Refused("the broker keeps no messages".into())
        }
        _ => Unsent::Lost,
    })
}

pub async fn subscribe(
    client: &AsyncClient,
    wanted: &[Subscription],
) -> anyhow::Result<Vec<Option<String>>> {
    let filters = wanted.iter().map(|s| {
        let qos = if s.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        SubscribeFilter::new(s.filter.as_str(), qos)
    });
    let notice = client.subscribe_many_tracked(filters).await.context("subscribe")?;
    let ack = notice.wait_async().await.context("subscribe")?;
    Ok(ack.return_codes.iter().map(refusal).collect())
}

fn refusal(code: &SubscribeReasonCode) -> Option<String> {
    match code {
        SubscribeReasonCode::Success(_) => None,
        SubscribeReasonCode::NotAuthorized => Some("not authorized".into()),
        SubscribeReasonCode::QuotaExceeded => Some("quota exceeded".into()),
        code => Some(format!("{code:?}")),
    }
}
