//! Offers of real browsers, of other clients, and of nobody honest.

use super::*;
use proptest::prelude::*;

/// Chromium's, shortened to what differs: many codecs, extensions, rrtr.
const CHROMIUM: &str = "v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
a=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96 97 103 104 109 114 117 118\r\nc=IN IP4 0.0.0.0\r\n\
a=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdefghijklmn\r\n\
a=ice-options:trickle\r\na=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:\
00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\na=setup:actpass\r\na=mid:0\r\n\
a=extmap:1 urn:ietf:params:rtp-hdrext:toffset\r\n\
a=extmap:4 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay\r\n\
a=extmap:9 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
a=extmap:14 http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time\r\n\
a=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\n\
a=fmtp:97 apt=96\r\na=rtpmap:103 H264/90000\r\na=rtcp-fb:103 nack pli\r\n\
a=fmtp:103 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
a=rtpmap:104 rtx/90000\r\na=fmtp:104 apt=103\r\na=rtpmap:109 H264/90000\r\n\
a=rtcp-fb:109 rrtr\r\n\
a=fmtp:109 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
a=rtpmap:114 rtx/90000\r\na=fmtp:114 apt=109\r\na=rtpmap:117 H264/90000\r\n\
a=fmtp:117 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r\n\
a=rtpmap:118 rtx/90000\r\na=fmtp:118 apt=117\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
a=ice-pwd:0123456789abcdefghijklmn\r\na=setup:actpass\r\na=mid:1\r\na=sctp-port:5000\r\n\
a=max-message-size:262144\r\n";

/// Only H.264 in packetization-mode 1 counts, with its own retransmission type.
#[test]
fn a_browsers_offer_is_read() {
    let offer = Offer::parse(CHROMIUM).expect("a valid offer");
    let video = offer.video().expect("video");
    let base = H264 { pt: 103, rtx: Some(104), profile_level_id: 0x42001f, rrtr: false };
    let constrained = H264 { pt: 109, rtx: Some(114), profile_level_id: 0x42e01f, rrtr: true };
    assert_eq!(video.h264, [base, constrained]);
    assert_eq!(
        video.extensions,
        [(4, Extension::PlayoutDelay), (9, Extension::Mid), (14, Extension::AbsCaptureTime)]
    );
    assert_eq!(offer.data().map(|s| &*s.mid), Some("1"));
    assert_eq!((&*offer.ufrag, offer.fingerprint[1], offer.passive), ("abcd", 0x11, false));
}

/// What is missing or twice there is named, never guessed.
#[test]
fn what_a_session_needs_cannot_be_missing() {
    for (cut, told) in [
        ("a=ice-ufrag:abcd\r\n", "no a=ice-ufrag"),
        ("a=fingerprint:sha-256", "no a=fingerprint"),
        ("a=mid:0\r\n", "no a=mid"),
        ("v=0\r\n", "starts with v=0"),
    ] {
        let error = Offer::parse(&CHROMIUM.replace(cut, "")).expect_err(cut);
        assert!(format!("{error:#}").contains(told), "{error:#}");
    }
    let twice = CHROMIUM.replace("a=mid:1", "a=mid:0");
    assert!(Offer::parse(&twice).is_err());
    let no_mode_1 = CHROMIUM.replace("packetization-mode=1", "packetization-mode=0");
    assert_eq!(Offer::parse(&no_mode_1).expect("valid").video(), None);
}

/// A section that only sends wants no picture.
#[test]
fn a_section_that_does_not_receive_is_no_viewer() {
    let offer = Offer::parse(&CHROMIUM.replace("a=recvonly", "a=sendonly")).expect("valid");
    assert_eq!(offer.video(), None);
}

proptest! {
    /// Lines cut, doubled, swapped and scribbled over: an answer or an error,
    /// never a panic, also in the session that is made from it.
    #[test]
    fn no_offer_makes_it_panic(
        edits in proptest::collection::vec((0usize..60, 0u8..6, any::<u8>(), 0usize..80), 1..6)
    ) {
        let mut lines: Vec<Vec<u8>> =
            CHROMIUM.split("\r\n").map(|l| l.as_bytes().to_vec()).collect();
        for (line, what, byte, at) in edits {
            let line = line % lines.len();
            match what {
                0 => _ = lines.remove(line),
                1 => lines.insert(line, lines[line].clone()),
                2 => lines.swap(line, at % line.max(1)),
                3 => {
                    if let Some(b) = lines[line].get_mut(at) {
                        *b = byte & 0x7f;
                    }
                }
                4 => lines[line].truncate(at),
                _ => lines[line].extend(std::iter::repeat_n(byte & 0x7f, at * 20)),
            }
            if lines.is_empty() {
                lines.push(Vec::new());
            }
        }
        let text = lines.join(&b"\r\n"[..]);
        if let Ok(text) = std::str::from_utf8(&text)
            && let Ok(offer) = Offer::parse(text)
        {
            let identity = identity();
            let local = vec!["127.0.0.1:1".parse().expect("address")];
            let addresses = crate::web::whep::answer::Addresses { local, extra: Vec::new() };
            let now = std::time::Instant::now();
            let made = crate::web::whep::answer::session(&offer, identity, &addresses, None, now);
            if let Ok(made) = made {
                prop_assert!(made.answer.lines().all(|l| l.as_bytes().get(1) == Some(&b'=')));
            }
        }
    }

    /// Nor does plain noise.
    #[test]
    fn no_text_makes_it_panic(text in "(v=0\r\n)?((m|a|c|b)=[ -~]{0,40}\r\n){0,20}") {
        let _ = Offer::parse(&text);
    }
}

fn identity() -> &'static crate::web::whep::answer::Identity {
    static ONE: std::sync::OnceLock<crate::web::whep::answer::Identity> =
        std::sync::OnceLock::new();
    ONE.get_or_init(|| crate::web::whep::answer::Identity::new().expect("a certificate"))
}
