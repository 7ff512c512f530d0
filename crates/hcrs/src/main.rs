//! The command `hcrs`: parses its arguments, runs what they ask for, and reports the outcome by its exit
//! code.

mod acme;
mod admin;
mod allocator;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{ExitCode, Termination};
use std::sync::Arc;
use std::time::SystemTime;

use hcrs_config::{Command, Config, ConfigError, Greeting, has_colors, settings_source};
use hcrs_server::{Embedder, OnRunning, Outcome, StartError};
use hcrs_tls::{DevCertificate, TlsError, make_dev_certificate};

/// Exit code of the command; part of its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    /// The command succeeded, or the server drained after a signal to stop.
    Done = 0,
    /// The server could not start: an address in use, an app that cannot be loaded, no Python.
    NotStarted = 1,
    /// The arguments are invalid (clap's code).
    Usage = 2,
    /// The drain exceeded its deadline, and requests were cut off.
    CutOff = 3,
    /// The app's lifespan shutdown failed or took too long.
    ShutdownFailed = 4,
    /// A thread of the server failed.
    Internal = 70,
    /// The configuration is invalid: the file, a value, or a certificate that it names.
    Config = 78,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// First argument by which the package `hcrs` starts the command for a program that runs the app itself.
const EMBEDDED: &str = "--embedded";

fn main() -> Exit {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == EMBEDDED) {
        arguments.remove(1);
        return match Embedder::at_stdin() {
            Ok(embedder) => serve_for(&Arc::new(embedder), arguments),
            Err(error) => fail(Exit::Usage, &format!("{EMBEDDED}: {error}")),
        };
    }
    if arguments.get(1).is_some_and(|argument| argument == "migrate") {
        return migrate(&arguments[1..]);
    }
    match hcrs_config::parse(arguments.clone(), &hcrs_migrate::ADVICE) {
        Ok(Command::Serve(config)) => serve(&with_source(*config, arguments)),
        Ok(Command::Check(config)) => check(&config),
        Ok(Command::Show(config)) => {
            warn(&config.warnings);
            let _ = io::stdout().write_all(config.shown().as_bytes()); // a closed output is no failure
            Exit::Done
        }
        Ok(Command::Route { config, request }) => {
            warn(&config.warnings);
            let _ = io::stdout().write_all(config.explain_route(&request).as_bytes()); // as above
            Exit::Done
        }
        Ok(Command::Admin { config, action }) => match admin::run(&config.server, action) {
            Ok(()) => Exit::Done,
            Err(error) => fail(Exit::NotStarted, &error),
        },
        Ok(Command::Acme { config, action }) => match acme::run(&config.server, action) {
            Ok(true) => Exit::Done,
            Ok(false) => Exit::NotStarted,
            Err(error) => fail(Exit::NotStarted, &error),
        },
        Ok(Command::Develop { config, certificate_folder }) => {
            develop(with_source(*config, arguments), certificate_folder.as_deref())
        }
        Ok(Command::DevCertificate { folder, names, force }) => certificate(&folder, &names, force),
        Err(error) => refuse(&error),
    }
}

/// Reports invalid arguments or an invalid configuration, or prints the requested help.
fn refuse(error: &ConfigError) -> Exit {
    match error {
        ConfigError::Usage(error) => {
            let _ = error.print(); // a closed output is no failure
            if error.use_stderr() { Exit::Usage } else { Exit::Done }
        }
        ConfigError::Arguments(_) => fail(Exit::Usage, error),
        ConfigError::Invalid(_) => fail(Exit::Config, error),
    }
}

fn migrate(arguments: &[OsString]) -> Exit {
    let migrated = match hcrs_migrate::parse(arguments) {
        Ok(migrated) => migrated,
        Err(error) => return refuse(&error),
    };
    match migrated.write(&mut io::stdout()) {
        Ok(()) => Exit::Done,
        Err(problems) => fail(Exit::NotStarted, &problems.join("\n")),
    }
}

/// Returns the configuration of a server that reads its arguments, and the file that they name, again.
fn with_source(mut config: Config, arguments: Vec<OsString>) -> Config {
    config.server.source = settings_source(arguments, &hcrs_migrate::ADVICE, &config);
    config
}

fn serve(config: &Config) -> Exit {
    match run(config.clone()) {
        Ok(exit) => exit,
        Err(error) => {
            let exit = exit_of(&error);
            fail(exit, &config.explain(&error))
        }
    }
}

/// Returns the exit code of a start that failed.
fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Tls(_) | StartError::Account(..) => Exit::Config,
        _ => Exit::NotStarted,
    }
}

/// Serves an app while it is developed, with the development certificate in the folder, if there is one.
fn develop(mut config: Config, folder: Option<&Path>) -> Exit {
    if let Some(folder) = folder
        && let Err(error) = present_or_new(folder, &DevCertificate::LOCAL_NAMES)
    {
        return fail(Exit::NotStarted, &error);
    }
    let environment: Vec<_> = std::env::vars_os().collect();
    let greeting = Greeting {
        app: config.server.apps.first().map(|app| app.path.clone()),
        certificate: folder.map(DevCertificate::in_folder),
        has_colors: has_colors(&environment, io::stderr().is_terminal()),
    };
    config.server.on_running = Some(OnRunning::new(move |addresses| {
        let _ = io::stderr().write_all(greeting.text(addresses).as_bytes()); // the log has the addresses as well
    }));
    serve(&config)
}

