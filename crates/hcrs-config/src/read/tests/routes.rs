//! Routes: their actions, upstreams, and mistakes in them.

use std::sync::Arc;

use hcrs_server::{
    AppIndex, Balance, ConfiguredRoute, FilesSettings, FixedBody, FixedResponse, HashKey, HealthCheck,
    HostPattern, LoadedFile, MissingFile, PathPattern, RedirectSettings, RouteAction, RouteMatcher,
    UpstreamHost, UpstreamProtocol, UpstreamSettings, UpstreamUrl,
};

use super::*;

#[test]
fn routes_end_in_their_settings() {
    let route = |toml: &str| {
        let routes = settings(&format!("[[hcrs.routes]] # routes = 1\n{toml}")).routes;
        assert_eq!(routes.list().len(), 1);
        routes.list()[0].clone()
    };
    let all = route(
        "path = \"/static/\"\nhost = [\"a.test\", \"*.b.test\"]\nmethod = \"GET\"\nscheme = \"https\"\n\
         files = \"static\"\nindex = \"home.html\"\nmissing = \"next\"\ncache_control = \"no-cache\"\n\
         hidden = true\nfollow_links = true\nprecompressed = true\nhashed_immutable = true\nattachment = true\n\
         force_type = \"text/plain\"\nlisting = true",
    );
    let expected = ConfiguredRoute {
        matcher: RouteMatcher {
            paths: vec![PathPattern::Prefix("/static".into())],
            hosts: vec![HostPattern::Exact("a.test".into()), HostPattern::Below(".b.test".into())],
            methods: vec!["GET".into()],
            scheme: Some(hcrs_http::Scheme::Https),
        },
        action: RouteAction::Files(FilesSettings {
            folder: "static".into(),
            index: vec!["home.html".into()],
            missing: MissingFile::NextRoute,
            cache_control: Some("no-cache".into()),
            hidden: true,
            follow_links: true,
            precompressed: true,
            hashed_immutable: true,
            attachment: true,
            force_type: Some("text/plain".into()),
            listing: true,
            internal: false,
        }),
        rules: Arc::default(),
    };
    assert_eq!(all, expected);
    assert!(route("files = \"media\"\ninternal = true").action.is_internal());
    let redirect = route("redirect = \"https://{host}{path}{query}\"\nredirect_status = 301").action;
    let location = "https://{host}{path}{query}".into();
    assert_eq!(redirect, RouteAction::Redirect(RedirectSettings { location, status: 301 }));
    let gone = FixedResponse {
        status: 410,
        body: FixedBody::Text("gone".into()),
        content_type: Some("text/html".into()),
    };
    let fixed = route("path = \"*.php\"\nstatus = 410\ntext = \"gone\"\ncontent_type = \"text/html\"");
    assert_eq!(fixed.action, RouteAction::Fixed(gone));
    let page = FixedBody::File(LoadedFile::new("gone.html".into()));
    let fixed = route("status = 410\nfile = \"gone.html\"").action;
    assert_eq!(fixed, RouteAction::Fixed(FixedResponse { status: 410, body: page, content_type: None }));
    assert_eq!(route("path = [\"=/\", \"/a\"]\nwelcome = true").action, RouteAction::Welcome);
    let api = route("path = \"/api\"\napp = true\nmax_body_size = \"1k\"");
    assert_eq!((api.action, api.rules.max_body_size), (RouteAction::App(AppIndex(0)), Some(1024)));
    let route = "[[hcrs.routes]]\nstatus = 404";
    assert_eq!(settings("application_path = \"a\"").changed_to(settings(route)).routes.list().len(), 1);
}

#[test]
fn routes_to_upstreams_end_in_their_settings() {
    let upstream =
        |toml: &str| match settings(&format!("[[hcrs.routes]]\n{toml}")).routes.list()[0].action.clone() {
            RouteAction::Upstream(settings) => UpstreamSettings::clone(&settings),
            other => panic!("{other:?}"),
        };
    let url = |text: &str| UpstreamUrl::parse(text).unwrap();
    let all = upstream(
        "upstream = [\"https://a.test/base\", \"unix:/run/x.sock\"]\nstrip_path = true\nbalance = \"hash\"\n\
         hash_by = \"X-User\"\nupstream_protocol = \"h2\"\nupstream_host = \"upstream\"\nupstream_ca = \"ca.pem\"\n\
         upstream_verify = false\nupstream_connections = 3\nconnect_timeout = 1\nread_timeout = 2\nsend_timeout = 3\n\
         retries = 0\nhealth_path = \"/health\"\nhealth_interval = 9",
    );
    let seconds = Duration::from_secs;
    let expected = UpstreamSettings {
        servers: vec![url("https://a.test/base"), url("unix:/run/x.sock")],
        strip_path: true,
        balance: Balance::Hash(HashKey::Field("x-user".into())),
        protocol: UpstreamProtocol::Http2,
        host: UpstreamHost::Upstream,
        connect_timeout: seconds(1),
        read_timeout: seconds(2),
        send_timeout: seconds(3),
        ca: Some("ca.pem".into()),
        verify: false,
        health: Some(HealthCheck { path: "/health".into(), interval: seconds(9) }),
        retries: 0,
        connections: 3,
    };
    assert_eq!(all, expected);
    let one = "upstream = \"http://127.0.0.1:9000\"";
    let defaults = UpstreamSettings::new(vec![url("http://127.0.0.1:9000")]);
    assert_eq!(upstream(one), defaults);
    assert_eq!(upstream(&format!("{one}\nbalance = \"hash\"")).balance, Balance::Hash(HashKey::Address));
    assert_eq!(upstream(&format!("{one}\nhash_by = \"path\"")).balance, Balance::Hash(HashKey::Path));
    let named = UpstreamHost::Named("a.test:81".into());
    assert_eq!(upstream(&format!("{one}\nupstream_host = \"a.test:81\"")).host, named);
}

