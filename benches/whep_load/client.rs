//! A WHEP viewer that is not a browser: plain HTTP, str0m as the client.
//!
//! In: a WHEP URL. Out: RTP packets and messages, one at a time. Nothing in it
//! knows the server, so it can be pointed at any.

#[path = "port.rs"]
mod port;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use str0m::change::SdpAnswer;
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, RtpPacket};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep_until, timeout};

/// An HTTP answer that is not what was asked for.
#[derive(Debug)]
pub struct Refused {
    /// Status code.
    pub status: u16,
    /// `Retry-After`, seconds.
    pub retry_after: Option<u64>,
    /// The body.
    pub body: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HTTP {}: {}", self.status, self.body.trim())
    }
}

impl std::error::Error for Refused {}

/// An HTTP answer.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of a name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| &**v)
    }
}

/// `http://host:port/path` in its parts.
pub fn split_url(url: &str) -> anyhow::Result<(String, String)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url}: not http://"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    Ok((host, format!("/{path}")))
}

/// One request on its own connection.
pub async fn http(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Answer> {
    let (host, path) = split_url(url)?;
    let mut stream = TcpStream::connect(&host).await.with_context(|| format!("connect {host}"))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.context("send the request")?;
    // A server may answer and close before it has read a body it refuses.
    let _ = stream.write_all(body).await;
    let mut all = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut all)).await;
    if let Err(error) = read.context("no answer in 10 s")?
        && all.is_empty()
    {
        return Err(error).context("read the answer");
    }
    parse(&all)
}

fn parse(all: &[u8]) -> anyhow::Result<Answer> {
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").context("no end of head")?;
    let head = std::str::from_utf8(&all[..end]).context("head is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|l| l.split(' ').nth(1)?.parse().ok()).context("status")?;
    let headers: Vec<_> = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let mut body = all[end + 4..].to_vec();
    if headers.iter().any(|(n, v)| n == "transfer-encoding" && v.contains("chunked")) {
        body = unchunk(&body)?;
    }
    Ok(Answer { status, headers, body })
}

fn unchunk(mut rest: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n").context("chunk without a size")?;
        let size = std::str::from_utf8(&rest[..end])?.split(';').next().unwrap_or("").trim();
        let size = usize::from_str_radix(size, 16).context("chunk size")?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(body);
        }
        ensure!(rest.len() >= size + 2, "chunk cut off");
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}

/// What a viewer notices.
#[derive(Debug)]
pub enum Notice {
    /// ICE and DTLS are through.
    Connected,
    /// A packet of the picture, resent ones included.
    Packet(Box<RtpPacket>),
    /// The telemetry channel is open.
    Channel,
    /// A message on it.
    Message(String),
    /// The server said good-bye, or vanished.
    Gone,
}

/// What to ask for.
pub struct Ask {
    /// Opens a channel for figures.
    pub telemetry: bool,
    /// Offers retransmission.
    pub resend: bool,
    /// Takes bursts in one piece.
    pub gro: bool,
}

/// Decides which incoming datagrams are lost.
pub type Lose = Box<dyn FnMut(&[u8]) -> bool + Send + Sync>;

/// One viewer.
pub struct Viewer {
    /// The session's URL, for DELETE.
    pub location: String,
    /// The SDP answer.
    pub answer: String,
    /// Incoming datagrams for which this is true are lost.
    pub lose: Lose,
    rtc: Rtc,
    port: port::Port,
    local: SocketAddr,
    channel: Option<ChannelId>,
    wake: Instant,
    notices: VecDeque<Notice>,
}

impl Viewer {
    /// Opens a session at a WHEP URL.
    pub async fn open(url: &str, ask: Ask) -> anyhow::Result<Self> {
        let (host, _) = split_url(url)?;
        let server = tokio::net::lookup_host(&host).await?.next().context("no such host")?;
        let local = local_ip(server).await?;
        let port = port::Port::bind((local, 0).into(), ask.gro).await.context("bind a UDP port")?;
        let local = port.address()?;
        let mut config = RtcConfig::new()
            .set_crypto_provider(floorcast::web::crypto::provider())
            .set_rtp_mode(true)
            .clear_codecs()
            .set_extension(7, Extension::AbsoluteCaptureTime)
            .set_extension(8, Extension::PlayoutDelay);
        let resend = ask.resend.then(|| 97.into());
        config.codec_config().add_h264(96.into(), resend, true, 0x42e01f);
        let mut rtc = config.build(Instant::now());
        rtc.add_local_candidate(Candidate::host(local, "udp")?);
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let channel = ask.telemetry.then(|| {
            changes.add_channel_with_config(ChannelConfig {
                label: "telemetry".into(),
                ordered: false,
                reliability: Reliability::MaxRetransmits { retransmits: 0 },
                ..ChannelConfig::default()
            })
        });
        let (offer, pending) = changes.apply().context("nothing to offer")?;
        let sdp = offer.to_sdp_string();
        let made =
            http("POST", url, &[("Content-Type", "application/sdp")], sdp.as_bytes()).await?;
        let text = String::from_utf8_lossy(&made.body).into_owned();
        if made.status != 201 {
            let retry_after = made.header("retry-after").and_then(|v| v.parse().ok());
            bail!(Refused { status: made.status, retry_after, body: text });
        }
        let location = made.header("location").context("201 without Location")?;
        let location = match location.starts_with('/') {
            true => format!("http://{host}{location}"),
            false => location.to_owned(),
        };
        let answer = SdpAnswer::from_sdp_string(&text).context("read the answer")?;
        rtc.sdp_api().accept_answer(pending, answer).context("take the answer")?;
        Ok(Self {
            location,
            answer: text,
            lose: Box::new(|_| false),
            rtc,
            port,
            local,
            channel,
            wake: Instant::now(),
            notices: VecDeque::new(),
        })
    }

