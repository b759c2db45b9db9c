//! From an offer to a session and its answer.
//!
//! Comes in: a checked [`Offer`]. Goes out: a str0m session, set up without
//! ever showing it the viewer's text, and the SDP answer. One H.264 payload
//! type is answered, the one nearest to what the feed is; further sections are
//! answered inactive or refused.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use str0m::config::{CryptoProvider, DtlsCert, Fingerprint};
use str0m::media::{MediaKind, Mid, Pt};
use str0m::rtp::Extension as Rtp;
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

use super::candidates;
use super::offer::{Extension, H264, Offer, Section};

/// Packets kept for retransmission, and for how long: more than any round
/// trip at which a retransmission still comes in time. The packets themselves
/// are shared; each viewer pays 400 bytes for one it may ask for again.
const RESEND: (usize, Duration) = (256, Duration::from_millis(600));

/// What every session shares: made once.
#[derive(Clone)]
pub struct Identity {
    crypto: Arc<CryptoProvider>,
    certificate: DtlsCert,
}

impl Identity {
    /// A new certificate, as every start makes one.
    pub fn new() -> anyhow::Result<Self> {
        let crypto = crate::web::crypto::provider();
        let certificate = (crypto.dtls_provider.generate_certificate())
            .context("whep: make a DTLS certificate")?;
        Ok(Self { crypto, certificate })
    }
}

/// A session that waits for its viewer.
pub struct Session {
    /// The machine.
    pub rtc: Rtc,
    /// The picture's section.
    pub mid: Mid,
    /// The picture's payload type.
    pub pt: Pt,
    /// SSRC of retransmissions.
    pub rtx: Option<u32>,
    /// Our user fragment: first half of the USERNAME in the viewer's checks.
    pub ufrag: String,
    /// Our password: signs the viewer's checks.
    pub password: String,
    /// The SDP answer.
    pub answer: String,
}

/// The addresses that an answer offers.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Where datagrams arrive.
    pub local: Vec<SocketAddr>,
    /// Outer addresses that lead there.
    pub extra: Vec<SocketAddr>,
}

/// H.264 profiles that differ for a decoder (RFC 6184, table 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    High,
    Other(u8),
}

fn profile(profile_level_id: u32) -> Profile {
    let [_, idc, constraints, _] = profile_level_id.to_be_bytes();
    match (idc, constraints & 0x40 != 0) {
        (66, true) => Profile::ConstrainedBaseline,
        (66, false) => Profile::Baseline,
        (77, _) => Profile::Main,
        (100, _) => Profile::High,
        (idc, _) => Profile::Other(idc),
    }
}

/// The payload type that says best what the feed is: its own profile, else
/// constrained baseline, which everyone decodes, else the viewer's first.
fn choose(offered: &[H264], feed: Option<u32>) -> Option<H264> {
    let of = |wanted| offered.iter().find(|h| profile(h.profile_level_id) == wanted);
    (feed.and_then(|id| of(profile(id))))
        .or_else(|| of(Profile::ConstrainedBaseline))
        .or(offered.first())
        .copied()
}

