//! Who a box is: a serial number and a key that never leaves it.
//!
//! Where there is a TPM, the key is sealed by it from the first moment (`box.key.sealed`): who takes the
//! disk cannot be the box. Without, it is a file that only the daemon's user reads (`box.key`).
//! Nobody knows the key of a box that is not adopted yet: where it can be sealed by now, or its TPM
//! opens it no more, there is a new one. An adopted box does not come here.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use ring::digest;
use rumqttc::tokio_rustls::rustls::crypto::ring::default_provider;
use rumqttc::tokio_rustls::rustls::pki_types::pem::PemObject;
use rumqttc::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rumqttc::tokio_rustls::rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::{disk, sealed};

/// A key in PEM has a quarter of it.
const KEY: u64 = 1024;
/// The key, sealed.
const HIDDEN: &str = "box.key.sealed";
/// Where the kernel shows a board's own number.
const BOARD: &str = "/sys/firmware/devicetree/base/serial-number";

/// A box's identity, on disk.
pub struct Identity {
    dir: PathBuf,
    serial: String,
    key: KeyPair,
    /// The key's file.
    at: PathBuf,
}

/// Where what an adoption brought is.
pub struct Files {
    /// The site's authority.
    pub authority: PathBuf,
    /// The box's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Identity {
    /// Opens a directory, or makes it with a new key.
    ///
    /// # Errors
    /// The directory cannot be read or written, or what is in it is no key.
    pub async fn open(dir: &Path) -> Result<Self> {
        let dir = dir.to_owned();
        let (dir, serial) = spawn_blocking(move || place(&dir)).await??;
        let (at, pem) = own_key(&dir).await?;
        let key = KeyPair::from_pem(&pem).with_context(|| format!("{}: no key", at.display()))?;
        Ok(Self { dir, serial, key, at })
    }

    /// What is on the box's label: 1 to 40 of a-z, 0-9 and -.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Names the key, for eyes.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.key)
    }

    /// Where the key is: `tpm` or `file`.
    pub fn keeper(&self) -> &'static str {
        if sealed::is_sealed(&self.at) { "tpm" } else { "file" }
    }

    /// What the box says of itself at the door.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn hello(&self) -> Result<Value> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, &*self.serial);
        let request = params.serialize_request(&self.key).context("sign the request")?;
        Ok(json!({
            "serial": self.serial,
            "fingerprint": self.fingerprint(),
            "key": self.keeper(),
            "version": env!("CARGO_PKG_VERSION"),
            "request": request.pem().context("the request")?,
        }))
    }

    /// Keeps a certificate, if it is for this box's key, and the authority's. Blocks.
    ///
    /// # Errors
    /// Either is no certificate, the first is another key's, or the disk is full.
    pub fn accept(&self, certificate: &str, authority: &str) -> Result<Files> {
        let chain = certificates("certificate", certificate)?;
        let mut roots = RootCertStore::empty();
        for root in certificates("authority", authority)? {
            roots.add(root).context("authority: not fit to be one")?;
        }
        let key = PrivateKeyDer::from_pem_slice(self.key.serialize_pem().as_bytes());
        let key = key.map_err(|_| anyhow::anyhow!("the box's own key"))?;
        ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .context("TLS versions")?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .context("certificate: not for this box's key; sign its newest request")?;
        let file = |name: &str| self.dir.join(name);
        disk::put(&file("ca.pem"), authority.as_bytes())?;
        disk::put(&file("box.pem"), certificate.as_bytes())?;
        let (authority, certificate) = (file("ca.pem"), file("box.pem"));
        Ok(Files { authority, certificate, key: self.at.clone() })
    }
}

/// Names a public key: 80 bits of its SHA-256.
pub fn fingerprint(key: &impl PublicKeyData) -> String {
    let hash = digest::digest(&digest::SHA256, key.der_bytes());
    let groups = hash.as_ref()[..10].chunks(2);
    let group = |pair: &[u8]| format!("{:02x}{:02x}", pair[0], pair[1]);
    groups.map(group).collect::<Vec<_>>().join("-")
}

