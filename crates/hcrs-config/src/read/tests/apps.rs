//! Tables of further apps.

use hcrs_server::{AppIndex, AppSettings, RouteAction};

use super::*;

const TWO: &str = "application_path = \"main:app\"
workers = 3
startup_timeout = 9
root_path = \"/m\"
[hcrs]
env = { A = \"1\", B = \"2\" }
queue_size = 7
worker_start = \"main:hook\"
reload_dirs = [\"src\"]
[[hcrs.routes]]
path = \"/shop\"
app = \"shop\"
[[hcrs.apps]]
name = \"shop\"
application_path = \"shop.wsgi:application\"
";

fn two(more: &str) -> [AppSettings; 2] {
    settings(&format!("{TWO}{more}")).apps.try_into().expect("two apps")
}

#[test]
fn each_key_of_an_app_ends_in_its_setting_and_leaves_the_main_app_alone() {
    ends_in(
        "hcrs.apps = [{ name = \"a\", application_path = \"a\" }]\nhcrs.routes = [{ app = \"a\" }]",
        |s| s.apps.len(),
        2,
    );
    let [main, shop] = two(
        "workers = 1\nworker_class = \"uvloop\"\nchdir = \"/srv/shop\"\nenv = [\"B=3\"]\npython = \"p\"\n\
         root_path = \"/shop/\"\nqueue_size = 0\nmax_requests = 5\npreload = true\nuse_reloader = true\n",
    );
    assert_eq!((main.name.as_str(), main.path.as_str(), main.workers.get()), ("main", "main:app", 3));
    assert_eq!((main.root_path.as_str(), main.chdir, main.dispatch.queue_size), ("/m", None, 7));
    assert_eq!((main.max_requests, main.preload, main.use_reloader), (None, false, false));
    assert_eq!((shop.name.as_str(), shop.path.as_str()), ("shop", "shop.wsgi:application"));
    assert_eq!((shop.workers.get(), shop.worker_class), (1, WorkerClass::Uvloop));
    assert_eq!((shop.root_path.as_str(), shop.dispatch.queue_size), ("/shop", 0));
    assert_eq!((shop.chdir, shop.python), (Some("/srv/shop".into()), Some("p".into())));
    assert_eq!((shop.max_requests, shop.preload, shop.use_reloader), (NonZeroU64::new(5), true, true));
    let variables: Vec<_> = shop.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(variables, ["A=1", "B=2", "B=3"], "the later one counts");
}

#[test]
fn an_app_has_what_it_does_not_say_from_above_but_what_is_of_the_main_apps_code() {
    let [main, shop] = two("");
    assert_eq!((shop.workers, shop.startup_timeout), (main.workers, Duration::from_secs(9)));
    assert_eq!((shop.dispatch.queue_size, &shop.variables), (7, &main.variables));
    assert_eq!(main.hooks.worker_start.as_deref(), Some("main:hook"));
    assert_eq!((shop.root_path.as_str(), shop.hooks.worker_start, shop.reload.dirs.len()), ("", None, 0));
    let flags = ["hcrs", "--workers", "5", "-c", "/dev/null", "m:a"].map(OsString::from);
    let toml =
        "[[hcrs.apps]]\nname = \"b\"\napplication_path = \"b\"\n[[hcrs.routes]]\napp = \"b\"\npath = \"/b\"";
    let variable = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
    let variables = [
        variable("HCRS_APPS", "[{ name = \"b\", application_path = \"b\" }]"),
        variable("HCRS_ROUTES", "[{ app = \"b\", path = \"/b\" }]"),
    ];
    let Ok(Command::Serve(config)) = parse_in(flags, &variables) else { panic!("{toml}") };
    assert_eq!(config.server.apps[1].workers.get(), 5, "a flag is above as well");
}

#[test]
fn routes_know_apps_by_their_places_and_the_main_one_is_first() {
    let toml = |routes: &str| {
        format!(
            "hcrs.routes = [{routes}]\n[[hcrs.apps]]\nname = \"a\"\napplication_path = \"a\"\n\
             [[hcrs.apps]]\nname = \"main\"\napplication_path = \"m\"\n"
        )
    };
    let read = settings(&toml("{ app = \"a\", path = \"/a\" }, { app = true }"));
    let actions: Vec<_> = read.routes.list().iter().map(|route| route.action.clone()).collect();
    assert_eq!(actions, [RouteAction::App(AppIndex(1)), RouteAction::App(AppIndex(0))]);
    assert_eq!(read.apps[0].path, "m");
    let only = "hcrs.routes = [{ app = true }]\nhcrs.apps = [{ name = \"a\", application_path = \"a\" }]";
    assert_eq!(settings(only).routes.list()[0].action, RouteAction::App(AppIndex(0)), "it is the only one");
}

#[test]
fn mistakes_in_apps_are_named_with_their_place() {
    let of = |toml: &str| config(toml).unwrap_err().to_string();
    for (toml, line, message) in [
        ("application_path = \"a\"", 1, "an app has a name, and this one has none"),
        ("name = \"a\"", 1, "the app a has no application_path"),
        ("name = \"a b\"\napplication_path = \"a\"", 2, "name: expected 1 to 32 letters, digits"),
        ("name = \"a\"\napplication_path = 5", 3, "application_path: expected a string, found 5"),
        ("name = \"a\"\nworkres = 2", 3, "unknown key: workres; did you mean workers?"),
        ("name = \"a\"\nbind = \"b:1\"", 3, "unknown key: bind"),
        ("name = \"a\"\nworkers = -1", 3, "workers: expected a whole number from 0 to 1024"),
        ("name = \"a\"\nchdir = 1\napplication_path = \"a\"", 3, "chdir: expected a path"),
        (
            "name = \"a\"\napplication_path = \"a\"\n[[hcrs.apps]]\nname = \"a\"\napplication_path = \"b\"",
            4,
            "there are two apps named a",
        ),
    ] {
        let error = of(&format!("[[hcrs.apps]]\n{toml}"));
        let place = format!("test.toml:{line}");
        assert!(error.contains(&place) && error.contains(&format!("apps: {message}")), "{error}");
    }
    for (toml, line, message) in [
        (
            "application_path = \"m\"\n[[hcrs.apps]]\nname = \"main\"\napplication_path = \"a\"",
            2,
            "apps: the app of application_path, above all tables, is named main; give this one another name",
        ),
        (
            &TWO.replace("app = \"shop\"", "app = \"shpo\""),
            12,
            "app: there is no app \"shpo\"; did you mean shop?",
        ),
        (
            &TWO.replace("app = \"shop\"", "app = true"),
            13,
            "apps: no request reaches this app: no route has app = \"shop\"",
        ),
        (
            &TWO.replace("application_path = \"main:app\"", "")
                .replace("app = \"shop\"", "app = true")
                .replace(
                    "[[hcrs.apps]]",
                    "[[hcrs.apps]]\nname = \"blog\"\napplication_path = \"b\"\n[[hcrs.apps]]",
                ),
            12,
            "app: true means the main app, and there is none; name one of blog, shop",
        ),
        ("[hcrs]\napps = 1", 2, "apps: expected an array of at most 64 tables, found 1"),
    ] {
        let error = of(toml);
        assert!(error.contains(&format!("test.toml:{line}")) && error.contains(message), "{error}");
    }
    let warned = config(&format!("{TWO}workers = 0")).unwrap().warnings;
    assert!(warned[0].contains("test.toml:16") && warned[0].contains("0 is treated as 1"), "{warned:?}");
}

#[test]
fn the_variables_of_apps_are_hidden_where_the_configuration_is_shown() {
    let shown = config(&format!("{TWO}env = {{ KEY = \"hunter2\" }}")).unwrap().shown();
    assert!(shown.contains("name = \"shop\"") && shown.contains("KEY = "), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn apps_come_and_go_at_a_reload_and_routes_know_their_new_places() {
    let none = settings("application_path = \"main:app\"");
    let two = settings(TWO);
    let actions = |settings: &Settings| settings.routes.list()[0].action.clone();
    let names =
        |settings: &Settings| -> Vec<_> { settings.apps.iter().map(|app| app.name.to_string()).collect() };
    let added = none.changed_to(two.clone());
    assert_eq!(
        (names(&added), actions(&added)),
        (vec!["main".into(), "shop".into()], RouteAction::App(AppIndex(1)))
    );
    assert_eq!(names(&two.changed_to(none)), ["main"]);
    let changed =
        TWO.replace("shop.wsgi:application", "other").replace("\"shop\"\napp", "\"shop\"\nworkers = 9\napp");
    let changed = two.changed_to(settings(&changed));
    assert_eq!(changed.apps[1].workers.get(), 9);
    assert_eq!(changed.apps[1].path, "shop.wsgi:application", "it takes effect at a start");
    // The main app is there from the start, or not at all.
    let shop = settings(&TWO.replace("application_path = \"main:app\"", ""));
    let kept = two.changed_to(shop.clone());
    assert_eq!(
        (names(&kept), actions(&kept)),
        (vec!["main".into(), "shop".into()], RouteAction::App(AppIndex(1)))
    );
    let without = shop.changed_to(two);
    assert_eq!((names(&without), actions(&without)), (vec!["shop".into()], RouteAction::App(AppIndex(0))));
}
