//! Reading a viewer's offer.
//!
//! Comes in: SDP text from anyone (RFC 8866, 8829), at most [`LARGEST`]. Goes
//! out: the few facts that a session needs, each checked. Everything else of
//! the text is left unread: no candidates (a lite agent learns its peer from
//! the checks it gets, RFC 8445, 7.3.1.3), no other codecs. An offer that
//! breaks the grammar where it matters is an error that names the line.

use anyhow::{Context, bail, ensure};

/// Largest offer accepted, bytes. Browsers send about 8 kB.
pub const LARGEST: usize = 64 << 10;
/// More media sections than this are nobody's honest offer.
const SECTIONS: usize = 16;

/// What an offer asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// ICE user fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// The viewer insists on being the DTLS server.
    pub passive: bool,
    /// In order; the answer has as many.
    pub sections: Vec<Section>,
}

/// One media section.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Section {
    /// `video`, `audio`, `application` or what it says.
    pub kind: String,
    /// Transport: `UDP/TLS/RTP/SAVPF`.
    pub protocol: String,
    /// The first format, for a section that is refused.
    pub first_format: String,
    /// `a=mid`.
    pub mid: String,
    /// The viewer wants to receive.
    pub receives: bool,
    /// H.264 with packetization-mode 1, by preference.
    pub h264: Vec<H264>,
    /// Payload type of Opus.
    pub opus: Option<u8>,
    /// Header extensions of interest and their ids.
    pub extensions: Vec<(u8, Extension)>,
}

/// One H.264 payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct H264 {
    /// Payload type.
    pub pt: u8,
    /// Payload type of its retransmissions.
    pub rtx: Option<u8>,
    /// Profile, constraints and level: `0x42e01f`.
    pub profile_level_id: u32,
    /// Takes receiver reference time reports (RFC 3611, 4.4).
    pub rrtr: bool,
}

/// Header extensions that we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// RFC 8843, 15.
    Mid,
    /// Capture time of the frame.
    AbsCaptureTime,
    /// How long the viewer waits before it shows a frame.
    PlayoutDelay,
}

impl Extension {
    const ALL: [Self; 3] = [Self::Mid, Self::AbsCaptureTime, Self::PlayoutDelay];

    /// Its URI in `a=extmap`.
    pub fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Self::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
        }
    }
}

impl Offer {
    /// Reads an offer.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        ensure!(text.len() <= LARGEST, "the offer is larger than {LARGEST} bytes");
        ensure!(text.starts_with("v=0"), "an offer starts with v=0");
        let mut lines = text.lines().map(str::trim_end).peekable();
        let mut transport = Transport::default();
        while let Some(line) = lines.next_if(|line| !line.starts_with("m=")) {
            transport.read(line)?;
        }
        let mut sections: Vec<Section> = Vec::new();
        while let Some(line) = lines.next() {
            ensure!(sections.len() < SECTIONS, "more than {SECTIONS} media sections");
            let mut section = Draft::new(line)?;
            while let Some(line) = lines.next_if(|line| !line.starts_with("m=")) {
                transport.read(line)?;
                section.read(line).with_context(|| format!("in {:?}", shorten(line)))?;
            }
            let section = section.finish(sections.len())?;
            ensure!(sections.iter().all(|s| s.mid != section.mid), "a=mid is not unique");
            sections.push(section);
        }
        ensure!(!sections.is_empty(), "no media section");
        ensure!(!transport.lite, "both sides cannot be ice-lite");
        Ok(Self {
            ufrag: transport.ufrag.context("no a=ice-ufrag")?,
            pwd: transport.pwd.context("no a=ice-pwd")?,
            fingerprint: transport.fingerprint.context("no a=fingerprint:sha-256")?,
            passive: transport.passive,
            sections,
        })
    }

    /// The section that gets the picture.
    pub fn video(&self) -> Option<&Section> {
        self.sections.iter().find(|s| s.kind == "video" && s.receives && !s.h264.is_empty())
    }

    /// The section of data channels.
    pub fn data(&self) -> Option<&Section> {
        self.sections.iter().find(|s| s.is_data())
    }
}