    /// The next thing that happens.
    pub async fn next(&mut self) -> anyhow::Result<Notice> {
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return Ok(notice);
            }
            self.drain()?;
            if !self.notices.is_empty() {
                continue;
            }
            if !self.rtc.is_alive() {
                return Ok(Notice::Gone);
            }
            tokio::select! {
                ready = self.port.readable() => {
                    ready?;
                    self.read()?;
                }
                () = sleep_until(self.wake.into()) => {
                    self.rtc.handle_input(Input::Timeout(Instant::now()))?;
                }
            }
        }
    }

    fn read(&mut self) -> anyhow::Result<()> {
        for _ in 0..64 {
            let (from, pieces) = match self.port.read() {
                Ok(got) => got,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // An ICMP error: the server is gone.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => break,
                Err(error) => return Err(error.into()),
            };
            for piece in pieces {
                let data = self.port.bytes(piece);
                if (self.lose)(data) {
                    continue;
                }
                let now = Instant::now();
                if let Ok(receive) = Receive::new(Protocol::Udp, from, self.local, data) {
                    self.rtc.handle_input(Input::Receive(now, receive))?;
                }
                self.drain()?;
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> anyhow::Result<()> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => {
                    self.wake = at;
                    return Ok(());
                }
                Output::Transmit(t) => self.port.send(&t.contents, t.destination),
                Output::Event(event) => self.event(event),
            }
        }
    }

    fn event(&mut self, event: Event) {
        let notice = match event {
            Event::Connected => Notice::Connected,
            Event::RtpPacket(packet) => Notice::Packet(Box::new(packet)),
            Event::ChannelOpen(id, _) if Some(id) == self.channel => Notice::Channel,
            Event::ChannelData(data) => {
                Notice::Message(String::from_utf8_lossy(&data.data).into_owned())
            }
            Event::Closed => Notice::Gone,
            _ => return,
        };
        self.notices.push_back(notice);
    }

    /// Sends a text message on the telemetry channel.
    pub fn say(&mut self, text: &str) -> anyhow::Result<()> {
        let channel = self.channel.context("no channel")?;
        let mut channel = self.rtc.channel(channel).context("the channel is not open")?;
        ensure!(channel.write(false, text.as_bytes())?, "the channel is full");
        self.rtc.handle_input(Input::Timeout(Instant::now()))?;
        self.drain()
    }

    /// DELETEs the session; the status.
    pub async fn delete(&self) -> anyhow::Result<u16> {
        Ok(http("DELETE", &self.location, &[], b"").await?.status)
    }
}

/// The address of ours that reaches a server.
async fn local_ip(server: SocketAddr) -> anyhow::Result<IpAddr> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let probe = UdpSocket::bind(any).await?;
    probe.connect(server).await.context("no way to the server")?;
    Ok(probe.local_addr()?.ip())
}

/// Puts a viewer's packets in order and counts what is missing.
#[derive(Default, Clone, Debug)]
pub struct Tally {
    /// Packets that came, resent ones included.
    pub packets: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Packets that were missing when a later one came.
    pub gaps: u64,
    /// Of these, those that came after all.
    pub healed: u64,
    /// Frames whose last packet came.
    pub frames: u64,
    first: Option<u64>,
    highest: u64,
}

impl Tally {
    /// Counts a packet.
    pub fn add(&mut self, packet: &RtpPacket) {
        let seq = *packet.seq_no;
        self.packets += 1;
        self.bytes += packet.payload.len() as u64;
        self.frames += u64::from(packet.header.marker);
        match self.first {
            None => {
                self.first = Some(seq);
                self.highest = seq;
            }
            Some(_) if seq > self.highest => {
                self.gaps += seq - self.highest - 1;
                self.highest = seq;
            }
            Some(_) => self.healed += 1,
        }
    }

    /// Packets that never came.
    pub fn lost(&self) -> u64 {
        self.gaps.saturating_sub(self.healed)
    }
}
