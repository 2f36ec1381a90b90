//! Where the doors listen, and who may come in.
//!
//! A door on an address that other machines can reach needs a token or TLS; without either it does not open.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Kind, Result};

/// Who may come in.
#[derive(Clone, Default)]
pub struct Guard {
    token: Option<Arc<str>>,
    tls: Option<TlsAcceptor>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("token", &self.token.is_some()).field("tls", &self.tls.is_some()).finish()
    }
}

/// Files of a TLS identity (PEM).
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Guard {
    /// Asks for `token` where there is one, speaks TLS where there are files.
    ///
    /// # Errors
    /// A fault of the TLS files: a door never goes on without the encryption that was asked for.
    pub fn new(token: Option<String>, tls: Option<&TlsFiles>) -> Result<Self> {
        if token.as_deref().is_some_and(|token| token.trim().is_empty()) {
            return Err(Error::input("the token is empty; set one, or leave the option out"));
        }
        Ok(Guard { token: token.map(Into::into), tls: tls.map(acceptor).transpose()? })
    }

    /// Is a token asked for?
    pub fn wants_token(&self) -> bool {
        self.token.is_some()
    }

    /// Is `given` the token (or none asked for)? Takes as long for a near miss as for a far one.
    pub fn admits(&self, given: Option<&str>) -> bool {
        match (&self.token, given) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(token), Some(given)) => {
                let (token, given) = (token.as_bytes(), given.as_bytes());
                let differing = (0..token.len().max(given.len()))
                    .fold(0_u8, |acc, i| acc | (token.get(i).copied().unwrap_or(0) ^ given.get(i).copied().unwrap_or(0)));
                differing == 0 && token.len() == given.len()
            }
        }
    }

    /// The TLS side, if any.
    pub fn tls(&self) -> Option<&TlsAcceptor> {
        self.tls.as_ref()
    }
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor> {
    let fault = |file: &PathBuf, what: &str| Error::input(format!("TLS: {what} in {}", file.display()));
    let certs: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .map_err(|e| fault(&files.cert, "no certificate can be read").because(e))?;
    if certs.is_empty() {
        return Err(fault(&files.cert, "there is no certificate"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| fault(&files.key, "no private key can be read").because(e))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certs, key))
        .map_err(|e| fault(&files.key, "the key does not fit the certificate").because(e))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Opens a listener. `option` is the option that named `address` (`--pg-listen`), for messages; `address` is `host:port`.
///
/// # Errors
/// [`Kind::Input`]: not an address, or one that other machines reach without token or TLS; [`Kind::Unreachable`]: taken.
pub async fn listen(option: &str, address: &str, guard: &Guard) -> Result<TcpListener> {
    let given = format!("{option} {address}");
    let addresses: Vec<SocketAddr> = match tokio::net::lookup_host(address).await {
        Ok(addresses) => addresses.collect(),
        Err(e) => return Err(Error::input(format!("{given}: not an address; expected host:port, as in 127.0.0.1:5433")).because(e)),
    };
    if !addresses.iter().all(|a| a.ip().is_loopback()) && !guard.wants_token() && guard.tls.is_none() {
        return Err(Error::input(format!(
            "{given}: other machines could reach this address, and neither a token nor TLS is set; set one of them, or listen on 127.0.0.1"
        )));
    }
    TcpListener::bind(addresses.as_slice()).await.map_err(|e| {
        let what = match e.kind() {
            std::io::ErrorKind::AddrInUse => "the port is taken; name another one with this option",
            _ => "cannot listen here",
        };
        Error::new(Kind::Unreachable, format!("{given}: {what}")).because(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_names_the_option() {
        let first = listen("--pg-listen", "127.0.0.1:0", &Guard::default()).await.unwrap();
        let address = first.local_addr().unwrap().to_string();
        let error = listen("--pg-listen", &address, &Guard::default()).await.unwrap_err();
        assert_eq!(error.kind().exit_code(), 3);
        assert!(error.to_string().contains(&format!("--pg-listen {address}: the port is taken")), "{error}");
    }

    #[tokio::test]
    async fn an_open_address_needs_a_token_or_tls() {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let error = listen("--http-listen", address, &Guard::default()).await.unwrap_err();
            assert!(error.kind() == Kind::Input && error.to_string().contains("neither a token nor TLS"), "{error}");
        }
        let guard = Guard::new(Some("secret".into()), None).unwrap();
        assert!(listen("--http-listen", "0.0.0.0:0", &guard).await.is_ok());
        assert!(listen("--http-listen", "nonsense", &guard).await.unwrap_err().to_string().contains("expected host:port"));
    }

    #[test]
    fn only_the_token_is_admitted() {
        let guard = Guard::new(Some("secret".into()), None).unwrap();
        assert!(guard.admits(Some("secret")));
        for wrong in [None, Some(""), Some("secre"), Some("secret1"), Some("secret\0")] {
            assert!(!guard.admits(wrong), "{wrong:?}");
        }
        assert!(Guard::default().admits(None));
        assert!(Guard::new(Some(" ".into()), None).is_err());
    }

    #[test]
    fn a_fault_of_tls_refuses_to_start() {
        let dir = tempfile::tempdir().unwrap();
        let files = TlsFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        assert!(Guard::new(None, Some(&files)).unwrap_err().to_string().contains("cert.pem"));
        std::fs::write(&files.cert, "no certificate").unwrap();
        assert!(Guard::new(None, Some(&files)).unwrap_err().to_string().contains("there is no certificate"));
    }
}
