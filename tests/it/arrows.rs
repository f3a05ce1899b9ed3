//! The arrows: which module may name which. The rule is in docs/ARCHITECTURE.md; these tests check the code against it.

use std::collections::BTreeSet;
use std::path::Path;

/// For every top module, the modules it may name.
const ARROWS: [(&str, &[&str]); 17] = [
    ("main", &["cli"]),
    ("cli", &["auth", "config", "ops", "pb", "server", "units", "version"]),
    ("config", &["api", "auth", "ops", "service", "simulation", "units", "version"]),
    (
        "server",
        &["admin", "auth", "config", "engine", "error", "grpc", "http", "ops", "route", "service", "units"],
    ),
    ("http", &["admin", "api", "engine", "error", "ops", "pb", "route", "service"]),
    ("grpc", &["api", "engine", "error", "ops", "pb", "route", "service", "simulation"]),
    ("admin", &["ops", "route", "service", "version"]),
    ("service", &["api", "engine", "error", "ops", "simulation", "units"]),
    ("ops", &["engine", "error", "route", "units"]),
    ("api", &["engine", "error", "simulation"]),
    ("simulation", &["engine", "error", "units"]),
    ("engine", &["error"]),
    ("auth", &["error", "route"]),
    ("error", &[]),
    ("route", &[]),
    ("units", &[]),
    ("version", &[]),
];

/// `lib` names what it exports, and `fuzzing` what parses bytes from outside; no other module names these two.
const OUTSIDE: [&str; 3] = ["lib", "fuzzing", "reference"];

/// Crates that a module must not name.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    ("engine", &["axum", "tonic", "prost", "http", "hyper", "tower", "clap"]),
    ("api", &["axum", "tonic", "prost", "http", "hyper", "tower"]),
    ("http", &["tonic", "prost"]),
    ("error", &["axum", "tonic", "http", "hyper"]),
];

/// The code of a top module, without comments and tests.
fn code_of(module: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![root.join(format!("{module}.rs"))];
    let mut folders = vec![root.join(module)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    let code = texts.map(|text| text.split("#[cfg(test)]").next().unwrap_or_default().to_owned());
    code.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The modules that a text names after `prefix`; `crate::{a, b::{c, d}}` names a and b.
fn named(code: &str, prefix: &str) -> BTreeSet<String> {
    let is_between = |c: char| !(c.is_alphanumeric() || c == '_');
    let mut names = BTreeSet::new();
    for part in code.split(prefix).skip(1) {
        let mut depth = 0;
        let words = part.split_inclusive(is_between);
        let mut is_next = true;
        for piece in words {
            let word = piece.trim_end_matches(is_between);
            if is_next && !word.is_empty() {
                names.insert(word.to_owned());
                is_next = false;
            }
            match piece.chars().last() {
                Some('{') => depth += 1,
                Some('}') => depth -= 1,
                Some(',') => is_next |= depth == 1,
                _ => {}
            }
            if depth <= 0 && !is_next {
                break;
            }
        }
    }
    names
}

#[test]
fn every_module_of_a_use_list_is_found() {
    let code = "use crate::{a, b::{c, d}, e}; use crate::f::g; crate::h(i, crate::j::K, l)";

    assert_eq!(named(code, "crate::").into_iter().collect::<String>(), "abefhj");
}

#[test]
fn modules_name_only_what_their_arrows_allow() {
    let modules: BTreeSet<_> =
        ARROWS.iter().map(|(module, _)| (*module).to_owned()).chain(["pb".into()]).collect();
    for (module, allowed) in ARROWS {
        let code = code_of(module);
        assert!(!code.is_empty(), "the module {module} is missing");
        let prefixes = if module == "main" { ["crate::", "tokenecho::"] } else { ["crate::", "$no such"] };
        for name in prefixes.iter().flat_map(|prefix| named(&code, prefix)) {
            let name = match name.as_str() {
                "Config" => "config",
                "Engine" => "engine",
                "Server" => "server",
                other => other,
            };
            assert!(
                !modules.contains(name) || name == module || allowed.contains(&name),
                "{module} names {name}, which its arrows do not allow"
            );
        }
    }
}

#[test]
fn ops_names_only_the_engine_types_that_it_reports() {
    let code = code_of("ops");
    for path in code.split("crate::engine::").skip(1) {
        let items = path.split(';').next().unwrap_or_default();
        let names = items.split(|c: char| !c.is_alphanumeric()).filter(|name| !name.is_empty());
        for name in names {
            assert!(["Usage", "FinishReason"].contains(&name), "ops names engine::{name}");
        }
    }
}

#[test]
fn every_module_has_its_arrows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let known: BTreeSet<_> =
        ARROWS.iter().map(|(module, _)| *module).chain(OUTSIDE).map(str::to_owned).collect();
    for entry in std::fs::read_dir(root).expect("src").flatten() {
        let name = entry.file_name().to_string_lossy().trim_end_matches(".rs").to_owned();
        assert!(known.contains(&name), "{name} has no arrows");
    }
}

#[test]
fn the_engine_names_no_protocol_and_http_names_no_grpc_crate() {
    for (module, crates) in FORBIDDEN {
        let code = code_of(module);
        for name in crates {
            let is_named = code.match_indices(&format!("{name}::")).any(|(at, _)| {
                !code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'))
            });
            assert!(!is_named, "{module} names {name}");
        }
    }
}
