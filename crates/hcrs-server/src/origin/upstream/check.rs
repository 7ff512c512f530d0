//! Checks of a server by requests of this edge thread (`health_path`).

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use http::header::{self, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use hyper::Request;

use super::body::Body;
use super::connect::{Connected, Purpose, connect};
use super::group::Tls;
use super::http1;
use super::server::Server;
use crate::settings::{HealthCheck, UpstreamHost, UpstreamSettings, UpstreamTls, UpstreamUrl};

/// The `user-agent` of checks.
const USER_AGENT: &str = "hcrs (health check)";

/// Checks the server in intervals, for as long as it is there.
pub(super) async fn run(server: Weak<Server>, settings: Arc<UpstreamSettings>, tls: Rc<Tls>) {
    let Some(check) = &settings.health else { return };
    loop {
        let Some(server) = server.upgrade() else { return };
        let tls = tls.get();
        let until = Instant::now() + settings.connect_timeout;
        let checking = ask(&server.url, check, &settings, tls.as_ref(), until);
        let outcome = tokio::time::timeout_at(until.into(), checking).await;
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
    until: Instant,
) -> Result<(), String> {
    let connected = connect(url, settings.protocol, tls, Purpose::Requests, until)
        .await
        .map_err(|error| error.to_string())?;
    let host = match &settings.host {
        UpstreamHost::Named(name) => name,
        UpstreamHost::Client | UpstreamHost::Upstream => &url.authority,
    };
    let status = match connected {
        Connected::Http1(io) => {
            http1::ask(io, &check.path, &[("host", host), ("user-agent", USER_AGENT)]).await?
        }
        Connected::Http2(mut sender) => {
            let response = sender.send_request(request(url, check, host)?).await;
            response.map_err(|error| error.to_string())?.status().as_u16()
        }
    };
    if (200..400).contains(&status) { Ok(()) } else { Err(format!("its check is answered with {status}")) }
}

/// Returns the request in the form that `hyper` takes.
fn request(url: &UpstreamUrl, check: &HealthCheck, host: &str) -> Result<Request<Body>, String> {
    let mut uri = http::uri::Parts::default();
    uri.path_and_query =
        Some(PathAndQuery::try_from(check.path.as_str()).map_err(|error| error.to_string())?);
    uri.scheme = Some(if url.is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(Authority::try_from(host).map_err(|error| error.to_string())?);
    let mut request = Request::new(Body::none());
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    *request.uri_mut() = Uri::from_parts(uri).map_err(|error| error.to_string())?;
    Ok(request)
}
