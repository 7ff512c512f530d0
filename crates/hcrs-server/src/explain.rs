//! Explains, for the operator, which route takes a request.

use std::fmt;

use hcrs_http::{Endpoints, RequestHead, RequestLine, Scheme, Version};

use crate::route::{Circumstances, Route, route};
use crate::settings::{AppIndex, Mismatch, MissingFile, RouteAction, Settings};

/// A request that an operator asks about.
#[derive(Debug, Clone)]
pub struct AskedRequest {
    head: RequestHead,
    has_tls: bool,
}

/// The part of a route in the routing of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteStep {
    /// The route at this place of the order, counted from 0, does not take the request.
    Passed(usize, Mismatch),
    /// The route at this place takes the request, and its action answers it.
    Taken(usize, String),
    /// The route at this place takes the request if it has the file that the request names.
    MayTake(usize, String),
    /// No route takes the request, and this answers it.
    Untaken(String),
}

impl AskedRequest {
    /// Parses a request, as `GET https://example.com/path`; without a method it is GET. The error describes what is
    /// expected.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected a method and a URL, as 'GET https://example.com/path'";
        let mut words = text.split_ascii_whitespace();
        let (method, url) = match (words.next(), words.next(), words.next()) {
            (Some(url), None, None) => ("GET", url),
            (Some(method), Some(url), None) => (method, url),
            _ => return Err(EXPECTED),
        };
        let url: http::Uri = url.parse().map_err(|_| EXPECTED)?;
        let (scheme, has_tls) = match url.scheme_str() {
            Some("https") => (Scheme::Https, true),
            Some("http") => (Scheme::Http, false),
            _ => return Err(EXPECTED),
        };
        let host = url.authority().ok_or(EXPECTED)?.as_str();
        let line = RequestLine {
            version: Version::Http2,
            scheme,
            method: method.as_bytes(),
            path: url.path().as_bytes(),
            query: url.query().unwrap_or_default().as_bytes(),
        };
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
        head.push_field(b"host", host.as_bytes());
        Ok(Self { head, has_tls })
    }
}

impl fmt::Display for AskedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.head.view();
        let scheme = if self.has_tls { "https" } else { "http" };
        let host = view.fields().first(b"host").unwrap_or_default();
        let text = String::from_utf8_lossy;
        write!(f, "{} {scheme}://{}{}", text(view.method), text(host), text(view.path))?;
        if view.query.is_empty() { Ok(()) } else { write!(f, "?{}", text(view.query)) }
    }
}

/// Returns what each route up to the answer makes of a request, in a server that works as it should.
pub fn explain(settings: &Settings, asked: &AskedRequest) -> Vec<RouteStep> {
    let has_https = settings.listeners.iter().any(|listener| listener.tls);
    let redirects = settings.connection.redirect_http && !asked.has_tls && has_https;
    let mut circumstances = Circumstances {
        settings,
        is_admin: false,
        may_answer_challenge: settings.acme.is_some(),
        https_port: redirects.then_some(443),
        first_route: 0,
        apps: &[],
        has_too_many_running: false,
    };
    let mut steps = Vec::new();
    loop {
        let routed = route(&asked.head, circumstances);
        let list = settings.routes.list();
        let is_early = matches!(routed.route, Route::Redirect(_) | Route::Health(_) | Route::Refused(_));
        let untaken = if is_early { 0 } else { list.len() };
        let end = routed.taken.map_or(untaken, |taken| taken.next() - 1);
        let view = asked.head.view();
        let passed = (circumstances.first_route..end)
            .filter_map(|at| Some(RouteStep::Passed(at, list[at].mismatch_of(&view)?)));
        steps.extend(passed);
        let Some(taken) = routed.taken else {
            steps.push(RouteStep::Untaken(describe(routed.route, settings)));
            return steps;
        };
        let action = &settings.routes[taken].action;
        if let Route::Refused(fault) = routed.route {
            steps.push(RouteStep::Taken(end, format!("status {}", fault.status())));
            return steps;
        }
        let may_pass_on =
            matches!(action, RouteAction::Files(files) if files.missing == MissingFile::NextRoute);
        if !may_pass_on {
            steps.push(RouteStep::Taken(end, shown(action, settings)));
            return steps;
        }
        steps.push(RouteStep::MayTake(end, shown(action, settings)));
        circumstances.first_route = taken.next();
    }
}