impl Section {
    /// SCTP over DTLS (RFC 8841).
    pub fn is_data(&self) -> bool {
        self.kind == "application" && self.first_format == "webrtc-datachannel"
    }
}

fn shorten(line: &str) -> String {
    line.chars().take(60).collect()
}

/// What all sections share: they are bundled, so the first of each counts.
#[derive(Default)]
struct Transport {
    ufrag: Option<String>,
    pwd: Option<String>,
    fingerprint: Option<[u8; 32]>,
    passive: bool,
    lite: bool,
}

impl Transport {
    fn read(&mut self, line: &str) -> anyhow::Result<()> {
        let Some(attribute) = line.strip_prefix("a=") else { return Ok(()) };
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name {
            "ice-ufrag" if self.ufrag.is_none() => self.ufrag = Some(ice_text(value, 4, 256)?),
            "ice-pwd" if self.pwd.is_none() => self.pwd = Some(ice_text(value, 22, 256)?),
            "fingerprint" if self.fingerprint.is_none() => self.fingerprint = sha256(value),
            "setup" => self.passive = value == "passive",
            "ice-lite" => self.lite = true,
            _ => {}
        }
        Ok(())
    }
}

/// `ice-char`s of a length (RFC 8839, 5.4), and `-`, `_`, `=` as some write.
fn ice_text(value: &str, least: usize, most: usize) -> anyhow::Result<String> {
    let legal = value.chars().all(|c| c.is_ascii_alphanumeric() || "+/-_=".contains(c));
    ensure!(legal && (least..=most).contains(&value.len()), "a=ice-ufrag or a=ice-pwd malformed");
    Ok(value.to_owned())
}

