//! STUN connectivity checks (RFC 8489, RFC 8445), as far as the engine reads them itself.
//!
//! Comes in: a datagram of anyone. Goes out: whose session it is for, and the
//! check that chooses its path at once. Pure.

use ring::hmac;

const HEADER: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0, 1];
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const USE_CANDIDATE: u16 = 0x0025;
const INTEGRITY_LEN: usize = 20;

/// Our user fragment in a binding request (RFC 8489, 14.3; RFC 8445, 7.2.2:
/// `ours:theirs`).
pub fn ufrag(data: &[u8]) -> Option<&str> {
    let (_, name) = attributes(data)?.find(|(at, _)| kind(data, *at) == USERNAME)?;
    std::str::from_utf8(name).ok()?.split_once(':').map(|(ours, _)| ours)
}

/// The same check with USE-CANDIDATE (RFC 8445, 7.1.2), signed with our
/// `password`; nothing if it has that already, or is none.
///
/// A viewer's first check that carries the password proves a path that works.
/// Chromium sends its DTLS greeting over it at once, but says 50 ms later that
/// it will use it; an ICE-lite session would let the greeting lie until then.
pub fn choosing(data: &[u8], password: &str) -> Option<Vec<u8>> {
    let mut integrity = None;
    for (at, _) in attributes(data)? {
        match kind(data, at) {
            USE_CANDIDATE => return None,
            // What follows is the fingerprint, which nobody asks for.
            MESSAGE_INTEGRITY => integrity = integrity.or(Some(at)),
            _ => {}
        }
    }
    let end = integrity?;
    let mut check = data[..end].to_vec();
    check.extend(USE_CANDIDATE.to_be_bytes());
    check.extend([0, 0]);
    let len = check.len() - HEADER + 4 + INTEGRITY_LEN;
    check[2..4].copy_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let tag = hmac::sign(&key, &check);
    check.extend(MESSAGE_INTEGRITY.to_be_bytes());
    check.extend((INTEGRITY_LEN as u16).to_be_bytes());
    check.extend(tag.as_ref());
    Some(check)
}

/// A binding request's attributes: where each begins, and its value.
fn attributes(data: &[u8]) -> Option<impl Iterator<Item = (usize, &[u8])>> {
    if data.len() < HEADER || data[..2] != BINDING_REQUEST || data[4..8] != COOKIE {
        return None;
    }
    let mut at = HEADER;
    Some(std::iter::from_fn(move || {
        let begin = at;
        let head = data.get(begin..begin + 4)?;
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = data.get(begin + 4..begin + 4 + len)?;
        at = begin + 4 + len.next_multiple_of(4);
        Some((begin, value))
    }))
}

fn kind(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
    /// The check of RFC 5769, 2.1: user `evtj:h6vY`, signed, with a fingerprint.
    const SAMPLE: [u8; 108] = [
        0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6,
        0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74,
        0x65, 0x73, 0x74, 0x20, 0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e,
        0x00, 0x01, 0xff, 0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36,
        0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20,
        0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e,
        0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28, 0x00, 0x04, 0xe5,
        0x7a, 0x3b, 0xcf,
    ];

    fn signed(check: &[u8]) -> bool {
        let at = check.len() - INTEGRITY_LEN;
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, PASSWORD.as_bytes());
        hmac::verify(&key, &check[..at - 4], &check[at..]).is_ok()
    }

    /// The RFC's own message: its user, and its integrity by our reading of it.
    #[test]
    fn the_rfcs_check_is_read() {
        assert_eq!(ufrag(&SAMPLE), Some("evtj"));
        let mut bare = SAMPLE[..SAMPLE.len() - 8].to_vec();
        bare[3] -= 8; // the fingerprint's
        assert!(signed(&bare));
    }

    /// The choosing check is the same one, chooses, and is signed; it is made once.
    #[test]
    fn a_check_becomes_a_choice() {
        let check = choosing(&SAMPLE, PASSWORD).unwrap();
        assert!(signed(&check));
        assert_eq!(usize::from(u16::from_be_bytes([check[2], check[3]])) + HEADER, check.len());
        assert_eq!((ufrag(&check), &check[8..76]), (Some("evtj"), &SAMPLE[8..76]));
        assert_eq!(choosing(&check, PASSWORD), None);
        // str0m takes it as one that its peer had sent.
        let from = ([127, 0, 0, 1], 9).into();
        assert!(str0m::net::Receive::new(str0m::net::Protocol::Udp, from, from, &check).is_ok());
    }

    proptest! {
        /// Any bytes behind the right beginning: nothing but a whole check is one.
        #[test]
        fn any_bytes_are_survived(mut data in prop::collection::vec(any::<u8>(), 0..200)) {
            let head = [&BINDING_REQUEST[..], &[0, 0], &COOKIE].concat();
            let known = head.len().min(data.len());
            data[..known].copy_from_slice(&head[..known]);
            let _ = ufrag(&data);
            if let Some(check) = choosing(&data, PASSWORD) {
                prop_assert!(signed(&check));
            }
        }

        /// Any damage to a check: it is not read beyond its end.
        #[test]
        fn damage_is_survived(at in 0usize..SAMPLE.len(), to in any::<u8>(), len in 0usize..SAMPLE.len()) {
            let mut data = SAMPLE;
            data[at] = to;
            let _ = (ufrag(&data[..len]), choosing(&data[..len], PASSWORD));
        }
    }
}