/// Describes the answer of a route's action.
fn shown(action: &RouteAction, settings: &Settings) -> String {
    match action {
        RouteAction::App(AppIndex(at)) => match settings.apps.get(*at) {
            Some(app) if !app.name.is_main() => format!("the app {}, {}", app.name, app.path),
            _ => action.to_string(),
        },
        _ => action.to_string(),
    }
}

fn describe(route: Route, settings: &Settings) -> String {
    match route {
        Route::App(AppIndex(at)) => {
            let path = settings.apps.get(at).map(|app| app.path.as_str());
            format!("the app {}", path.unwrap_or_default())
        }
        Route::Redirect(_) => "a redirect to https (redirect_http)".to_owned(),
        Route::Challenge => "the answer to the challenge of an authority of certificates".to_owned(),
        Route::Health(_) => "the server's answer to probes".to_owned(),
        Route::Refused(fault) => format!("status {}: {}", fault.status(), fault.as_str()),
        Route::Welcome | Route::AppFailure(_) | Route::Configured(_) | Route::Admin => {
            "the welcome page".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::settings::{
        AppSettings, ConfiguredRoute, FilesSettings, PathPattern, RouteMatcher, Routes, Rules,
    };

    fn steps(settings: &Settings, request: &str) -> Vec<RouteStep> {
        let asked = AskedRequest::parse(request).unwrap();
        assert_eq!(asked.to_string(), request);
        explain(settings, &asked)
    }

    fn route(path: &str, action: RouteAction) -> ConfiguredRoute {
        let matcher =
            RouteMatcher { paths: vec![PathPattern::parse(path).unwrap()], ..RouteMatcher::default() };
        ConfiguredRoute { matcher, action, rules: Arc::default() }
    }

    #[test]
    fn each_route_before_the_answer_is_a_step() {
        let mut settings = Settings { apps: vec![AppSettings::new("m:a".to_owned())], ..Settings::default() };
        let files = FilesSettings { missing: MissingFile::NextRoute, ..FilesSettings::new("s".into()) };
        let api = ConfiguredRoute {
            rules: Arc::new(Rules { max_body_size: Some(1), ..Rules::default() }),
            ..route("/api", RouteAction::App(AppIndex(0)))
        };
        let list = vec![api, route("/s", RouteAction::Files(files)), route("/s/w", RouteAction::Welcome)];
        settings.routes = Routes::new(list, Rules::default());
        let app = || RouteStep::Untaken("the app m:a".to_owned());
        let [first, second, third] = [0, 1, 2].map(|at| RouteStep::Passed(at, Mismatch::Path));
        let taken = RouteStep::Taken(0, "the app".to_owned());
        assert_eq!(steps(&settings, "POST https://h/api"), [taken]);
        let may = RouteStep::MayTake(1, "files of s".to_owned());
        let welcome = RouteStep::Taken(2, "the welcome page".to_owned());
        assert_eq!(steps(&settings, "GET https://h/s/w?q"), [first.clone(), may.clone(), welcome]);
        assert_eq!(steps(&settings, "GET http://h/s/x"), [first.clone(), may, third.clone(), app()]);
        assert_eq!(steps(&settings, "GET http://h/"), [first, second, third, app()]);
        settings.connection.server_names.push("example.org").unwrap();
        let refused = steps(&settings, "GET http://h/");
        assert!(
            matches!(&refused[..], [RouteStep::Untaken(text)] if text.starts_with("status 404")),
            "{refused:?}"
        );
    }

    #[test]
    fn an_internal_route_takes_no_request() {
        let files = FilesSettings { internal: true, ..FilesSettings::new("s".into()) };
        let list = vec![route("/s", RouteAction::Files(files))];
        let settings = Settings { routes: Routes::new(list, Rules::default()), ..Settings::default() };
        let passed = RouteStep::Passed(0, Mismatch::Internal);
        let untaken = RouteStep::Untaken("the welcome page".to_owned());
        assert_eq!(steps(&settings, "GET http://h/s/x"), [passed, untaken]);
    }

    #[test]
    fn a_request_has_a_url() {
        for bad in ["", "GET", "GET /path", "GET ftp://h/", "GET http://h/ x", "http:///x"] {
            assert!(AskedRequest::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(AskedRequest::parse("https://h").unwrap().to_string(), "GET https://h/");
    }
}