/// Makes a session for an offer. `feed_profile` is the profile-level-id in
/// the feed's SPS, if it has sent one. Fails if the offer has no use for H.264.
pub fn session(
    offer: &Offer,
    identity: &Identity,
    addresses: &Addresses,
    feed_profile: Option<u32>,
    now: Instant,
) -> anyhow::Result<Session> {
    let video = offer.video().context("no section that receives H.264, packetization-mode 1")?;
    let h264 = choose(&video.h264, feed_profile).context("no H.264")?;
    let creds = IceCreds::new();
    let mut config = RtcConfig::new()
        .set_crypto_provider(identity.crypto.clone())
        .set_dtls_cert(identity.certificate.clone())
        .set_local_ice_credentials(creds.clone())
        .set_ice_lite(true)
        .set_rtp_mode(true)
        .clear_codecs()
        .clear_extension_map();
    config.codec_config().add_h264(
        h264.pt.into(),
        h264.rtx.map(Pt::from),
        true,
        h264.profile_level_id,
    );
    for (id, extension) in &video.extensions {
        config = config.set_extension(*id, rtp(*extension));
    }
    let mut rtc = config.build(now);
    for at in &addresses.local {
        match Candidate::host(*at, "udp") {
            Ok(candidate) => _ = rtc.add_local_candidate(candidate),
            Err(error) => tracing::debug!(%at, "not a candidate: {error}"),
        }
    }
    let mid = Mid::from(&*video.mid);
    let mut api = rtc.direct_api();
    api.set_remote_ice_credentials(IceCreds {
        ufrag: offer.ufrag.clone(),
        pass: offer.pwd.clone(),
    });
    let bytes = offer.fingerprint.to_vec();
    api.set_remote_fingerprint(Fingerprint { hash_func: "sha-256".into(), bytes });
    api.set_ice_controlling(false);
    api.start_dtls(offer.passive).context("whep: start DTLS")?;
    if offer.data().is_some() {
        api.start_sctp(offer.passive);
    }
    api.declare_media(mid, MediaKind::Video);
    let (ssrc, rtx) = (api.new_ssrc(), h264.rtx.map(|_| api.new_ssrc()));
    let stream = api.declare_stream_tx(ssrc, rtx, mid, None);
    // No share of the whole as a limit: `Viewer::judge` knows better who asks for too much.
    stream.set_rtx_cache(RESEND.0, RESEND.1, None);
    let text = Answer {
        offer,
        video,
        h264,
        creds: &creds,
        fingerprint: api.local_dtls_fingerprint().to_string(),
        addresses,
        ssrc: *ssrc,
        rtx: rtx.map(|rtx| *rtx),
    };
    let answer = text.to_sdp();
    let rtx = rtx.map(|rtx| *rtx);
    let IceCreds { ufrag, pass: password } = creds;
    Ok(Session { rtc, mid, pt: h264.pt.into(), rtx, ufrag, password, answer })
}

fn rtp(extension: Extension) -> Rtp {
    match extension {
        Extension::Mid => Rtp::RtpMid,
        Extension::AbsCaptureTime => Rtp::AbsoluteCaptureTime,
        Extension::PlayoutDelay => Rtp::PlayoutDelay,
    }
}

/// What the answer is written from.
struct Answer<'a> {
    offer: &'a Offer,
    video: &'a Section,
    h264: H264,
    creds: &'a IceCreds,
    fingerprint: String,
    addresses: &'a Addresses,
    ssrc: u32,
    rtx: Option<u32>,
}

/// How a section is answered.
#[derive(PartialEq)]
enum Verdict {
    Picture,
    Data,
    Inactive(u8),
    Refused,
}

