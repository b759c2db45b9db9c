//! The site's own certificate authority: names and public keys in,
//! certificates and revocation lists out. Keys are EC P-256, made and used by
//! ring; dates are days of UTC, and the day is an argument.

use std::net::IpAddr;

use anyhow::{Context, anyhow, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams,
    CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    RevokedCertParams, SanType, SerialNumber,
};
use time::{Date, Duration, OffsetDateTime};

use super::index::{Index, Issued};
use super::name::Subject;

/// How long the authority is good for: twenty years, as long as a line stands.
const AUTHORITY_DAYS: i64 = 7_305;

/// What is new is good from a day ago: a box or a broker may have a late clock,
/// and a list that is not yet good would lock everybody out.
const BACKDATED: Duration = Duration::DAY;

/// An authority that can sign.
pub struct Authority(Issuer<'static, KeyPair>);

/// A new authority's files.
pub struct New {
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its key, PEM: PKCS #8, not encrypted.
    pub key: String,
    /// Its last day.
    pub until: Date,
}

impl Authority {
    /// Makes one for a site.
    pub fn create(site: &str, now: OffsetDateTime) -> anyhow::Result<New> {
        let until = now.date().saturating_add(Duration::days(AUTHORITY_DAYS));
        let mut params = params(&format!("Floorcast site {site}"), now, until)?;
        // It signs those who connect, and no further authority.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = new_key()?;
        let certificate = params.self_signed(&key).context("sign the authority")?.pem();
        Ok(New { certificate, key: key.serialize_pem(), until })
    }

    /// Reads one back from its two PEM texts.
    pub fn read(certificate: &str, key: &str) -> anyhow::Result<Self> {
        let key = KeyPair::from_pem(key).map_err(|_| anyhow!("ca.key: not a private key"))?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).context("ca.pem")?;
        Ok(Self(issuer))
    }

    /// Signs a key made here for a subject: certificate and key, PEM.
    pub fn issue(&self, leaf: &Leaf, now: OffsetDateTime) -> anyhow::Result<(String, String)> {
        let key = new_key()?;
        let signed = leaf.params(now)?.signed_by(&key, &self.0);
        Ok((signed.with_context(|| format!("sign {}", leaf.subject))?.pem(), key.serialize_pem()))
    }

    /// Signs the key of a request: of all that a request asks for, only its key is taken.
    pub fn sign(&self, request: &str, leaf: &Leaf, now: OffsetDateTime) -> anyhow::Result<String> {
        let mut request = CertificateSigningRequestParams::from_pem(request)
            .context("not a PKCS #10 request in PEM whose signature holds")?;
        ensure!(
            *request.public_key.algorithm() == PKCS_ECDSA_P256_SHA256,
            "its key is not EC P-256; make one with `openssl ecparam -genkey -name prime256v1`"
        );
        request.params = leaf.params(now)?;
        let signed = request.signed_by(&self.0);
        Ok(signed.with_context(|| format!("sign {}", leaf.subject))?.pem())
    }

    /// The revocation list of an index, PEM. It is good as long as the
    /// authority: a list that ran out would lock everybody out.
    pub fn revocations(&self, index: &Index, now: OffsetDateTime) -> anyhow::Result<String> {
        let revoked_certs = (index.certificates.iter())
            .filter_map(|issued| Some((issued, issued.revoked?)))
            .map(|(issued, day)| {
                Ok(RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&issued.serial_bytes()?),
                    revocation_time: day.midnight().assume_utc(),
                    reason_code: None,
                    invalidity_date: None,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        let list = CertificateRevocationListParams {
            this_update: now - BACKDATED,
            next_update: end(index.until),
            crl_number: index.crl.into(),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).and_then(|list| list.pem()).context("sign the revocation list")
    }
}

/// Whether a certificate is for the key of a request, both PEM.
pub fn same_key(certificate: &str, request: &str) -> bool {
    let Ok(request) = CertificateSigningRequestParams::from_pem(request) else { return false };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()) else {
        return false;
    };
    pem.parse_x509().is_ok_and(|certificate| {
        *certificate.public_key().subject_public_key.data == *request.public_key.der_bytes()
    })
}

/// A certificate to be.
pub struct Leaf {
    /// For whom.
    pub subject: Subject,
    /// What clients may dial it as; empty unless it is a broker.
    pub names: Vec<SanType>,
    /// Its last day.
    pub until: Date,
    serial: u128,
}

impl Leaf {
    /// With a random serial number, so that two for one key differ too.
    pub fn new(subject: Subject, names: Vec<SanType>, until: Date) -> Self {
        // Positive and always of one length (RFC 5280, 4.1.2.2).
        let serial = rand::random::<u128>() >> 1 | 1 << 126;
        Self { subject, names, until, serial }
    }

    /// Its line in the index.
    pub fn issued(&self) -> Issued {
        let (name, serial) = (self.subject.to_string(), format!("{:032x}", self.serial));
        Issued { name, serial, until: self.until, revoked: None }
    }

    fn params(&self, now: OffsetDateTime) -> anyhow::Result<CertificateParams> {
        let mut params = params(&self.subject.to_string(), now, self.until)?;
        params.serial_number = Some(SerialNumber::from_slice(&self.serial.to_be_bytes()));
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A broker's certificate opens no door as a client, and the other way round.
        params.extended_key_usages = vec![match self.subject {
            Subject::Broker(_) => ExtendedKeyUsagePurpose::ServerAuth,
            _ => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.subject_alt_names = self.names.clone();
        Ok(params)
    }
}

/// A host name or address as a name that clients check.
pub fn dialled(host: &str) -> anyhow::Result<SanType> {
    Ok(match host.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(host.try_into().with_context(|| format!("name {host:?}"))?),
    })
}

fn params(cn: &str, now: OffsetDateTime, until: Date) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).context("certificate")?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, cn);
    (params.not_before, params.not_after) = (now - BACKDATED, end(until));
    Ok(params)
}

