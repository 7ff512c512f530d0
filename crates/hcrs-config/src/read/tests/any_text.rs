//! Any text is a configuration, or has mistakes that are named.

use proptest::prelude::*;

use super::*;

/// Returns lines that are often valid, or nearly so.
fn line() -> impl Strategy<Value = String> {
    let names: Vec<&str> = table::all().map(|setting| setting.key).chain(["hcrs", "[hcrs]", "x"]).collect();
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        ".{0,12}".prop_map(|text| format!("{text:?}")),
        ".{0,12}".prop_map(|text| format!("['{text}', ")),
        "\\PC{0,12}",
        Just("[\"a:1\", \"[::1]\", 'unix:ü']".to_owned()),
        Just("{ a = 1 }".to_owned()),
    ];
    (proptest::sample::select(names), "( = )?", value)
        .prop_map(|(name, equals, value)| name.to_owned() + &equals + &value)
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_a_list_of_problems(lines in proptest::collection::vec(line(), 0..6)) {
        match config(&lines.join("\n")) {
            Ok(config) => {
                let has_bind = lines.iter().any(|line| line.contains("bind"));
                prop_assert!(!config.server.listeners.is_empty() || has_bind);
            }
            Err(ConfigError::Invalid(problems)) => prop_assert!(!problems.is_empty()),
            Err(error @ (ConfigError::Usage(_) | ConfigError::Arguments(_))) => prop_assert!(false, "{error}"),
        }
    }
}