impl Answer<'_> {
    fn verdict(&self, section: &Section) -> Verdict {
        if std::ptr::eq(section, self.video) {
            return Verdict::Picture;
        }
        if self.offer.data().is_some_and(|data| std::ptr::eq(section, data)) {
            return Verdict::Data;
        }
        let format = match &*section.kind {
            "audio" => section.opus,
            "video" => section.h264.first().map(|h| h.pt),
            _ => None,
        };
        format.map_or(Verdict::Refused, Verdict::Inactive)
    }

    fn to_sdp(&self) -> String {
        let mut sdp = String::with_capacity(2048);
        let verdicts: Vec<_> = self.offer.sections.iter().map(|s| (s, self.verdict(s))).collect();
        let bundled = verdicts.iter().filter(|(_, v)| *v != Verdict::Refused);
        let mids: Vec<&str> = bundled.map(|(s, _)| &*s.mid).collect();
        let mut line = |args: std::fmt::Arguments| {
            // Writing to a String cannot fail.
            let _ = sdp.write_fmt(args);
            sdp.push_str("\r\n");
        };
        line(format_args!("v=0"));
        line(format_args!("o=- {} 2 IN IP4 127.0.0.1", rand::random::<u32>()));
        line(format_args!("s=-"));
        line(format_args!("t=0 0"));
        line(format_args!("a=group:BUNDLE {}", mids.join(" ")));
        line(format_args!("a=ice-lite"));
        line(format_args!("a=msid-semantic: WMS floorcast"));
        for (section, verdict) in &verdicts {
            self.section(section, verdict, mids.first() == Some(&&*section.mid), &mut line);
        }
        sdp
    }

    fn section(
        &self,
        section: &Section,
        verdict: &Verdict,
        first: bool,
        line: &mut impl FnMut(std::fmt::Arguments),
    ) {
        let Section { kind, protocol, mid, .. } = section;
        let port = if *verdict == Verdict::Refused { 0 } else { 9 };
        let format = match verdict {
            Verdict::Picture => match self.h264.rtx {
                Some(rtx) => format!("{} {rtx}", self.h264.pt),
                None => self.h264.pt.to_string(),
            },
            Verdict::Inactive(pt) => pt.to_string(),
            Verdict::Data | Verdict::Refused => section.first_format.clone(),
        };
        line(format_args!("m={kind} {port} {protocol} {format}"));
        line(format_args!("c=IN IP4 0.0.0.0"));
        line(format_args!("a=mid:{mid}"));
        if *verdict == Verdict::Refused {
            line(format_args!("a=inactive"));
            return;
        }
        line(format_args!("a=ice-ufrag:{}", self.creds.ufrag));
        line(format_args!("a=ice-pwd:{}", self.creds.pass));
        line(format_args!("a=fingerprint:{}", self.fingerprint));
        let setup = if self.offer.passive { "active" } else { "passive" };
        line(format_args!("a=setup:{setup}"));
        if first {
            self.candidates(line);
        }
        match verdict {
            Verdict::Picture => self.picture(section, line),
            Verdict::Data => {
                line(format_args!("a=sctp-port:5000"));
                line(format_args!("a=max-message-size:65536"));
            }
            Verdict::Inactive(pt) => {
                let map = if kind == "audio" { "opus/48000/2" } else { "H264/90000" };
                line(format_args!("a=inactive"));
                line(format_args!("a=rtcp-mux"));
                line(format_args!("a=rtpmap:{pt} {map}"));
                if kind == "video" {
                    line(format_args!("a=fmtp:{pt} packetization-mode=1"));
                }
            }
            Verdict::Refused => {}
        }
    }

    fn candidates(&self, line: &mut impl FnMut(std::fmt::Arguments)) {
        for (i, at) in self.addresses.local.iter().enumerate() {
            // RFC 8445, 5.1.2.1: type host, earlier addresses preferred.
            let priority = (126u32 << 24) + ((65535 - i as u32) << 8) + 255;
            let (ip, port) = (at.ip(), at.port());
            line(format_args!("a=candidate:{i} 1 udp {priority} {ip} {port} typ host"));
        }
        for extra in candidates::extra_lines(&self.addresses.extra) {
            line(format_args!("{extra}"));
        }
        line(format_args!("a=end-of-candidates"));
    }

    fn picture(&self, section: &Section, line: &mut impl FnMut(std::fmt::Arguments)) {
        let H264 { pt, rtx, profile_level_id, rrtr } = self.h264;
        for (id, extension) in &section.extensions {
            line(format_args!("a=extmap:{id} {}", extension.uri()));
        }
        line(format_args!("a=sendonly"));
        line(format_args!("a=msid:floorcast picture"));
        line(format_args!("a=rtcp-mux"));
        line(format_args!("a=rtcp-rsize"));
        line(format_args!("a=rtpmap:{pt} H264/90000"));
        line(format_args!(
            "a=fmtp:{pt} level-asymmetry-allowed=1;packetization-mode=1;\
             profile-level-id={profile_level_id:06x}"
        ));
        line(format_args!("a=rtcp-fb:{pt} nack"));
        line(format_args!("a=rtcp-fb:{pt} nack pli"));
        line(format_args!("a=rtcp-fb:{pt} ccm fir"));
        if rrtr {
            line(format_args!("a=rtcp-fb:{pt} rrtr"));
        }
        // Chromium takes the first source it reads for the picture, whatever
        // the group says: the one for repairs comes after it.
        let ssrc = self.ssrc;
        let repairs = rtx.zip(self.rtx);
        if let Some((rtx, rtx_ssrc)) = repairs {
            line(format_args!("a=rtpmap:{rtx} rtx/90000"));
            line(format_args!("a=fmtp:{rtx} apt={pt}"));
            line(format_args!("a=ssrc-group:FID {ssrc} {rtx_ssrc}"));
        }
        line(format_args!("a=ssrc:{ssrc} cname:floorcast"));
        if let Some((_, rtx_ssrc)) = repairs {
            line(format_args!("a=ssrc:{rtx_ssrc} cname:floorcast"));
        }
    }
}