fn certificates(field: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|error| anyhow::anyhow!("{field}: not PEM: {error}"))?;
    ensure!(!all.is_empty(), "{field}: holds no certificate in PEM");
    Ok(all)
}

/// The board's own number, where it has one that can be a topic's level.
fn board_serial() -> Option<String> {
    let text = fs::read_to_string(BOARD).ok()?.to_ascii_lowercase();
    let text = text.trim_matches(['\0', ' ', '\n']).to_owned();
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    ((1..=40).contains(&text.len()) && text.bytes().all(legal)).then_some(text)
}

/// The directory, which only the owner reads, and the serial number in it. Blocks.
fn place(dir: &Path) -> Result<(PathBuf, String)> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("make {}", dir.display()))?;
    let dir = dir.canonicalize().with_context(|| dir.display().to_string())?;
    let random = || Ok(format!("{:012x}", rand::random::<u64>() >> 16));
    let serial = match board_serial() {
        Some(serial) => serial,
        None => kept(&dir.join("serial"), random)?.trim().to_owned(),
    };
    Ok((dir, serial))
}

/// The key's file and the key, PEM; made first if there is none.
async fn own_key(dir: &Path) -> Result<(PathBuf, String)> {
    let (plain, hidden) = (dir.join("box.key"), dir.join(HIDDEN));
    if tokio::fs::try_exists(&hidden).await? {
        match sealed::open(&hidden, KEY).await {
            Ok(pem) => {
                return Ok((hidden, String::from_utf8(pem).context("box.key.sealed: no key")?));
            }
            Err(why) => warn!("{}: {why:#}; there will be a new key", hidden.display()),
        }
    }
    let new = || Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem());
    if sealed::can_seal() {
        let pem: String = new()?;
        match sealed::seal(pem.as_bytes(), HIDDEN).await {
            Ok(bytes) => {
                let at = hidden.clone();
                spawn_blocking(move || disk::put(&at, &bytes)).await??;
                // Of a start at which nothing could be sealed; nobody knows it.
                let _ = tokio::fs::remove_file(plain).await;
                return Ok((hidden, pem));
            }
            Err(why) => warn!("the TPM seals no key, so that it is a file: {why:#}"),
        }
    }
    let at = plain.clone();
    let pem = spawn_blocking(move || kept(&at, new)).await??;
    Ok((plain, pem))
}

/// A file's text; made first if there is none.
fn kept(at: &Path, make: impl FnOnce() -> Result<String>) -> Result<String> {
    match fs::read_to_string(at) {
        Ok(text) if !text.is_empty() => Ok(text),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("read {}", at.display()))
        }
        _ => {
            let text = make()?;
            disk::put(at, text.as_bytes())?;
            Ok(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// The same box after a restart; another box has another key; nobody else reads it.
    #[tokio::test]
    async fn an_identity_is_made_once() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let open = async |i: usize| Identity::open(&dirs[i].path().join("id")).await.unwrap();
        let [one, other, again] = [open(0).await, open(1).await, open(0).await];
        assert_eq!((one.serial(), one.fingerprint()), (again.serial(), again.fingerprint()));
        assert_ne!(one.fingerprint(), other.fingerprint());
        let mode = |name: &str| {
            let at = dirs[0].path().join("id").join(name);
            fs::metadata(at).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("."), mode("box.key")), (0o700, 0o600));
    }

    /// A certificate for another key is not kept.
    #[tokio::test]
    async fn a_certificate_of_another_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let own = Identity::open(dir.path()).await.unwrap();
        let signed = |key: &KeyPair| {
            CertificateParams::new(vec!["x".into()]).unwrap().self_signed(key).unwrap().pem()
        };
        let other = signed(&KeyPair::generate().unwrap());
        let refused = own.accept(&other, &other).err().expect("refused");
        assert!(format!("{refused:#}").contains("not for this box's key"), "{refused:#}");
        assert!(!dir.path().join("box.pem").exists());
        assert!(own.accept("", &other).is_err() && own.accept(&other, "x").is_err());
        let mine = signed(&own.key);
        let files = own.accept(&mine, &mine).unwrap();
        assert_eq!(fs::read_to_string(files.certificate).unwrap(), mine);
    }
}
