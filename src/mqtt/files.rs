//! Credentials from files, read at every connect so that they can be renewed. Those that end in
//! `.sealed` are sealed by the box's TPM.

use std::path::Path;

use anyhow::{Context, ensure};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::sealed;

/// Greatest certificate bundle; Debian's own list is a quarter of it.
const BUNDLE: u64 = 1 << 20;

/// A PEM file.
pub async fn pem(key: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    read(path, BUNDLE).await.with_context(|| format!("{key} {}", path.display()))
}

/// A password: the file's content without its line end.
pub async fn password(path: &Path) -> anyhow::Result<Vec<u8>> {
    // MQTT 5, section 3.1.3.6: at most 65535 bytes; then the line end.
    let read = read(path, 65_537).await;
    let mut bytes = read.with_context(|| format!("password_file {}", path.display()))?;
    while bytes.last().is_some_and(|b| b"\r\n".contains(b)) {
        bytes.pop();
    }
    ensure!(bytes.len() <= 65_535, "password_file {}: longer than 65535 bytes", path.display());
    Ok(bytes)
}

async fn read(path: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    if sealed::is_sealed(path) {
        return sealed::open(path, most).await;
    }
    let mut bytes = Vec::new();
    File::open(path).await?.take(most + 1).read_to_end(&mut bytes).await?;
    ensure!(bytes.len() as u64 <= most, "larger than {most} bytes");
    Ok(bytes)
}
