//! Checks of a server by requests of this edge thread (`health_path`).

use std::rc::Weak;
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use hyper::Request;

use super::body::Body;
use super::connect::{Purpose, Sender, connect};
use super::server::Server;
use crate::settings::{HealthCheck, UpstreamHost, UpstreamSettings, UpstreamTls, UpstreamUrl};

/// Checks the server in intervals, for as long as it is there.
pub(super) async fn run(server: Weak<Server>, settings: Arc<UpstreamSettings>, tls: Option<UpstreamTls>) {
    let Some(check) = &settings.health else { return };
    loop {
        let Some(server) = server.upgrade() else { return };
        let checking = ask(&server.url, check, &settings, tls.as_ref());
        let outcome = tokio::time::timeout(settings.connect_timeout, checking).await;
        server.check(&outcome.unwrap_or_else(|_| Err("its check is not answered in time".to_owned())));
        drop(server);
        tokio::time::sleep(check.interval).await;
    }
}

/// Sends one request over a connection of its own. The error describes why the server is not up.
async fn ask(
    url: &UpstreamUrl,
    check: &HealthCheck,
    settings: &UpstreamSettings,
    tls: Option<&UpstreamTls>,
) -> Result<(), String> {
    let sender =
        connect(url, settings.protocol, tls, Purpose::Requests).await.map_err(|error| error.to_string())?;
    let response = match sender {
        Sender::Http1(mut sender) => sender.send_request(request(url, check, settings, false)?).await,
        Sender::Http2(mut sender) => sender.send_request(request(url, check, settings, true)?).await,
    };
    let status = response.map_err(|error| error.to_string())?.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("its check is answered with {}", status.as_u16()))
    }
}

fn request(
    url: &UpstreamUrl,
    check: &HealthCheck,
    settings: &UpstreamSettings,
    is_h2: bool,
) -> Result<Request<Body>, String> {
    let host = match &settings.host {
        UpstreamHost::Named(name) => name,
        UpstreamHost::Client | UpstreamHost::Upstream => &url.authority,
    };
    let mut uri = http::uri::Parts::default();
    uri.path_and_query =
        Some(PathAndQuery::try_from(check.path.as_str()).map_err(|error| error.to_string())?);
    let mut request = Request::new(Body::none());
    if is_h2 {
        uri.scheme = Some(if url.is_tls { Scheme::HTTPS } else { Scheme::HTTP });
        uri.authority = Some(Authority::try_from(host.as_str()).map_err(|error| error.to_string())?);
    } else {
        let host = HeaderValue::from_str(host).map_err(|error| error.to_string())?;
        request.headers_mut().insert(header::HOST, host);
    }
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("hcrs (health check)"));
    *request.uri_mut() = Uri::from_parts(uri).map_err(|error| error.to_string())?;
    Ok(request)
}
