//! The cryptography under the media transport: SRTP, STUN integrity and
//! fingerprints by ring, DTLS by dimpl's pure-Rust backend.
//!
//! In: keys that the DTLS handshake agreed and packets of one viewer. Out: the
//! same packets, sealed in place without allocating. There is no queue here.
//!
//! str0m's own provider crates all bring aws-lc, even its pure-Rust one
//! (through `dimpl/rcgen`), and with it a C build that breaks cross-compiling.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use aes::cipher::{BlockEncrypt, KeyInit, KeyIvInit, StreamCipher};
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::{digest, hmac};
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};
use str0m::crypto::{
    AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80Cipher, CryptoError, CryptoProvider,
    Sha1HmacProvider, Sha256Provider, SrtpProvider, SupportedAeadAes128Gcm, SupportedAeadAes256Gcm,
    SupportedAes128CmSha1_80,
};

/// Length of the authentication tag of AES-GCM in SRTP (RFC 7714, section 5).
const TAG: usize = 16;

/// What `RtcConfig::set_crypto_provider` wants.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        srtp_provider: &Srtp,
        sha1_hmac_provider: &Stun,
        sha256_provider: &Fingerprint,
        dtls_provider: &Dtls,
    })
}

#[derive(Debug)]
struct Stun;

impl Sha1HmacProvider for Stun {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let mut context = hmac::Context::with_key(&key);
        for payload in payloads {
            context.update(payload);
        }
        let mut out = [0; 20];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

#[derive(Debug)]
struct Fingerprint;

impl Sha256Provider for Fingerprint {
    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
        out
    }
}

#[derive(Debug)]
struct Srtp;

impl SrtpProvider for Srtp {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        &Srtp
    }

    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        &Srtp
    }

    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        &Srtp
    }

    fn srtp_aes_128_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        ecb(&aes::Aes128::new(key.into()), input, output);
    }

    fn srtp_aes_256_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        ecb(&aes::Aes256::new(key.into()), input, output);
    }
}

/// One block of the SRTP key derivation (RFC 3711, section 4.3.3). The second
/// block that the caller makes room for is padding that nobody reads.
fn ecb(cipher: &impl BlockEncrypt, input: &[u8], output: &mut [u8]) {
    output[..16].copy_from_slice(&input[..16]);
    cipher.encrypt_block((&mut output[..16]).into());
}

impl SupportedAes128CmSha1_80 for Srtp {
    fn create_cipher(&self, key: [u8; 16], _encrypt: bool) -> Box<dyn Aes128CmSha1_80Cipher> {
        Box::new(CounterMode { key })
    }
}

impl SupportedAeadAes128Gcm for Srtp {
    fn create_cipher(&self, key: [u8; 16], _encrypt: bool) -> Box<dyn AeadAes128GcmCipher> {
        Box::new(Gcm::new(&aead::AES_128_GCM, &key))
    }
}

impl SupportedAeadAes256Gcm for Srtp {
    fn create_cipher(&self, key: [u8; 32], _encrypt: bool) -> Box<dyn AeadAes256GcmCipher> {
        Box::new(Gcm::new(&aead::AES_256_GCM, &key))
    }
}

/// For viewers that do not offer GCM.
struct CounterMode {
    key: [u8; 16],
}

impl Aes128CmSha1_80Cipher for CounterMode {
    fn encrypt(
        &mut self,
        iv: &[u8; 16],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        let mut cipher = ctr::Ctr128BE::<aes::Aes128>::new(&self.key.into(), iv.into());
        output[..input.len()].copy_from_slice(input);
        cipher.apply_keystream(&mut output[..input.len()]);
        Ok(())
    }

    fn decrypt(
        &mut self,
        iv: &[u8; 16],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.encrypt(iv, input, output)
    }
}

/// AES-GCM of either key length.
struct Gcm {
    key: Option<LessSafeKey>,
}

impl Gcm {
    fn new(algorithm: &'static aead::Algorithm, key: &[u8]) -> Self {
        // The key arrays have the algorithm's length, so this is always there.
        Self { key: UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new) }
    }

    fn key(&self) -> Result<&LessSafeKey, CryptoError> {
        self.key.as_ref().ok_or_else(|| CryptoError::Other("srtp: unusable key".into()))
    }

    fn seal(&self, iv: [u8; 12], aad: &[u8], input: &[u8], output: &mut [u8]) -> Sealed<()> {
        let (text, rest) = output.split_at_mut(input.len());
        text.copy_from_slice(input);
        let tag = self
            .key()?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(aad), text)
            .map_err(|_| CryptoError::Other("srtp: packet too long to seal".into()))?;
        rest[..TAG].copy_from_slice(tag.as_ref());
        Ok(())
    }

    fn open(&self, iv: [u8; 12], aads: &[&[u8]], input: &[u8], output: &mut [u8]) -> Sealed<usize> {
        let joined;
        let aad = match aads {
            [one] => *one,
            many => {
                joined = many.concat();
                &joined
            }
        };
        let refused = || CryptoError::Other("srtp: packet does not authenticate".into());
        let length = input.len().checked_sub(TAG).ok_or_else(refused)?;
        let (text, tag) = input.split_at(length);
        let tag = aead::Tag::try_from(tag).map_err(|_| refused())?;
        output[..length].copy_from_slice(text);
        self.key()?
            .open_in_place_separate_tag(
                Nonce::assume_unique_for_key(iv),
                Aad::from(aad),
                tag,
                &mut output[..length],
                0..,
            )
            .map_err(|_| refused())?;
        Ok(length)
    }
}

type Sealed<T> = Result<T, CryptoError>;

