//! Secrets that only this box can read: files that end in `.cred`, sealed by its TPM.
//!
//! Comes in: a secret to seal, or a sealed file. Goes out: what is to be stored, or the secret.
//! `systemd-creds` (systemd 250 and newer) does it, as the user that asks: AES-256-GCM with a key
//! that the TPM alone can open (systemd-creds(1)). Who takes the disk has nothing. The text of a
//! secret is in no argument and in no error.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// How the name of a sealed file ends.
const ENDING: &str = "cred";
/// Another TPM than the kernel's: a device, or a library and its options, `swtpm:path=SOCKET`.
const VARIABLE: &str = "FLOORCAST_TPM";
/// The kernel's, with its resource manager.
const DEVICE: &str = "/dev/tpmrm0";
/// A slow TPM on a slow bus takes a second.
const WITHIN: Duration = Duration::from_secs(20);
/// An update of the firmware, or a setting of it, must not cost a box its identity, so none of the
/// PCRs that firmware measures into is asked. Nobody measures into this one (TCG PC Client Platform
/// TPM Profile, 4.6: application support). systemd 252 cannot open what was sealed to none.
const PCR: &str = "23";

/// Whether a file is sealed, by its name.
pub fn is_sealed(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == ENDING)
}

/// Whether this box has a TPM.
pub fn can_seal() -> bool {
    let device = device();
    !device.as_encoded_bytes().starts_with(b"/") || Path::new(&device).exists()
}

/// What a file of this name has to hold for `secret` to be in it.
///
/// # Errors
/// There is no TPM that can do it, or no systemd-creds.
pub async fn seal(secret: &[u8], name: &str) -> Result<Vec<u8>> {
    let with = ["encrypt", "--with-key=tpm2", "--tpm2-pcrs", PCR, "--name", name];
    let mut command = tool();
    command.args(with).args(["--", "-", "-"]);
    run(command, secret).await
}

/// The secret in a sealed file, at most `most` bytes.
///
/// # Errors
/// No such file; it was sealed by another TPM or under another name; or the secret is longer.
pub async fn open(path: &Path, most: u64) -> Result<Vec<u8>> {
    let found = tokio::fs::metadata(path).await?;
    ensure!(found.is_file() && found.len() <= most.saturating_mul(2) + 4096, "no sealed secret");
    let mut command = tool();
    command.arg("decrypt").arg("--").arg(path).arg("-");
    let secret = run(command, &[]).await;
    let secret = secret.context("this box's TPM does not open it; write the secret anew")?;
    ensure!(secret.len() as u64 <= most, "larger than {most} bytes");
    Ok(secret)
}

fn device() -> OsString {
    std::env::var_os(VARIABLE).filter(|set| !set.is_empty()).unwrap_or_else(|| DEVICE.into())
}

fn tool() -> Command {
    let mut command = Command::new("systemd-creds");
    let mut device_is = OsString::from("--tpm2-device=");
    device_is.push(device());
    command.arg(device_is).env("LC_ALL", "C");
    command
}

/// What it prints for this input.
async fn run(mut command: Command, input: &[u8]) -> Result<Vec<u8>> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let work = async {
        let mut child = command.spawn().context("systemd-creds, of systemd 250 or newer")?;
        if let Some(mut to) = child.stdin.take() {
            // One that refuses reads nothing, and says why.
            let _ = to.write_all(input).await;
        }
        let out = child.wait_with_output().await.context("systemd-creds")?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            let why: String =
                said.trim().lines().last().unwrap_or("no reason").chars().take(200).collect();
            bail!("systemd-creds: {why}");
        }
        Ok(out.stdout)
    };
    timeout(WITHIN, work).await.context("the TPM does not answer")?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is no sealed secret is an error without a panic, and is not read as a plain one.
    #[tokio::test]
    async fn what_is_not_sealed_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("password.cred");
        assert!(is_sealed(&at) && !is_sealed(&dir.path().join("password")));
        assert!(open(&at, 100).await.is_err(), "there is none");
        std::fs::write(&at, "plain").unwrap();
        let why = format!("{:#}", open(&at, 100).await.unwrap_err());
        assert!(why.contains("does not open it") && !why.contains("plain"), "{why}");
        std::fs::write(&at, vec![b'A'; 10_000]).unwrap();
        assert_eq!(open(&at, 100).await.unwrap_err().to_string(), "no sealed secret");
    }
}
