//! Secrets that only this box can read: files that end in `.sealed`, opened by its TPM 2.0.
//!
//! Comes in: a secret, or a sealed file. Goes out: what to store, or the secret. The TPM keeps a key for
//! each secret (`tpm2_create` of tpm2-tools, under its storage hierarchy), and AES-256-GCM with
//! that key keeps the secret, which binds it to the file's name too. Who takes the disk has nothing. No PCR
//! is asked: an update of the firmware must not cost a box its identity. The tools run as the
//! user that asks, who needs to be in `tss`; what they hand to each other is no secret.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// How the name of a sealed file ends.
const ENDING: &str = "sealed";
/// Another TPM than the kernel's, as tpm2-tools name one (tpm2_tctis(7)): `swtpm:path=SOCKET`.
const VARIABLE: &str = "FLOORCAST_TPM";
/// The kernel's, with its resource manager.
const DEVICE: &str = "/dev/tpmrm0";
/// A slow TPM on a slow bus takes a few seconds for all of it.
const WITHIN: Duration = Duration::from_secs(20);
/// What surrounds a secret in its file, at most.
const AROUND: u64 = 4096;
/// The parent of all keys: the same each time, from the TPM's own seed. Every choice is written
/// down, so that other tools of another year make the same one.
const PARENT: &str = "tpm2_createprimary -Q -C o -g sha256 -G ecc256:null:aes128cfb -a \
    fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt -c parent";

/// A sealed file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The key's two halves as the TPM gave them (TPM2B_PUBLIC, TPM2B_PRIVATE).
    public: Vec<u8>,
    private: Vec<u8>,
    /// The secret, encrypted, with its tag.
    secret: Vec<u8>,
}

/// Whether a file is sealed, by its name.
pub fn is_sealed(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == ENDING)
}

/// Whether this box shows a TPM.
pub fn can_seal() -> bool {
    std::env::var_os(VARIABLE).is_some() || Path::new(DEVICE).exists()
}

/// What a file of this name has to hold for `secret` to be in it.
///
/// # Errors
/// The TPM is not there, not ours to use, or does not answer; or there are no tools for it.
pub async fn seal(secret: &[u8], name: &str) -> Result<Vec<u8>> {
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key).map_err(|_| anyhow!("no random numbers"))?;
    let work = async {
        let place = Place::new()?;
        place.tool(PARENT, &[]).await?;
        let create = "tpm2_create -Q -C parent -g sha256 -i - -u public -r private -a \
            fixedtpm|fixedparent|userwithauth|noda";
        place.tool(create, &key).await?;
        let read = async |name| tokio::fs::read(place.0.join(name)).await;
        anyhow::Ok((read("public").await?, read("private").await?))
    };
    let (public, private) = timeout(WITHIN, work).await.context("the TPM does not answer")??;
    let mut sealed = secret.to_vec();
    let done = cipher(&key)?.seal_in_place_append_tag(nonce(), Aad::from(name), &mut sealed);
    done.map_err(|_| anyhow!("not encrypted"))?;
    Ok(serde_json::to_vec(&File { public, private, secret: sealed })?)
}

/// The secret in a sealed file, at most `most` bytes.
///
/// # Errors
/// No such file; another TPM sealed it, or under another name; the TPM does not answer, or there
/// are no tools for it; or the secret is longer.
pub async fn open(path: &Path, most: u64) -> Result<Vec<u8>> {
    let size = tokio::fs::metadata(path).await?.len();
    // A byte is at most four in the file.
    ensure!(size <= most.saturating_mul(4) + AROUND, "larger than {most} bytes");
    let file = tokio::fs::read(path).await?;
    let file: File = serde_json::from_slice(&file).context("not a sealed secret")?;
    let work = async {
        let place = Place::new()?;
        tokio::fs::write(place.0.join("public"), &file.public).await?;
        tokio::fs::write(place.0.join("private"), &file.private).await?;
        place.tool(PARENT, &[]).await?;
        let load = "tpm2_load -Q -C parent -u public -r private -c key";
        place.tool(load, &[]).await.context("this box's TPM does not open it")?;
        place.tool("tpm2_unseal -Q -c key", &[]).await
    };
    let key = timeout(WITHIN, work).await.context("the TPM does not answer")??;
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let mut secret = file.secret;
    let opened = cipher(&key)?.open_in_place(nonce(), Aad::from(name), &mut secret);
    let length = opened.map_err(|_| anyhow!("changed, or of another name"))?.len();
    ensure!(length as u64 <= most, "larger than {most} bytes");
    secret.truncate(length);
    Ok(secret)
}

fn cipher(key: &[u8]) -> Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| anyhow!("a key of another kind"))?;
    Ok(LessSafeKey::new(key))
}

/// A key encrypts one secret, so that it needs no second number.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// Where the tools leave things for each other; gone with it.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Place {
    fn new() -> Result<Self> {
        let name = format!("floorcast-tpm-{:016x}", rand::random::<u64>());
        let dir = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&dir).context("a place for the TPM's tools")?;
        Ok(Self(dir))
    }

    /// Runs a tool; what it prints.
    async fn tool(&self, words: &str, input: &[u8]) -> Result<Vec<u8>> {
        let other = std::env::var_os(VARIABLE);
        let out = self.run(words, input, other.as_ref()).await;
        if other.is_some() {
            // Nobody else tidies up where the kernel is not in between.
            let _ = self.run("tpm2_flushcontext -t", &[], other.as_ref()).await;
        }
        out
    }

    async fn run(&self, words: &str, input: &[u8], tpm: Option<&OsString>) -> Result<Vec<u8>> {
        let mut words = words.split_whitespace();
        let name = words.next().unwrap_or_default();
        let device = OsString::from(format!("device:{DEVICE}"));
        let mut command = Command::new(name);
        command.args(words).env("TPM2TOOLS_TCTI", tpm.unwrap_or(&device)).current_dir(&self.0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.kill_on_drop(true).spawn();
        let mut child = child.with_context(|| format!("{name}, of tpm2-tools"))?;
        if let Some(mut to) = child.stdin.take() {
            // One that fails reads nothing, and says why.
            let _ = to.write_all(input).await;
        }
        let out = child.wait_with_output().await.context("tpm2-tools")?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            let all = || said.lines().filter(|line| line.starts_with("ERROR"));
            let why: String = all().next().unwrap_or("no reason").chars().take(200).collect();
            bail!("{name}: {why}");
        }
        Ok(out.stdout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is no sealed secret is an error, names none of it, and is not read as a plain one.
    #[tokio::test]
    async fn what_is_not_sealed_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("password.sealed");
        assert!(is_sealed(&at) && !is_sealed(&dir.path().join("password")));
        assert!(open(&at, 100).await.is_err(), "there is none");
        for (what, why) in [
            (b"plain".to_vec(), "not a sealed secret"),
            (vec![b'A'; 10_000], "larger than 100 bytes"),
        ] {
            std::fs::write(&at, what).unwrap();
            let said = format!("{:#}", open(&at, 100).await.unwrap_err());
            assert!(said.contains(why) && !said.contains("plain"), "{said}");
        }
    }
}
