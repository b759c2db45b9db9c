//! A studio in this process: one feed, some tags, real ports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use floorcast::capture::timing::STEP;
use floorcast::clock::{self, WallClock};
use floorcast::config::studio::{Site, Studio, Web};
use floorcast::feed::board::Board;
use floorcast::feed::ring::Ring;
use floorcast::model::{Captured, Frame, Label, Mono, Quality, Sample, Source, Tag, TagId, Value};
use floorcast::status::{State, Status};
use floorcast::web::{self, FeedInfo, Listeners, Showing, StudioInfo, Tuning};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::client::Ask;

/// A viewer that wants the picture only.
pub const PLAIN: Ask = Ask { telemetry: false, resend: true, gro: false };

/// Longer than anything here takes, on a machine that does other things too.
pub const SOON: Duration = Duration::from_secs(10);

pub struct House {
    pub ring: Arc<Ring>,
    pub board: Arc<Board>,
    pub url: String,
    pub whep: String,
    pub media: SocketAddr,
    pub wall: Arc<WallClock>,
    pub stop: CancellationToken,
    pub served: tokio::task::JoinHandle<anyhow::Result<()>>,
    pub seq: u64,
}

pub fn tag(id: u32, public: bool) -> Tag {
    Tag {
        id: TagId(id),
        name: format!("tag-{id}").into(),
        label: Label { zh: "标签".into(), en: "Tag".into() },
        unit: "°C".into(),
        decimals: 1,
        range: Some((0.0, 100.0)),
        warn: (None, Some(90.0)),
        stale_after: Duration::from_secs(2),
        public,
        source: Source::Broker("test".into()),
    }
}

pub fn sample(tag: u32, value: i128, taken: Mono) -> Sample {
    Sample {
        tag: TagId(tag),
        value: Value::Int(value),
        quality: Quality::Good,
        reason: None,
        taken,
        error: Duration::from_micros(250),
        requested: taken,
        received: taken,
    }
}

/// An access unit that is not decodable but has the right shape.
pub fn access_unit(seq: u64, key: bool, len: usize) -> Vec<u8> {
    let filler = |n: usize| (0..n).map(move |i| 1 + ((seq as usize + i) % 250) as u8);
    let mut data = Vec::new();
    if key {
        data.extend([0, 0, 0, 1, 0x67, 0x42, 0xe0, 0x1f, 0xaa]);
        data.extend([0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80]);
    }
    data.extend([0, 0, 0, 1, if key { 0x65 } else { 0x41 }]);
    data.extend(filler(len));
    data
}

impl House {
    pub async fn open() -> Self {
        Self::with(10, Tuning::default()).await
    }

    pub async fn with(viewers: u32, tuning: Tuning) -> Self {
        let tags: Arc<[Tag]> = vec![tag(0, true), tag(1, false), tag(2, true)].into();
        let (ring, board) = (Ring::new("cam".into()), Board::new(tags));
        let feed = FeedInfo {
            id: "cam".into(),
            name: Label { zh: "相机".into(), en: "Camera".into() },
            width: 640,
            height: 360,
            fps: 25.0,
            ring: ring.clone(),
            profile: Arc::default(),
        };
        let wall = Arc::new(WallClock::new());
        let status = Status::new();
        status.set("feed/cam", State::Live, "");
        let showing = Showing {
            number: 1,
            site: Site { site: "site".into(), id: "box".into() },
            studio: Studio {
                name: Label::default(),
                brand: Label::default(),
                accent: "#d98a1f".into(),
                logo: None,
                figures: vec![TagId(2)],
            },
            feeds: vec![feed],
        };
        let info = StudioInfo {
            showing: watch::channel(Arc::new(showing)).1,
            board: board.clone(),
            wall: wall.clone(),
            status,
        };
        let web = Web {
            listen: ([127, 0, 0, 1], 0).into(),
            media: ([127, 0, 0, 1], 0).into(),
            extra_addresses: vec!["203.0.113.7:30000".parse().expect("address")],
            viewers_max: viewers,
            cors_origins: vec!["*".into()],
        };
        let listeners = Listeners::bind(&web).expect("free ports");
        let url = format!("http://{}", listeners.tcp().expect("address"));
        let media = listeners.udp().expect("address");
        let stop = CancellationToken::new();
        let serve = web::serve(listeners, web, Arc::new(info), tuning, stop.clone());
        let served = tokio::spawn(serve);
        Self {
            ring,
            board,
            whep: format!("{url}/whep/cam"),
            url,
            media,
            wall,
            stop,
            served,
            seq: 0,
        }
    }

    /// Pushes a frame captured now; its capture time.
    pub fn frame(&mut self, key: bool) -> Mono {
        self.frame_of(key, 3000)
    }

    pub fn frame_of(&mut self, key: bool, len: usize) -> Mono {
        self.push(key, access_unit(self.seq, key, len))
    }

    pub fn push(&mut self, key: bool, data: Vec<u8>) -> Mono {
        // As capture keeps it: no two frames of a feed share an RTP time.
        let after = self.ring.newest().map(|frame| frame.captured.at + STEP);
        let (at, data) = (clock::now().max(after.unwrap_or(Mono(0))), data.into());
        let captured = Captured { at, error: Duration::ZERO };
        self.ring.push(Frame { seq: self.seq, captured, encoded: at, key, data });
        self.seq += 1;
        at
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// RTP, not RTCP (RFC 5761).
pub fn is_rtp(data: &[u8]) -> bool {
    matches!(data, [128..=191, second, ..] if !(64..96).contains(&(second & 0x7f)))
}

/// An offer that is in order, of a viewer that will never come.
pub fn offer() -> String {
    let lines = [
        "v=0",
        "o=- 1 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "c=IN IP4 0.0.0.0",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:0123456789abcdefghijklmn",
        &format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":")),
        "a=setup:actpass",
        "a=mid:0",
        "a=recvonly",
        "a=rtcp-mux",
        "a=rtpmap:96 H264/90000",
        "a=fmtp:96 packetization-mode=1;profile-level-id=42e01f",
    ];
    lines.map(|line| format!("{line}\r\n")).concat()
}
