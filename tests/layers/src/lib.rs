//! Which crate may use which. A new arrow is a decision: change the table and ARCHITECTURE.md with it.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use serde_json::Value;

    /// Crate, the crates of ours that it may use, and the crates of others that it must not.
    const ALLOWED: &[(&str, &[&str], &[&str])] = &[
        ("hcrs-http", &[], &["tokio", "pyo3"]),
        ("hcrs-forwarded", &["hcrs-http"], &["tokio", "pyo3"]),
        ("hcrs-files", &["hcrs-http"], &["tokio", "pyo3"]),
        ("hcrs-coding", &["hcrs-http"], &["tokio", "pyo3"]),
        ("hcrs-log", &["hcrs-http"], &["tokio", "pyo3"]),
        ("hcrs-metrics", &["hcrs-http"], &["tokio", "pyo3"]),
        ("hcrs-rules", &["hcrs-http"], &["tokio", "pyo3"]),
        ("hcrs-status", &[], &["tokio", "pyo3"]),
        ("hcrs-h1", &["hcrs-http"], &["tokio", "pyo3"]),
        ("hcrs-mux", &["hcrs-http"], &["tokio", "pyo3"]),
        ("hcrs-h2", &["hcrs-http", "hcrs-mux"], &["pyo3"]),
        ("hcrs-h3", &["hcrs-http", "hcrs-mux"], &["tokio", "quinn-proto", "pyo3"]),
        ("hcrs-ws", &["hcrs-http"], &["tokio", "h2", "httparse", "rustls", "pyo3"]),
        ("hcrs-tls", &["hcrs-http"], &["pyo3"]),
        ("hcrs-link", &["hcrs-http"], &["tokio", "pyo3"]),
        ("hcrs-fetch", &["hcrs-h1", "hcrs-http"], &["tokio", "h2", "pyo3", "httparse"]),
        ("hcrs-otlp", &["hcrs-fetch", "hcrs-http", "hcrs-tls"], &["tokio", "h2", "pyo3", "httparse"]),
        ("hcrs-acme", &["hcrs-fetch", "hcrs-status", "hcrs-tls"], &["tokio", "h2", "pyo3", "httparse"]),
        ("hcrs-worker", &["hcrs-http", "hcrs-link"], &["tokio", "h2", "httparse", "rustls"]),
        (
            "hcrs-server",
            &[
                "hcrs-acme",
                "hcrs-http",
                "hcrs-files",
                "hcrs-coding",
                "hcrs-forwarded",
                "hcrs-h1",
                "hcrs-h2",
                "hcrs-h3",
                "hcrs-mux",
                "hcrs-ws",
                "hcrs-tls",
                "hcrs-link",
                "hcrs-log",
                "hcrs-metrics",
                "hcrs-otlp",
                "hcrs-rules",
                "hcrs-status",
            ],
            &["pyo3", "httparse"],
        ),
        (
            "hcrs-config",
            &[
                "hcrs-http",
                "hcrs-coding",
                "hcrs-forwarded",
                "hcrs-h1",
                "hcrs-h2",
                "hcrs-ws",
                "hcrs-tls",
                "hcrs-link",
                "hcrs-log",
                "hcrs-rules",
                "hcrs-server",
            ],
            &["pyo3", "httparse"],
        ),
        ("hcrs-migrate", &["hcrs-config", "hcrs-server"], &["tokio", "pyo3", "httparse"]),
        (
            "hcrs",
            &["hcrs-config", "hcrs-fetch", "hcrs-migrate", "hcrs-server", "hcrs-status", "hcrs-tls"],
            &["pyo3", "httparse"],
        ),
        ("layers", &[], &[]),
    ];

    /// The modules of `hcrs-server`, in the order of a request's path: each may use those that stand behind it.
    const PATH: &[&str] = &[
        "run",
        "check",
        "explain",
        "supervise",
        "thread",
        "connection",
        "drive",
        "request",
        "route",
        "client",
        "state",
        "rules",
        "origin",
        "exchange",
        "process_user",
        "process_title",
        "handover",
        "bind",
        "settings",
        "labels",
        "embedder",
        "server_names",
        "command_line",
        "glob",
        "hangup",
        "pid_file",
        "usable_cores",
        "clock",
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

    /// The Rust files of `hcrs-server` that are not tests alone, with the module that each belongs to.
    fn files_of_the_server() -> Vec<(String, PathBuf)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/hcrs-server/src");
        let (mut folders, mut files) = (vec![root.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder of the crate") {
                let path = entry.expect("an entry of the folder").path();
                let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
                if matches!(&*name, "tests" | "model" | "seam" | "lib") {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let inside = path.strip_prefix(&root).expect("a file of the crate");
                    let first =
                        inside.components().next().expect("a component").as_os_str().to_string_lossy();
                    files.push((first.trim_end_matches(".rs").to_owned(), path));
                }
            }
        }
        files
    }

    /// The modules that a file names as `crate::module`, its tests and what only tests import left out.
    fn used_modules(text: &str) -> Vec<String> {
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = text.split("#[cfg(test)]\nuse ").enumerate().map(|(nth, part)| {
            if nth == 0 { part } else { part.split_once('\n').map_or("", |(_, rest)| rest) }
        });
        let names = code
            .flat_map(|part| part.split("crate::").skip(1))
            .map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>());
        names.filter(|name| !name.is_empty() && name != "model").collect()
    }

    #[test]
    fn the_folders_of_the_server_follow_the_path_of_a_request() {
        let rank = |module: &str| PATH.iter().position(|name| *name == module);
        let files = files_of_the_server();
        assert!(files.len() > 50, "the crate's files are found");
        for (module, path) in files {
            let own = rank(&module).unwrap_or_else(|| panic!("{module} has no place in the order"));
            for used in used_modules(&std::fs::read_to_string(&path).expect("a file of the crate")) {
                let Some(theirs) = rank(&used) else { continue };
                assert!(theirs >= own, "{} must not use {used}: it stands before {module}", path.display());
            }
        }
    }
}
