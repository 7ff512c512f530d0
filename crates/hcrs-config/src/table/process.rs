//! Settings of the processes' surroundings: their names, directory and environment.

use hcrs_server::AccountName;

use super::store;
use crate::draft::Draft;
use crate::kind::{ValueKind, quoted};
use crate::setting::Group::Process;
use crate::setting::{Setting, unset};
use crate::value::{Datum, GivenValue, Mistake};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Process,
        "proc_name",
        ValueKind::Text,
        |d| quoted(&d.server.proc_name),
        proc_name,
        "Name with which the titles of the processes begin in ps and top, as in \"hcrs: worker 3 (main:app)\".",
    )
    .at_start()
    .extension()
    .flag("--proc-name", None, "NAME")
    .flag_aliases(&["name"]),
    Setting::new(
        Process,
        "chdir",
        ValueKind::Path,
        unset,
        |v, d| store(&mut d.server.chdir, v.path().map(Some)),
        "Directory that the server changes to once it has read the configuration. Relative paths of all \
         settings are relative to it; itself it is relative to the directory that hcrs is started in.",
    )
    .at_start()
    .extension()
    .flag("--chdir", None, "DIRECTORY"),
    Setting::new(
        Process,
        "env",
        ValueKind::Variables,
        unset,
        |v, d| store(&mut d.app.variables, v.variables()),
        "Environment variables of the workers, in addition to those of the server, as in { LANG = \"C.UTF-8\" } \
         or [\"LANG=C.UTF-8\"]. The flag may be repeated.",
    )
    .of_app()
    .extension()
    .flag("--env", None, "NAME=VALUE"),
    Setting::new(
        Process,
        "process_user",
        ValueKind::NameOrNumber,
        unset,
        |v, d| store(&mut d.server.process_user, account(v, "a user").map(Some)),
        "User, by name or number, that the server becomes for good if root has started it, once it has bound its \
         addresses, read keys and certificates and created its files, and before any worker starts. Unset, it \
         keeps its user.",
    )
    .at_start()
    .extension()
    .flag("--process-user", None, "USER"),
    Setting::new(
        Process,
        "process_group",
        ValueKind::NameOrNumber,
        unset,
        |v, d| store(&mut d.server.process_group, account(v, "a group").map(Some)),
        "Group, by name or number, that the server then has, in addition to those that list the user. Unset, \
         the user's own.",
    )
    .at_start()
    .extension()
    .flag("--process-group", None, "GROUP"),
];

fn account(given: &GivenValue<'_>, kind: &str) -> Result<AccountName, Mistake> {
    let parsed = match &given.value.datum {
        Datum::Integer(number) => AccountName::parse(&number.to_string()),
        Datum::Text(text) => AccountName::parse(text),
        _ => None,
    };
    parsed.ok_or_else(|| given.expected(format!("{kind}, as its name or its number")))
}

fn proc_name(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let name = given.text()?;
    if name.is_empty() || name.contains(char::is_control) {
        return Err(given.expected("a name without control characters"));
    }
    name.clone_into(&mut draft.server.proc_name);
    Ok(())
}
