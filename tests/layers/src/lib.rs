//! Which crate may use which. A new arrow is a decision: change the table and ARCHITECTURE.md with it.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests {
    use std::process::Command;

    use serde_json::Value;

    /// Crate, the crates of ours that it may use, and the crates of others that it must not.
    const ALLOWED: &[(&str, &[&str], &[&str])] = &[
        ("hcrs-http", &[], &["tokio", "pyo3"]),
        ("hcrs-forwarded", &["hcrs-http"], &["tokio", "pyo3"]),
        ("hcrs-log", &["hcrs-http"], &["tokio", "pyo3"]),
        ("hcrs-h1", &["hcrs-http"], &["tokio", "pyo3"]),
        ("hcrs-h2", &["hcrs-http"], &["pyo3"]),
        ("hcrs-ws", &["hcrs-http"], &["tokio", "h2", "httparse", "rustls", "pyo3"]),
        ("hcrs-tls", &["hcrs-http"], &["pyo3"]),
        ("hcrs-link", &["hcrs-http"], &["tokio", "pyo3"]),
        ("hcrs-worker", &["hcrs-http", "hcrs-link"], &["tokio", "h2", "httparse", "rustls"]),
        (
            "hcrs-server",
            &[
                "hcrs-http",
                "hcrs-forwarded",
                "hcrs-h1",
                "hcrs-h2",
                "hcrs-ws",
                "hcrs-tls",
                "hcrs-link",
                "hcrs-log",
            ],
            &["pyo3", "httparse"],
        ),
        (
            "hcrs-config",
            &[
                "hcrs-http",
                "hcrs-forwarded",
                "hcrs-h1",
                "hcrs-h2",
                "hcrs-ws",
                "hcrs-tls",
                "hcrs-link",
                "hcrs-log",
                "hcrs-server",
            ],
            &["pyo3", "httparse"],
        ),
        ("hcrs", &["hcrs-config", "hcrs-server", "hcrs-tls"], &["pyo3"]),
        ("layers", &[], &[]),
    ];

    fn packages() -> Vec<Value> {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--no-deps", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
            .output()
            .expect("cargo metadata runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
        metadata["packages"].as_array().expect("packages").clone()
    }

    #[test]
    fn arrows_only_go_down() {
        let packages = packages();
        assert_eq!(packages.len(), ALLOWED.len(), "every crate of the workspace stands in the table");
        for package in &packages {
            let name = package["name"].as_str().expect("name");
            let (_, ours, banned) = ALLOWED
                .iter()
                .find(|row| row.0 == name)
                .unwrap_or_else(|| panic!("{name} is not in the table"));
            for dependency in package["dependencies"].as_array().expect("dependencies") {
                let target = dependency["name"].as_str().expect("name");
                let for_tests = dependency["kind"].as_str() == Some("dev");
                if target.starts_with("hcrs") {
                    assert!(for_tests || ours.contains(&target), "{name} must not use {target}");
                } else {
                    let io_traits_only = name == "hcrs-h2" && target == "tokio";
                    assert!(
                        for_tests || io_traits_only || !banned.contains(&target),
                        "{name} must not use {target}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_crate_keeps_the_workspace_lints() {
        for package in packages() {
            let manifest = package["manifest_path"].as_str().expect("manifest_path");
            let text = std::fs::read_to_string(manifest).expect("manifest is readable");
            assert!(text.contains("[lints]\nworkspace = true"), "{manifest} does not inherit the lints");
        }
    }
}
