//! Converts another server's command line, with the files and variables that it leads to.

use hcrs_config::{ConfigError, Datum, read_file};

use crate::Converted;
use crate::arguments::{self, ParsedArguments};
use crate::command::{self, Invocation};
use crate::context::LaunchContext;
use crate::file::{FileFormat, SettingsFile, default_file};
use crate::from_file::record_file;
use crate::row::{FlagValue, MigratedSetting, Server};
use crate::server::server;
use crate::sheet::Sheet;
use crate::shell_words;
use crate::steps::{head, manual_steps};

/// Converts a command line, given as its words or as one string.
pub(crate) fn convert(command: &[String], mut context: LaunchContext) -> Result<Converted, ConfigError> {
    let invalid = |problem: String| ConfigError::Invalid(vec![format!("the command: {problem}")]);
    let mut problems = Vec::new();
    let words = match command {
        [line] if line.contains(char::is_whitespace) => {
            let assigned = |name: &str| {
                let set = line.split_whitespace().map_while(shell_words::assignment);
                set.filter(|(known, _)| known == name).map(|(_, value)| value).last()
            };
            let split = shell_words::split(line, assigned).map_err(invalid)?;
            problems.extend(split.unset.iter().map(|name| {
                format!("${name} is not set; put {name}=… before the command, or the value in its place")
            }));
            split.words
        }
        words => words.to_vec(),
    };
    let invocation = command::find(&words).map_err(invalid)?;
    let server = server_of(&invocation)?;
    context.environment.clone_from(&invocation.environment);
    context.folder = invocation.folder.as_ref().map(Into::into);
    context.bin.clone_from(&invocation.bin);
    let mut sheet = Sheet::new(&server);
    sheet.problems = problems;
    record_command(&invocation, &context, &mut sheet);
    sheet.convert();
    sheet.set_process();
    let shown = if words.iter().any(|word| word.contains("password")) {
        format!("{} …", server.name)
    } else {
        words.iter().map(|word| shell_words::quote(word)).collect::<Vec<_>>().join(" ")
    };
    let steps = manual_steps(&sheet, &invocation.environment);
    let toml = sheet.to_toml(&head(&shown, &context, &sheet), &steps)?;
    Ok(Converted { toml, is_secret: sheet.is_secret() })
}

/// Returns the server of an invocation.
pub(crate) fn server_of(invocation: &Invocation) -> Result<Server, ConfigError> {
    server(invocation.server).ok_or_else(|| ConfigError::Invalid(vec!["the server is not known".into()]))
}

/// Records the settings of a command line, and of the file and the variables that it leads to.
pub(crate) fn record_command(invocation: &Invocation, context: &LaunchContext, sheet: &mut Sheet<'_>) {
    let server = sheet.server;
    let mut problems = Vec::new();
    let flags = arguments::parse(server, &invocation.arguments, "", &mut problems);
    let more = gunicorn_arguments(server, context, &mut problems);
    let config = server
        .config
        .and_then(|row| last_text(server, &flags, row).or_else(|| last_text(server, &more, row)));
    // Gunicorn's variables replace its defaults; its file and its flags override them.
    if server.name == "gunicorn" {
        arguments::record_variables(server, &context.environment, sheet);
    }
    if let Some(name) = config.or_else(|| default_file(server, context)) {
        record_named_file(&name, context, sheet, &mut problems);
    }
    if server.name != "gunicorn" {
        arguments::record_variables(server, &context.environment, sheet);
    }
    if let Some(name) = last_text(server, &flags, "env_file") {
        record_env_file(&name, context, sheet);
    }
    for given in merged(more.settings, server).into_iter().chain(merged(flags.settings, server)) {
        sheet.record(given);
    }
    let mut positional = flags.positional.into_iter();
    if let (Some(app), Some(row)) = (positional.next(), server.row(server.app)) {
        sheet.record(MigratedSetting {
            row,
            datum: Datum::Text(app),
            origin: "the app".into(),
            is_default: false,
        });
    }
    if !flags.has_unknown {
        problems.extend(
            positional.map(|word| format!("{word}: no argument is expected after the app; remove it")),
        );
        if sheet.given(server.app).is_none() && sheet.given("paste").is_none() {
            problems.push(format!("{}: the app is missing; add it as MODULE:APP", server.name));
        }
    }
    sheet.problems.append(&mut problems);
    if let Some(bin) = invocation.bin.as_ref().filter(|bin| !SYSTEM.contains(&bin.as_str())) {
        sheet.set(
            "python",
            &Datum::Text(format!("{bin}/python")),
            "the command's interpreter; hcrs must be installed there",
        );
    }
    if sheet.folder.is_none() {
        sheet.folder.clone_from(&invocation.folder);
    }
}