impl AeadAes128GcmCipher for Gcm {
    fn encrypt(&mut self, iv: &[u8; 12], aad: &[u8], input: &[u8], out: &mut [u8]) -> Sealed<()> {
        self.seal(*iv, aad, input, out)
    }

    fn decrypt(
        &mut self,
        iv: &[u8; 12],
        aads: &[&[u8]],
        input: &[u8],
        out: &mut [u8],
    ) -> Sealed<usize> {
        self.open(*iv, aads, input, out)
    }
}

impl AeadAes256GcmCipher for Gcm {
    fn encrypt(&mut self, iv: &[u8; 12], aad: &[u8], input: &[u8], out: &mut [u8]) -> Sealed<()> {
        self.seal(*iv, aad, input, out)
    }

    fn decrypt(
        &mut self,
        iv: &[u8; 12],
        aads: &[&[u8]],
        input: &[u8],
        out: &mut [u8],
    ) -> Sealed<usize> {
        self.open(*iv, aads, input, out)
    }
}

impl fmt::Debug for Gcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gcm")
    }
}

impl fmt::Debug for CounterMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CounterMode")
    }
}

#[derive(Debug)]
struct Dtls;

impl DtlsProvider for Dtls {
    /// P-256 and self-signed: peers check the fingerprint in the SDP (RFC 8122).
    /// The dates are rcgen's, so wide that a box with a wrong clock is served too.
    fn generate_certificate(&self) -> Option<DtlsCert> {
        let key = rcgen::KeyPair::generate().ok()?;
        let certificate = rcgen::CertificateParams::new(Vec::new()).ok()?.self_signed(&key).ok()?;
        Some(DtlsCert { certificate: certificate.der().to_vec(), private_key: key.serialize_der() })
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        // ICE has verified the return path, so the server's cookie adds only a round trip.
        let mut config = dimpl::Config::builder().use_server_cookie(false);
        if let Some(mtu) = mtu {
            config = config.mtu(mtu);
        }
        let config = config.build().map_err(|e| CryptoError::Other(format!("dtls: {e}")))?;
        let (config, cert) = (Arc::new(config), cert.clone());
        let session = match version {
            DtlsVersion::Dtls12 => dimpl::Dtls::new_12(config, cert, now),
            DtlsVersion::Dtls13 => dimpl::Dtls::new_13(config, cert, now),
            DtlsVersion::Auto => dimpl::Dtls::new_auto(config, cert, now),
            other => return Err(CryptoError::Other(format!("dtls: no version {other}"))),
        };
        Ok(Box::new(Session(session)))
    }
}

struct Session(dimpl::Dtls);

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl DtlsInstance for Session {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        self.0.poll_output(buf)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<(), DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            hex.chars().filter_map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// RFC 7714, section 16.1.1, and back; a flipped bit is refused.
    #[test]
    fn gcm_seals_the_packet_of_the_rfc() {
        let key: [u8; 16] = bytes("000102030405060708090a0b0c0d0e0f").try_into().expect("key");
        let iv: [u8; 12] = bytes("51753c6580c2726f20718414").try_into().expect("iv");
        let aad = bytes("8040f17b 8041f8d3 5501a0b2");
        let text = bytes(
            "47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573",
        );
        let sealed = bytes(
            "f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833
             899d7f27 beb16a91 52cf765e e4390cce",
        );
        let mut cipher = SupportedAeadAes128Gcm::create_cipher(&Srtp, key, true);
        let mut out = vec![0; text.len() + TAG];
        cipher.encrypt(&iv, &aad, &text, &mut out).expect("seal");
        assert_eq!(out, sealed);

        let mut back = vec![0; sealed.len()];
        let length = cipher.decrypt(&iv, &[&aad[..4], &aad[4..]], &sealed, &mut back);
        assert_eq!(&back[..length.expect("open")], text);
        out[3] ^= 1;
        assert!(cipher.decrypt(&iv, &[&aad], &out, &mut back).is_err());
        assert!(cipher.decrypt(&iv, &[&aad], &[0; 7], &mut back).is_err());
    }

    /// RFC 3711, appendix B.2: the counter mode key stream.
    #[test]
    fn counter_mode_makes_the_key_stream_of_the_rfc() {
        let key: [u8; 16] = bytes("2B7E151628AED2A6ABF7158809CF4F3C").try_into().expect("key");
        let iv: [u8; 16] = bytes("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().expect("iv");
        let mut out = [0; 32];
        let mut cipher = SupportedAes128CmSha1_80::create_cipher(&Srtp, key, true);
        cipher.encrypt(&iv, &[0; 32], &mut out).expect("encrypt");
        assert_eq!(
            out[..],
            bytes("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB")
        );
    }

    /// RFC 3711, appendix B.3: the cipher key derived from a master key.
    #[test]
    fn key_derivation_makes_the_cipher_key_of_the_rfc() {
        let mut out = [0; 32];
        let master = bytes("E1F97A0D3E018BE0D64FA32C06DE4139");
        Srtp.srtp_aes_128_ecb_round(&master, &bytes("0EC675AD498AFEEBB6960B3AABE60000"), &mut out);
        assert_eq!(out[..16], bytes("C61E7A93744F39EE10734AFE3FF7A087"));
    }

    /// RFC 2202, case 2, in pieces.
    #[test]
    fn stun_integrity_is_hmac_sha1() {
        let mac = Stun.sha1_hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(mac[..], bytes("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"));
    }

    /// A certificate that the DTLS backend accepts as its own.
    #[test]
    fn certificate_starts_a_session_of_each_version() {
        let cert = Dtls.generate_certificate().expect("certificate");
        for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto] {
            let session = Dtls.new_dtls(&cert, Instant::now(), version, Some(1200));
            assert!(session.is_ok(), "{version}");
        }
    }
}
