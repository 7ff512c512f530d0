//! Converts another server's configuration file.

use hcrs_config::ConfigError;

use crate::Converted;
use crate::context::LaunchContext;
use crate::file::{FileFormat, SettingsFile};
use crate::server::{NAMES, server};
use crate::sheet::{Note, Sheet};
use crate::steps::{head, manual_steps};

/// Converts a file; `from` names its server if that is not evident.
pub(crate) fn convert(
    name: &str,
    from: Option<&'static str>,
    context: &LaunchContext,
) -> Result<Converted, ConfigError> {
    let file = SettingsFile::read(name, FileFormat::of(name), context)?;
    let server = from.or_else(|| file.server()).and_then(server).ok_or_else(|| {
        let problem = format!(
            "{name}: the server of these settings is not evident; name it with --from {}",
            NAMES.join("|")
        );
        ConfigError::Invalid(vec![problem])
    })?;
    let mut sheet = Sheet::new(&server);
    record_file(file, &mut sheet);
    if sheet.given(server.app).is_none() {
        sheet.note(
            "the app",
            "the file names none; add application_path = \"MODULE:APP\" above, or name the app after hcrs",
        );
    }
    sheet.convert();
    sheet.set_process();
    let toml = sheet.to_toml(&head(name, context, &sheet), &manual_steps(&sheet, &[]))?;
    Ok(Converted { toml, is_secret: sheet.is_secret() })
}

/// Records the settings of a file, and reports entries that the server does not have.
pub(crate) fn record_file(file: SettingsFile, sheet: &mut Sheet<'_>) {
    let settings = file.settings(sheet.server);
    for given in settings.known {
        sheet.record(given);
    }
    for Note { subject, text } in settings.unknown {
        // Hypercorn ignores unknown keys; a call of uvicorn.run does not.
        if sheet.server.name == "hypercorn" {
            sheet.note(&subject, &text);
        } else {
            sheet.problems.push(format!("{subject}: {text}"));
        }
    }
}
