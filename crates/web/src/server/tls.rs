//! The server's certificate: read from two files, and read again when they change, so that whoever
//! renews it need not restart anything.
//!
//! The files are looked at when a connection comes, at most every few seconds. New ones that cannot
//! be used are told in the log, and the old ones stay in use.

use jiff::Timestamp;
use mainspring_core::time;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Certificate and key.
pub struct Certificates {
    cert: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    stamp: Stamp,
    looked_at: Option<Timestamp>,
}

/// Tells versions of the files apart.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates")
            .field("cert", &self.cert)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads a chain of certificates, the server's own first, and its private key: both PEM. The error
    /// names the file.
    pub fn load(cert: &Path, key: &Path) -> Result<Certificates, String> {
        let stamp = stamp(cert, key);
        let current = Current { acceptor: read(cert, key)?, stamp, looked_at: None };
        Ok(Certificates { cert: cert.to_owned(), key: key.to_owned(), current: Mutex::new(current) })
    }

    /// What takes the next connection.
    pub(crate) fn acceptor(&self, now: Timestamp) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let due = current.looked_at.is_none_or(|at| now < at || time::since(at, now) >= LOOK);
        if due {
            current.looked_at = Some(now);
            let stamp = stamp(&self.cert, &self.key);
            if stamp != current.stamp {
                // Also when they cannot be used: said once, not at every look.
                current.stamp = stamp;
                match read(&self.cert, &self.key) {
                    Ok(acceptor) => {
                        current.acceptor = acceptor;
                        tracing::info!(file = %self.cert.display(), "a new certificate is in use");
                    }
                    Err(e) => {
                        tracing::error!(error = %e, "the new certificate cannot be used, the old one stays")
                    }
                }
            }
        }
        current.acceptor.clone()
    }
}

fn stamp(cert: &Path, key: &Path) -> Stamp {
    [cert, key].map(|path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    })
}

fn read(cert: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|e| format!("{}: {e}", cert.display()))?;
    if chain.is_empty() {
        return Err(format!("{} holds no BEGIN CERTIFICATE block", cert.display()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| format!("{}: {e}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| format!("{} and {} do not go together: {e}", cert.display(), key.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