/// Parses the variable by which Gunicorn takes further arguments.
fn gunicorn_arguments(
    server: &Server,
    context: &LaunchContext,
    problems: &mut Vec<String>,
) -> ParsedArguments {
    const VARIABLE: &str = "GUNICORN_CMD_ARGS";
    let Some(line) = context.variable(VARIABLE).filter(|_| server.name == "gunicorn") else {
        return ParsedArguments::default();
    };
    match shell_words::split(&line, |name| context.variable(name)) {
        Ok(split) => arguments::parse(server, &split.words, &format!("{VARIABLE}: "), problems),
        Err(problem) => {
            problems.push(format!("{VARIABLE}: {problem}"));
            ParsedArguments::default()
        }
    }
}

/// Returns the last value given for a setting by flags, as text.
fn last_text(server: &Server, flags: &ParsedArguments, name: &str) -> Option<String> {
    let given = flags.settings.iter().rev().find(|given| server.row(name) == Some(given.row))?;
    given.text().ok().or_else(|| given.texts().ok()?.pop())
}

fn record_named_file(name: &str, context: &LaunchContext, sheet: &mut Sheet<'_>, problems: &mut Vec<String>) {
    // Gunicorn reads any file as Python, Hypercorn any as TOML unless the name has a prefix.
    let format = match sheet.server.name {
        "hypercorn" if !name.starts_with("file:") => FileFormat::Toml,
        _ => FileFormat::Python,
    };
    match SettingsFile::read(name, format, context) {
        Ok(file) => record_file(file, sheet),
        Err(ConfigError::Invalid(found)) => problems.extend(found),
        Err(error) => problems.push(error.to_string()),
    }
}

/// Records the shared variables of a file of variables that the environment does not set.
fn record_env_file(name: &str, context: &LaunchContext, sheet: &mut Sheet<'_>) {
    let server = sheet.server;
    let is_shared = |(name, _): &(String, String)| {
        server.variables.iter().any(|(known, _)| known == name) && context.variable(name).is_none()
    };
    match read_file(&context.path(name)) {
        Ok(text) => {
            let set: Vec<_> = shell_words::dotenv(&text).into_iter().filter(is_shared).collect();
            arguments::record_variables(server, &set, sheet);
        }
        Err(_) => sheet.note(
            &format!("--env-file {name}"),
            "the file cannot be read here; if it sets WEB_CONCURRENCY, add workers to this file",
        ),
    }
}

/// Directories of commands that do not imply a particular interpreter.
const SYSTEM: [&str; 4] = ["/bin", "/usr/bin", "/usr/local/bin", "."];

/// Merges several occurrences of a setting: lists are joined, and of other values the last one counts.
fn merged(all: Vec<MigratedSetting>, server: &Server) -> Vec<MigratedSetting> {
    let mut merged: Vec<MigratedSetting> = Vec::new();
    for given in all {
        let earlier = merged.iter_mut().find(|earlier| earlier.row == given.row);
        match (earlier, given) {
            (Some(earlier), MigratedSetting { datum: Datum::Array(mut more), origin, .. })
                if server.rows[earlier.row].value == FlagValue::List =>
            {
                if let Datum::Array(values) = &mut earlier.datum {
                    values.append(&mut more);
                    earlier.origin = format!("{}, {origin}", earlier.origin);
                }
            }
            (Some(earlier), given) => *earlier = given,
            (None, given) => merged.push(given),
        }
    }
    merged
}