/// Serves for a program that runs the app itself, and sends it the reason of a failure.
fn serve_for(embedder: &Arc<Embedder>, arguments: Vec<OsString>) -> Exit {
    // The program determines its settings; only the trust in proxies depends on the environment.
    let environment: Vec<_> = std::env::vars_os().filter(|(name, _)| name == "FORWARDED_ALLOW_IPS").collect();
    let mut config = match hcrs_config::parse_in(arguments, &environment) {
        Ok(Command::Serve(config)) => *config,
        Ok(_) => {
            return fail(
                Exit::Usage,
                &format!("{EMBEDDED} is for serving an app and takes no other command"),
            );
        }
        Err(error) => {
            embedder.failed(None, &error.to_string());
            return Exit::Config;
        }
    };
    if config.server.apps.len() > 1 {
        let why = "a program that serves an app itself has no other apps ([[hcrs.apps]]); serve them by the command hcrs";
        embedder.failed(None, why);
        return Exit::Config;
    }
    config.server.embedder = Some(Arc::clone(embedder));
    run(config).unwrap_or_else(|error| {
        embedder.failed(error.raw_os_error(), &error.to_string());
        exit_of(&error)
    })
}

fn run(mut config: Config) -> Result<Exit, StartError> {
    config.server.release_memory = allocator::GIVE_BACK;
    Ok(match hcrs_server::run(config.server, &config.warnings)? {
        Outcome::Clean => Exit::Done,
        Outcome::CutOff => Exit::CutOff,
        Outcome::ShutdownFailed => Exit::ShutdownFailed,
        Outcome::ThreadLost => Exit::Internal,
    })
}

/// Checks what the file refers to: certificates, logs, addresses.
fn check(config: &Config) -> Exit {
    let mut warnings = config.warnings.clone();
    let mut problems = hcrs_server::check(&config.server);
    problems.extend(config.check_logconfig());
    if let Some(tls) = &config.server.tls {
        match hcrs_tls::TlsConfig::load(tls.clone(), SystemTime::now()) {
            Ok((_, found)) => warnings.extend(found.iter().map(ToString::to_string)),
            Err(error) => problems.push(error.into()),
        }
    }
    let as_user = hcrs_server::check_as_process_user(&config.server);
    warnings.extend(as_user.warnings);
    problems.extend(as_user.problems);
    warn(&warnings);
    if problems.is_empty() {
        print_line("the configuration is valid");
        return Exit::Done;
    }
    let problems: Vec<_> = problems.iter().map(|problem| config.explain(problem)).collect();
    fail(Exit::Config, &problems.join("\n"))
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        let _ = writeln!(io::stderr(), "warning: {warning}"); // the command's own output matters more
    }
}

fn certificate(folder: &Path, names: &[String], force: bool) -> Exit {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let outcome =
        if force { make_dev_certificate(folder, &names).map(Some) } else { present_or_new(folder, &names) };
    let certificate = match outcome {
        Ok(Some(made)) => {
            print_line(&format!("wrote {} and {}", made.certfile.display(), made.keyfile.display()));
            made
        }
        Ok(None) => {
            let present = DevCertificate::in_folder(folder);
            let file = present.certfile.display();
            print_line(&format!("{file} is still valid and was kept; use --force to replace it"));
            present
        }
        Err(error) => return fail(Exit::NotStarted, &error),
    };
    print_line(&trust_instructions(&certificate));
    Exit::Done
}

/// Returns a new development certificate, or `None` if the one in the folder is still valid.
fn present_or_new(folder: &Path, names: &[&str]) -> Result<Option<DevCertificate>, TlsError> {
    if DevCertificate::in_folder(folder).is_usable(names, SystemTime::now()) {
        return Ok(None);
    }
    make_dev_certificate(folder, names).map(Some)
}

/// Returns the commands by which clients trust the certificate's authority.
fn trust_instructions(made: &DevCertificate) -> String {
    let ca = made.cafile.display();
    format!(
        "signed by the local authority {ca}; to trust it:\n  \
         curl        curl --cacert {ca} https://localhost:8443/\n  \
         Python      SSL_CERT_FILE={ca}\n  \
         Debian      sudo cp {ca} /usr/local/share/ca-certificates/hcrs-dev.crt && \
         sudo update-ca-certificates\n  \
         Fedora      sudo trust anchor {ca}\n  \
         macOS       security add-trusted-cert -k ~/Library/Keychains/login.keychain-db {ca}\n  \
         Chromium    certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n hcrs-dev -i {ca}\n  \
         Firefox     Settings, Certificates, Authorities, Import"
    )
}

fn print_line(line: &str) {
    let _ = writeln!(io::stdout(), "{line}"); // a closed output is no failure
}

fn fail(exit: Exit, error: &impl Display) -> Exit {
    let _ = writeln!(io::stderr(), "hcrs: {error}"); // the exit code reports it as well
    exit
}