/// `sha-256 AB:CD:…`; nothing for another hash or if malformed.
fn sha256(value: &str) -> Option<[u8; 32]> {
    let (hash, hex) = value.split_once(' ')?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = [0; 32];
    let mut parts = hex.trim().split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

/// A section while its lines are read.
#[derive(Default)]
struct Draft {
    section: Section,
    /// Payload types in the order of the m-line.
    formats: Vec<u8>,
    /// `(payload type, encoding name in lower case, clock)`.
    maps: Vec<(u8, String, u32)>,
    parameters: Vec<(u8, String)>,
    rrtr: Vec<u8>,
}

/// Payload types per section; there are only 128.
const FORMATS: usize = 128;

impl Draft {
    /// From `m=video 9 UDP/TLS/RTP/SAVPF 96 97`.
    fn new(line: &str) -> anyhow::Result<Self> {
        let mut words = line.strip_prefix("m=").context("not a media section")?.split(' ');
        let mut word = |what| words.next().filter(|w| token(w)).context(what);
        let kind = word("m= without a media type")?.to_owned();
        let port = word("m= without a port")?;
        ensure!(port.parse::<u16>().is_ok(), "m= with port {:?}", shorten(port));
        let protocol = word("m= without a protocol")?.to_owned();
        let first_format = word("m= without a format")?.to_owned();
        let formats: Vec<u8> = (std::iter::once(&*first_format).chain(words))
            .filter_map(|w| w.parse().ok())
            .take(FORMATS)
            .collect();
        let receives = true;
        let section = Section { kind, protocol, first_format, receives, ..Section::default() };
        Ok(Self { section, formats, ..Self::default() })
    }

    fn read(&mut self, line: &str) -> anyhow::Result<()> {
        let Some(attribute) = line.strip_prefix("a=") else { return Ok(()) };
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        let full = |len: usize| len >= FORMATS;
        match name {
            "mid" => {
                ensure!(token(value) && value.len() <= 16, "a=mid takes 1 to 16 characters");
                ensure!(self.section.mid.is_empty(), "a second a=mid");
                self.section.mid = value.to_owned();
            }
            "sendonly" | "inactive" => self.section.receives = false,
            "rtpmap" if !full(self.maps.len()) => {
                let (pt, map) = numbered(value)?;
                let mut parts = map.split('/');
                let name = parts.next().unwrap_or("").to_ascii_lowercase();
                let clock = parts.next().and_then(|c| c.trim().parse().ok()).unwrap_or(0);
                self.maps.push((pt, name, clock));
            }
            "fmtp" if !full(self.parameters.len()) => {
                let (pt, parameters) = numbered(value)?;
                self.parameters.push((pt, parameters.to_owned()));
            }
            "rtcp-fb" if value.ends_with(" rrtr") && !full(self.rrtr.len()) => {
                self.rrtr.push(numbered(value)?.0);
            }
            "extmap" => {
                let (id, uri) = value.split_once(' ').context("a=extmap without a URI")?;
                let id = id.split('/').next().unwrap_or(id);
                let id: u8 = id.parse().context("a=extmap without an id")?;
                let uri = uri.split(' ').next().unwrap_or(uri);
                let known = Extension::ALL.into_iter().find(|e| e.uri() == uri);
                let free =
                    |taken: &[(u8, Extension)], e| taken.iter().all(|t| t.0 != id && t.1 != e);
                if let Some(extension) = known
                    && (1..=14).contains(&id)
                    && free(&self.section.extensions, extension)
                {
                    self.section.extensions.push((id, extension));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self, index: usize) -> anyhow::Result<Section> {
        if self.section.mid.is_empty() {
            bail!("media section {index} has no a=mid");
        }
        for pt in &self.formats {
            let Some((_, name, clock)) = self.maps.iter().find(|(p, ..)| p == pt) else { continue };
            if name == "opus" && self.section.opus.is_none() {
                self.section.opus = Some(*pt);
            }
            // Dynamic, and not what RTCP occupies when multiplexed (RFC 5761).
            let usable = (96..=127).contains(pt) || (35..=63).contains(pt);
            if name == "h264" && *clock == 90_000 && usable && self.mode_1(*pt) {
                let rtx = (self.maps.iter())
                    .filter(|(p, name, _)| name == "rtx" && self.formats.contains(p) && p != pt)
                    .find(|(p, ..)| self.parameter(*p, "apt") == Some(&pt.to_string()))
                    .map(|(p, ..)| *p);
                let profile = self.parameter(*pt, "profile-level-id").filter(|p| p.len() == 6);
                let profile = profile.and_then(|p| u32::from_str_radix(p, 16).ok());
                // Without one it is Baseline, level 1 (RFC 6184, 8.1).
                let profile_level_id = profile.unwrap_or(0x42_00_0a);
                let rrtr = self.rrtr.contains(pt);
                self.section.h264.push(H264 { pt: *pt, rtx, profile_level_id, rrtr });
            }
        }
        Ok(self.section)
    }

    fn mode_1(&self, pt: u8) -> bool {
        self.parameter(pt, "packetization-mode") == Some("1")
    }

    /// A format parameter: `a=fmtp:<pt> name=value;…`.
    fn parameter(&self, pt: u8, name: &str) -> Option<&str> {
        let of_pt = self.parameters.iter().filter(|(p, _)| *p == pt);
        let mut pairs = of_pt.flat_map(|(_, text)| text.split(';'));
        pairs.find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// `<number> <rest>`.
fn numbered(value: &str) -> anyhow::Result<(u8, &str)> {
    let (number, rest) = value.split_once(' ').context("a payload type and more expected")?;
    Ok((number.parse().context("not a payload type")?, rest.trim()))
}

/// Printable ASCII without spaces: safe to repeat in an answer.
fn token(word: &str) -> bool {
    !word.is_empty() && word.len() <= 80 && word.chars().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
