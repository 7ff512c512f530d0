//! The TLS handshake, under its deadline, and what it agreed on.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use hcrs_exchange::{Endpoints, Scheme};
use hcrs_tls::{ConnectionFacts, TlsConfig};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;

use crate::admit::Admitted;
use crate::negotiate::{self, Alpn};
use crate::proxy::{self, ForwardedFields, Peer};
use crate::socket::Socket;
use crate::tls_facts::NumberedFacts;

/// A client's connection, whatever it speaks.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its place among the thread's connections.
    pub admitted: Admitted,
    /// Its number on this thread.
    pub serial: u64,
    /// What is done with fields in which a proxy speaks of its client.
    pub forwarded: ForwardedFields,
    /// Cleartext or TLS.
    pub scheme: Scheme,
    /// The addresses of both ends.
    pub endpoints: Rc<Endpoints>,
    /// What the handshake agreed on.
    pub tls: Option<Agreed>,
}

/// What a TLS handshake agreed on.
#[derive(Debug)]
pub(crate) struct Agreed {
    /// What apps are told of it.
    pub known: Rc<NumberedFacts>,
    /// The protocol that ALPN chose.
    pub alpn: Option<String>,
}

/// Serves a connection from its first byte to its last.
pub(crate) async fn serve(
    admitted: Admitted,
    mut socket: Socket,
    proxy_protocol: bool,
    tls: Option<Arc<TlsConfig>>,
) {
    let peer = match proxy::peer(&mut socket, proxy_protocol, &admitted.shared.settings.proxies).await {
        Ok(peer) => peer,
        Err(refused) => return tracing::debug!("A connection was closed at its start: {refused}"),
    };
    let serial = admitted.shared.next_serial();
    let Peer { endpoints, forwarded, scheme } = peer;
    let Some(tls) = tls else {
        let endpoints = Rc::new(endpoints);
        let client = Client { admitted, serial, forwarded, scheme, endpoints, tls: None };
        return negotiate::negotiate(client, socket, Alpn::None).await;
    };
    let limit = tls.settings().handshake_timeout;
    let handshake = async {
        let _place = admitted.shared.handshakes.acquire().await;
        let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        // By its first message a client shows which certificate and which cipher suites suit it.
        let choice = tls.current().choose(&start.client_hello());
        let stream = start.into_stream(Arc::clone(&choice.config)).await?;
        let facts = ConnectionFacts::of(stream.get_ref().1, &choice);
        Ok::<_, io::Error>((stream, facts))
    };
    let (stream, facts) = match timeout(limit, handshake).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => return tracing::debug!("TLS handshake failed: {error}"),
        Err(_) => return tracing::debug!("TLS handshake not finished in time"),
    };
    let known = admitted.shared.tls_numbers.number(facts);
    let endpoints = Rc::new(endpoints.with_tls(known.number));
    let alpn = stream.get_ref().1.alpn_protocol();
    let agreed = Agreed { known, alpn: alpn.map(|name| String::from_utf8_lossy(name).into_owned()) };
    let alpn = match agreed.alpn.as_deref() {
        Some("h2") => Alpn::H2,
        Some(_) => Alpn::H1,
        None => Alpn::None,
    };
    let client = Client { admitted, serial, forwarded, scheme: Scheme::Https, endpoints, tls: Some(agreed) };
    negotiate::negotiate(client, stream, alpn).await;
}
