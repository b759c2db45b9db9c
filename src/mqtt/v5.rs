//! MQTT 5.

use anyhow::Context;
use rumqttc::mqttbytes::Error as Malformed;
use rumqttc::{
    AsyncClient, Broker, ConnectReturnCode, ConnectionError, DisconnectReasonCode, Event as Raw,
    EventLoop, MqttOptions, Outgoing, Packet, QoS, StateError, SubscribeFilter,
    SubscribeReasonCode, TlsConfiguration, Transport,
};

use super::wire::{CONNECT, Event, INFLIGHT, PACKETS, REQUESTS, Ticket};
use super::{Subscription, dial};

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
            Event::Message { topic: p.topic, payload: p.payload, retained: p.retain }
        }
        Raw::Incoming(Packet::ConnAck(ack)) => {
            let seconds = ack.properties.and_then(|p| p.server_keep_alive);
            Event::Connected {
                keep_alive: seconds.map(|s| std::time::Duration::from_secs(s.into())),
            }
        }
        Raw::Incoming(Packet::PingResp) => Event::Pong,
        Raw::Outgoing(Outgoing::PingReq) => Event::Ping,
        _ => Event::Other,
    }
}

pub fn reason(error: ConnectionError) -> String {
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
                "refused: the broker does not speak MQTT 5; set version = \"3.1.1\"".into()
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
