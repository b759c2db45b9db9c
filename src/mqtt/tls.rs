//! TLS from PEM files: rustls with ring, and only the authorities named.

use std::sync::Arc;

use anyhow::{Context, ensure};
use rumqttc::tokio_rustls::rustls::crypto::ring;
use rumqttc::tokio_rustls::rustls::pki_types::pem::PemObject;
use rumqttc::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rumqttc::tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::files;
use crate::config::mqtt::connection::Tls;

/// What the connection is made with. Certificates that cannot be parsed are
/// passed over: one bad authority in a system's list must not cost the rest.
pub async fn client_config(tls: &Tls) -> anyhow::Result<Arc<ClientConfig>> {
    let ca = files::pem("ca_file", &tls.ca_file).await?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&ca).filter_map(Result::ok));
    ensure!(!roots.is_empty(), "ca_file {}: holds no certificate", tls.ca_file.display());
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_root_certificates(roots);
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((cert_file, key_file)) => {
            let bytes = files::pem("cert_file", cert_file).await?;
            let chain = CertificateDer::pem_slice_iter(&bytes)
                .collect::<Result<Vec<_>, _>>()
                .with_context(|| format!("cert_file {}", cert_file.display()))?;
            ensure!(!chain.is_empty(), "cert_file {}: holds no certificate", cert_file.display());
            let key = PrivateKeyDer::from_pem_slice(&files::pem("key_file", key_file).await?)
                .with_context(|| format!("key_file {}: no private key", key_file.display()))?;
            builder.with_client_auth_cert(chain, key).context("cert_file and key_file")?
        }
    };
    Ok(Arc::new(config))
}
