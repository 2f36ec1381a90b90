//! TLS in front of the HTTP door. Handshakes run side by side: a slow client holds up no other.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::error::Result;

/// TLS handshakes under way at a time.
const HANDSHAKES: usize = 64;
/// Longest handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Accepts connections and speaks TLS on them.
pub struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    /// Takes connections of `listener`.
    pub fn new(mut listener: TcpListener, tls: TlsAcceptor) -> Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(HANDSHAKES);
        tokio::spawn(async move {
            // A place in the channel first: no more handshakes under way than it holds.
            while let Ok(place) = sender.clone().reserve_owned().await {
                let (socket, peer) = axum::serve::Listener::accept(&mut listener).await;
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE_TIME, tls.accept(socket)).await {
                        Ok(Ok(stream)) => {
                            place.send((stream, peer));
                        }
                        Ok(Err(error)) => tracing::debug!("HTTP door: {peer}: {error}"),
                        Err(_) => tracing::debug!("HTTP door: {peer}: no TLS handshake in time"),
                    }
                });
            }
        });
        Ok(TlsListener { address, ready })
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The accepting task ends only with the runtime.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.address)
    }
}