fn end(day: Date) -> OffsetDateTime {
    day.midnight().assume_utc() + Duration::DAY - Duration::SECOND
}

fn new_key() -> anyhow::Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make a key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::days(20_783)
    }

    fn authority() -> Authority {
        let new = Authority::create("amber-works", now()).expect("create");
        Authority::read(&new.certificate, &new.key).expect("read")
    }

    fn leaf() -> Leaf {
        let subject = Subject::appliance("line-2").expect("name");
        Leaf::new(subject, Vec::new(), now().date().saturating_add(Duration::days(9)))
    }

    /// A request gives its key and nothing else: no name, no authority, no usage.
    #[test]
    fn of_a_request_only_its_key_is_taken() {
        let key = new_key().expect("key");
        let mut params = params("li", now(), now().date()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names = vec![dialled("mqtt.example").expect("name")];
        let request = params.serialize_request(&key).expect("request").pem().expect("PEM");
        let leaf = leaf();
        let signed = authority().sign(&request, &leaf, now()).expect("sign");
        let der = signed_der(&signed);
        let has = |bytes: &[u8]| der.windows(bytes.len()).any(|w| w == bytes);
        assert!(has(b"box:line-2") && has(key.public_key_raw()) && !has(b"mqtt.example"));
        assert!(has(&leaf.serial.to_be_bytes()));
        // As an authority of its own it could sign others.
        let forged = Issuer::from_ca_cert_pem(&signed, new_key().expect("key")).expect("read");
        let list = CertificateRevocationListParams {
            this_update: now(),
            next_update: now() + BACKDATED,
            crl_number: 1u64.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        assert!(list.signed_by(&forged).is_err());
    }

    fn signed_der(pem: &str) -> Vec<u8> {
        use rumqttc::tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM").to_vec()
    }

    /// Another kind of key is refused with the remedy.
    #[test]
    fn a_request_with_another_key_is_refused() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("key");
        let params = params("x", now(), now().date()).expect("params");
        let request = params.serialize_request(&key).expect("request").pem().expect("PEM");
        let error = authority().sign(&request, &leaf(), now()).expect_err("Ed25519");
        assert!(error.to_string().contains("prime256v1"), "{error}");
    }

    proptest! {
        /// Whatever stands where a request should: an error, and no certificate. A byte
        /// that the signature does not cover may differ; the key may not.
        #[test]
        fn no_other_bytes_are_a_request(
            text in any::<String>(), at in any::<proptest::sample::Index>(), with in any::<u8>()
        ) {
            let authority = authority();
            prop_assert!(authority.sign(&text, &leaf(), now()).is_err());
            let key = new_key().expect("key");
            let params = params("x", now(), now().date()).expect("params");
            let request = params.serialize_request(&key).expect("request");
            let mut der = request.der().to_vec();
            let at = at.index(der.len());
            prop_assume!(der[at] != with);
            der[at] = with;
            if let Ok(parsed) = CertificateSigningRequestParams::from_der(&der.into()) {
                let other = "a request whose signature does not hold";
                prop_assert_eq!(parsed.public_key.der_bytes(), key.der_bytes(), "{}", other);
            }
        }
    }
}