#[test]
fn static_files_are_routes_behind_the_others() {
    let toml =
        "hcrs.static = [\"/static=./s\", \"/m=/srv/m\"]\nhcrs.routes = [{ status = 404, host = \"a\" }]";
    let routes = settings(toml).routes;
    let routes = routes.list();
    assert_eq!(routes.len(), 3);
    assert_eq!(routes[1].action, RouteAction::Files(FilesSettings::new("./s".into())));
    assert_eq!(routes[2].matcher.paths, [PathPattern::Prefix("/m".into())]);
    ends_in("[hcrs]\nstatic = [\"/a=b\"]", |s| s.routes.list().len(), 1);
    for (text, message) in [
        ("/static", "expected a path and a folder, as"),
        ("/static=", "expected a path and a folder, as"),
        ("static=s", "expected a path that begins with /"),
    ] {
        let error = config(&format!("[hcrs]\nstatic = [{text:?}]")).unwrap_err().to_string();
        assert!(
            error.contains("test.toml:2") && error.contains("static: ") && error.contains(message),
            "{error}"
        );
    }
}

#[test]
fn mistakes_in_routes_are_named_with_their_place() {
    for (toml, line, message) in [
        ("files = \"a\"\nstatus = 404", 1, "a route has one action, and this one has files and status"),
        ("path = \"/a\"", 1, "a route has one of files, redirect, status, app, upstream, welcome"),
        ("path = \"/a\"\npaht = \"/b\"\nstatus = 404", 3, "unknown key: paht; did you mean path?"),
        ("status = 404\nindex = \"a\"", 3, "index goes with files, which this route does not have"),
        ("path = \"a\"\nstatus = 404", 2, "path: expected a path that begins with /"),
        ("host = [\"a\", \"b:80\"]\nstatus = 404", 2, "host: expected a host name or address without a port"),
        ("method = \"get\"\nstatus = 404", 2, "method: expected a method in capitals"),
        (
            "upstream = [\"http://a\", \"a:80\"]",
            2,
            "upstream: expected http://HOST:PORT, https://HOST:PORT or unix:PATH",
        ),
        ("upstream = []", 2, "upstream: expected 1 to 256 URLs"),
        (
            "upstream = \"http://a\"\nbalance = \"least-busy\"\nhash_by = \"path\"",
            4,
            "hash_by: expected balance =",
        ),
        ("upstream = \"http://a\"\nhealth_path = \"x\"", 3, "health_path: expected a path"),
        ("upstream = \"http://a\"\nhealth_interval = 1", 3, "health_interval goes with health_path"),
        (
            "upstream = \"http://a\"\nupstream_host = \"a b\"",
            3,
            "upstream_host: expected client, upstream or the name",
        ),
        ("status = 404\nretries = 1", 3, "retries goes with upstream, which this route does not have"),
        ("scheme = \"ws\"\nstatus = 404", 2, "scheme: expected http or https"),
        ("status = 600", 2, "status: expected a whole number from 200 to 599"),
        ("redirect = \"https://{hots}/\"", 2, "redirect: expected a URL or a path, in which braces hold"),
        ("redirect = \"/\"\nredirect_status = 305", 3, "redirect_status: expected 301, 302, 303, 307 or 308"),
        ("files = \"a\"\nmissing = \"../x\"", 3, "missing: expected the name of a file below the folder"),
        ("files = \"a\"\ninternal = true\nmissing = \"next\"", 4, "missing: expected a name, because"),
        (
            "files = \"a\"\ncache_control = \"a\\nb\"",
            3,
            "cache_control: expected the value of a response field",
        ),
        (
            "app = true\nmax_body_size = \"1T\"",
            3,
            "max_body_size: expected a number of bytes, or text as \"10M\"",
        ),
        ("welcome = false", 1, "expected welcome = true, or another action"),
        ("status = 404\ntext = \"a\"\nfile = \"a\"", 4, "file: expected text or file, and not both"),
        ("path = [\"/a\", \"b\"]\nstatus = 404", 2, "path: expected a path that begins with /"),
        ("app = false", 2, "app: expected true or the name of an app, or another action"),
    ] {
        let error = config(&format!("[[hcrs.routes]]\n{toml}")).unwrap_err().to_string();
        assert!(
            error.contains(&format!("test.toml:{line}")) && error.contains(&format!("routes: {message}")),
            "{error}"
        );
    }
    let unreachable =
        "[[hcrs.routes]]\npath = \"/a\"\nstatus = 404\n[[hcrs.routes]]\npath = \"/a/b\"\nstatus = 404";
    let error = config(unreachable).unwrap_err().to_string();
    assert!(error.contains("test.toml:4") && error.contains("route 1 takes all of them"), "{error}");
    let reachable = unreachable.replace("/a/b", "/ab");
    assert_eq!(settings(&reachable).routes.list().len(), 2);
    let internal = unreachable.replacen("status = 404", "files = \"a\"\ninternal = true", 1);
    assert_eq!(settings(&internal).routes.list().len(), 2, "it takes no request of a client");
    let many = "[[hcrs.routes]]\nstatus = 404\npath = \"/n\"\n".repeat(10_000);
    let error = config(&many).unwrap_err().to_string();
    assert!(error.contains("routes: expected at most 1024 routes"), "{error}");
}
