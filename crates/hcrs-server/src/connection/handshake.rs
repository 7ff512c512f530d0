//! The TLS handshake, its deadlines and its outcome.
//!
//! A client that has not sent its whole `ClientHello` costs no more than a cleartext connection that is
//! silent, so only the limit of connections bounds those. The expensive step is the answer, which needs a
//! signature: an edge thread makes a bounded number of them in one turn, and a client that does nothing
//! afterwards delays no other.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use hcrs_acme::challenge_digest;
use hcrs_metrics::HandshakeFailure;
use hcrs_tls::{TlsConfig, TlsInfo, challenge_config, challenged_name};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, error::Elapsed, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::{Acceptor, ClientHello};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::socket::Socket;
use crate::Settings;
use crate::client::{Admitted, Agreed};

/// The reason why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("TLS handshake failed: {0}")]
    Failed(#[from] io::Error),
    #[error("no whole ClientHello in time")]
    NoHello,
    #[error("TLS handshake not finished in time")]
    Late(#[from] Elapsed),
}

impl HandshakeError {
    /// Returns the kind of the failure, for metrics.
    fn kind(&self) -> HandshakeFailure {
        match self {
            Self::NoHello => HandshakeFailure::NoHello,
            Self::Late(_) => HandshakeFailure::Timeout,
            Self::Failed(error) => {
                let of_tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
                match of_tls {
                    None => HandshakeFailure::Disconnect,
                    Some(rustls::Error::AlertReceived(_)) => HandshakeFailure::Alert,
                    Some(
                        rustls::Error::NoCertificatesPresented
                        | rustls::Error::InvalidCertificate(_)
                        | rustls::Error::InvalidCertRevocationList(_),
                    ) => HandshakeFailure::Certificate,
                    Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
                        HandshakeFailure::Incompatible
                    }
                    Some(_) => HandshakeFailure::Protocol,
                }
            }
        }
    }
}

/// Terminates TLS on the socket, and counts the outcome. Returns `None` if the handshake was a challenge of an
/// authority of certificates, after which the connection is closed (RFC 8737 section 3).
pub(crate) async fn shake_hands(
    admitted: &Admitted,
    socket: Socket,
    tls: &TlsConfig,
) -> Result<Option<(TlsStream<Socket>, Agreed)>, HandshakeError> {
    let outcome = negotiate(admitted, socket, tls).await;
    let metrics = &admitted.shared.metrics;
    match &outcome {
        Ok(_) => metrics.shake_hands(),
        Err(error) => metrics.fail_handshake(error.kind()),
    }
    outcome
}

async fn negotiate(
    admitted: &Admitted,
    socket: Socket,
    tls: &TlsConfig,
) -> Result<Option<(TlsStream<Socket>, Agreed)>, HandshakeError> {
    let now = Instant::now();
    let deadline = now + tls.settings().handshake_timeout;
    // The `ClientHello` corresponds to a request's head: the first bytes that a client has to send.
    let hello_deadline = deadline.min(now + admitted.shared.settings().connection.head_timeout);
    let hello = LazyConfigAcceptor::new(Acceptor::default(), socket);
    let start = timeout_at(hello_deadline, hello).await.map_err(|_| HandshakeError::NoHello)??;
    let challenge = challenge(&admitted.shared.settings(), &start.client_hello());
    if let Some(config) = challenge {
        let handshake = in_turn(&admitted.shared.handshakes, || start.into_stream(config));
        let mut stream = timeout_at(deadline, handshake).await??;
        timeout_at(deadline, stream.shutdown()).await??;
        return Ok(None);
    }
    let mut choice = None;
    let handshake = in_turn(&admitted.shared.handshakes, || {
        // The `ClientHello` decides which certificate and cipher suites suit the client.
        let chosen = choice.insert(tls.current().choose(&start.client_hello()));
        start.into_stream(Arc::clone(&chosen.config))
    });
    let stream = timeout_at(deadline, handshake).await??;
    let choice = choice.expect("invariant: a handshake that is over was begun");
    let info = admitted.shared.tls_infos.number(TlsInfo::of(stream.get_ref().1, &choice));
    let alpn = stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    Ok(Some((stream, Agreed { info, alpn })))
}

/// Returns the configuration for the challenge of an authority, if any server that shares the storage waits for it.
fn challenge(settings: &Settings, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
    let storage = &settings.acme.as_ref()?.storage;
    let name = challenged_name(hello)?;
    let digest = challenge_digest(storage, &name)?;
    challenge_config(&name, &digest).inspect_err(|error| tracing::error!("{error}")).ok()
}

/// Begins an expensive step once a permit is free, and runs it. The permit is returned in the next turn, when
/// other ready tasks have run, however long the rest takes.
pub(super) async fn in_turn<F: Future>(places: &Semaphore, begin: impl FnOnce() -> F) -> F::Output {
    let place = places.acquire().await;
    let mut rest = pin!(begin());
    tokio::select! {
        biased;
        output = &mut rest => return output,
        () = tokio::task::yield_now() => drop(place),
    }
    rest.await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn failures_are_told_apart_for_metrics() {
        use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
        let of_tls = |error: Error| HandshakeError::Failed(io::Error::new(io::ErrorKind::InvalidData, error));
        for (error, kind) in [
            (HandshakeError::NoHello, HandshakeFailure::NoHello),
            (HandshakeError::Failed(io::ErrorKind::UnexpectedEof.into()), HandshakeFailure::Disconnect),
            (of_tls(Error::AlertReceived(AlertDescription::UnknownCA)), HandshakeFailure::Alert),
            (of_tls(Error::NoCertificatesPresented), HandshakeFailure::Certificate),
            (of_tls(CertificateError::Expired.into()), HandshakeFailure::Certificate),
            (of_tls(PeerIncompatible::NoCipherSuitesInCommon.into()), HandshakeFailure::Incompatible),
            (of_tls(Error::NoApplicationProtocol), HandshakeFailure::Incompatible),
            (of_tls(Error::DecryptError), HandshakeFailure::Protocol),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }

    #[test]
    fn a_bounded_number_is_begun_in_one_turn_and_unfinished_ones_hold_no_place() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let (places, begun) = (Rc::new(Semaphore::new(2)), Rc::new(Cell::new(0)));
            for _ in 0..6 {
                let (places, begun) = (Rc::clone(&places), Rc::clone(&begun));
                tokio::task::spawn_local(async move {
                    let start = || {
                        begun.set(begun.get() + 1);
                        std::future::pending::<()>()
                    };
                    in_turn(&places, start).await;
                });
            }
            let mut turns = Vec::new();
            while begun.get() < 6 {
                let before = begun.get();
                tokio::task::yield_now().await;
                turns.push(begun.get() - before);
            }
            assert!(turns.iter().all(|&n| n <= 2), "{turns:?}");
        });
    }
}
