//! The handshake of a QUIC connection, its deadlines and its outcome.

use std::rc::Rc;
use std::task::Poll;

use hcrs_metrics::HandshakeFailure;
use hcrs_tls::QuicHandshake;
use quinn_proto::crypto::rustls::NoInitialCipherSuite;
use quinn_proto::{ConnectionError, Event, TransportErrorCode};
use tokio::time::{Instant, error::Elapsed, timeout_at};

use super::config::{self, Windows};
use super::connection::Connection;
use super::endpoint::Arriving;
use crate::client::{Admitted, Agreed};
use crate::clock;
use crate::connection::handshake::in_turn;

/// The reason why there is no QUIC connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("QUIC handshake failed: {0}")]
    Failed(#[from] ConnectionError),
    #[error("no whole ClientHello in time")]
    NoHello,
    #[error("QUIC handshake not finished in time")]
    Late(#[from] Elapsed),
    #[error("QUIC cannot be spoken with this TLS configuration: {0}")]
    Unusable(#[from] NoInitialCipherSuite),
}

impl HandshakeError {
    /// Returns the kind of the failure, for metrics.
    fn kind(&self) -> HandshakeFailure {
        match self {
            Self::NoHello => HandshakeFailure::NoHello,
            Self::Late(_) | Self::Failed(ConnectionError::TimedOut) => HandshakeFailure::Timeout,
            Self::Failed(ConnectionError::TransportError(error)) => kind_of_alert(error.code),
            Self::Failed(ConnectionError::ConnectionClosed(close)) => {
                alert(close.error_code).map_or(HandshakeFailure::Disconnect, |_| HandshakeFailure::Alert)
            }
            Self::Failed(ConnectionError::VersionMismatch) | Self::Unusable(_) => {
                HandshakeFailure::Incompatible
            }
            Self::Failed(_) => HandshakeFailure::Disconnect,
        }
    }
}

/// Returns the alert of TLS in an error code of QUIC (RFC 9001 §4.8).
fn alert(code: TransportErrorCode) -> Option<u8> {
    const ALERTS: u64 = 0x100;
    u8::try_from(u64::from(code).checked_sub(ALERTS)?).ok()
}

/// Returns the kind of a failure that this end has answered with an alert (RFC 8446 §6).
fn kind_of_alert(code: TransportErrorCode) -> HandshakeFailure {
    match alert(code) {
        // bad_certificate to certificate_unknown, unknown_ca, certificate_required
        Some(42..=46 | 48 | 116) => HandshakeFailure::Certificate,
        // handshake_failure, protocol_version, no_application_protocol
        Some(40 | 70 | 120) => HandshakeFailure::Incompatible,
        _ => HandshakeFailure::Protocol,
    }
}

/// Performs the handshake of a connection, and counts the outcome.
pub(super) async fn shake_hands(
    admitted: &Admitted,
    arriving: Arriving,
) -> Result<(Connection, Agreed), HandshakeError> {
    let outcome = negotiate(admitted, arriving).await;
    let metrics = &admitted.shared.metrics;
    match &outcome {
        Ok(_) => metrics.shake_hands(),
        Err(error) => metrics.fail_handshake(error.kind()),
    }
    outcome
}

async fn negotiate(
    admitted: &Admitted,
    mut arriving: Arriving,
) -> Result<(Connection, Agreed), HandshakeError> {
    let now = Instant::now();
    let endpoint = Rc::clone(arriving.endpoint());
    let settings = admitted.shared.kept_settings();
    let deadline = now + endpoint.tls.settings().handshake_timeout;
    let hello_deadline = deadline.min(now + settings.connection.head_timeout);
    let handshake = endpoint.tls.current().for_quic();
    let server = config::of_connection(endpoint.keys(), &handshake, &settings.connection)?;
    let begin = || {
        let windows = Windows::of(&settings.connection);
        let accepted = arriving.accept(server, windows, &admitted.mailbox);
        async {
            let mut connection = accepted?;
            let said_hello = advance(&mut connection, Until::Hello);
            timeout_at(hello_deadline, said_hello).await.map_err(|_| HandshakeError::NoHello)??;
            timeout_at(deadline, advance(&mut connection, Until::Connected)).await??;
            Ok::<_, HandshakeError>(connection)
        }
    };
    let connection = in_turn(&admitted.shared.handshakes, begin).await?;
    let agreed = agreed(admitted, &connection, &handshake);
    Ok((connection, agreed))
}

/// The step of a handshake that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// The client's first message is there.
    Hello,
    /// Both ends know that the other has the keys.
    Connected,
}

/// Continues a handshake until it has reached a step.
async fn advance(connection: &mut Connection, until: Until) -> Result<(), ConnectionError> {
    std::future::poll_fn(|cx| {
        let now = clock::now();
        connection.advance(now);
        let mut outcome = None;
        while outcome.is_none()
            && let Some(event) = connection.quic.poll()
        {
            match event {
                Event::HandshakeDataReady if until == Until::Hello => outcome = Some(Ok(())),
                Event::Connected => outcome = Some(Ok(())),
                Event::ConnectionLost { reason } => outcome = Some(Err(reason)),
                // Streams come after the handshake.
                _ => {}
            }
        }
        let _blocked = connection.poll_transmit(cx, now);
        outcome.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

fn agreed(admitted: &Admitted, connection: &Connection, handshake: &QuicHandshake) -> Agreed {
    let info = handshake.info(&connection.client_chain()).expect("invariant: the handshake is over");
    let info = admitted.shared.tls_infos.number(info);
    Agreed { info, alpn: Some("h3".to_owned()) }
}
