//! README's tables, made from the code. `UPDATE_README=1 cargo test --lib reference` writes them; without it the test
//! compares.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use crate::config::Config;
use crate::error::{ApiError, InvalidRequest, SIMULATED};
use crate::grpc::status;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

#[test]
fn the_tables_of_the_readme_are_those_of_the_code() {
    let text = std::fs::read_to_string(README).expect("README.md");
    let mut expected = text.clone();
    let tables = [
        ("options", options()),
        ("limits", limits()),
        ("failures", failures()),
        ("simulated failures", simulated()),
    ];
    for (name, table) in tables {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let from = expected.find(&begin).expect("a marker") + begin.len();
        let to = from + expected[from..].find(&end).expect("its end");
        expected.replace_range(from..to, &format!("\n{table}\n"));
    }
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(README, &expected).expect("README.md can be written");
    }

    let differs = std::iter::zip(text.lines(), expected.lines()).find(|(is, should)| is != should);
    assert!(text == expected, "run UPDATE_README=1 cargo test --lib reference: {differs:?}");
}

/// An option as its `--help` describes it.
struct Described {
    flag: String,
    default: String,
    meaning: String,
    over: Option<String>,
}

fn described(is_limit: bool) -> Vec<Described> {
    let command = Config::augment_args(clap::Command::new("tokenecho"));
    let options = command.get_arguments().filter(|option| {
        option.get_long().is_some() && (option.get_help_heading() == Some("Limits")) == is_limit
    });
    options.map(describe).collect()
}

fn describe(option: &clap::Arg) -> Described {
    let help = option.get_help().map(ToString::to_string).unwrap_or_default();
    let long = option.get_long_help().map(ToString::to_string).unwrap_or_default().replace('\n', " ");
    // A default that depends on the machine stands in the help.
    let (meaning, computed) = match help.split_once(" [default: ") {
        Some((meaning, default)) => (meaning.to_owned(), default.trim_end_matches(']').to_owned()),
        None => (help, String::new()),
    };
    let defaults: Vec<_> =
        option.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    let value = option.get_value_names().unwrap_or_default().join(" ");
    let is_switch = value == "BOOL";
    let repeats = matches!(option.get_action(), clap::ArgAction::Append);
    let flag = option.get_long().unwrap_or_default();
    let over = long
        .split_once("Over it: ")
        .map(|(_, over)| over.split(" Example:").next().unwrap_or_default().trim_end_matches('.').to_owned());
    Described {
        flag: if is_switch {
            format!("`--{flag}`")
        } else {
            format!("`--{flag} {value}`").replace('|', "\\|")
        },
        default: match defaults.join(", ") {
            _ if is_switch => "off".into(),
            none if none.is_empty() && !computed.is_empty() && !computed.contains(' ') => {
                format!("`{computed}`")
            }
            none if none.is_empty() => computed,
            given => given,
        },
        meaning: if repeats && !meaning.contains("repeatable") { meaning + " (repeatable)" } else { meaning },
        over,
    }
}

fn options() -> String {
    let mut table = "| flag | default | meaning |\n|---|---|---|\n".to_owned();
    for Described { flag, default, meaning, .. } in described(false) {
        let _ = writeln!(table, "| {flag} | {default} | {meaning} |");
    }
    table
}

fn limits() -> String {
    let mut table = "| flag | default | what it bounds | over it |\n|---|---|---|---|\n".to_owned();
    for Described { flag, default, meaning, over } in described(true) {
        let _ = writeln!(table, "| {flag} | {default} | {meaning} | {} |", over.unwrap_or_default());
    }
    table
}

/// Every failure, with what README calls it.
fn all_failures() -> Vec<(&'static str, ApiError)> {
    let nothing = String::new;
    vec![
        ("bad request, bad field", InvalidRequest::missing("messages").into()),
        ("no key", ApiError::MissingKey),
        ("wrong key", ApiError::WrongKey),
        ("unknown model", ApiError::ModelNotFound(nothing())),
        ("unknown path", ApiError::UnknownUrl { method: nothing(), path: nothing() }),
        ("unknown method", ApiError::MethodNotSupported { method: nothing(), path: nothing() }),
        ("body too slow", ApiError::BodyTimeout { limit: Duration::ZERO }),
        ("body too large", ApiError::TooLarge { limit: 0 }),
        ("more memory than all requests may use", ApiError::NeverFits { limit: 0 }),
        ("wrong content type, encoded body", ApiError::UnsupportedMediaType(nothing())),
        ("a compressed message without `grpc-encoding`", ApiError::UnnamedEncoding),
        ("too much at once", ApiError::too_many(String::new())),
        ("the call's deadline", ApiError::DeadlineExceeded),
        ("draining", ApiError::Draining),
        ("a defect", ApiError::Internal),
    ]
}

/// What a request gets that asks for a failure.
fn simulated() -> String {
    let mut table = "| status | `type` / `code` | gRPC |\n|---|---|---|\n".to_owned();
    for (status, code) in SIMULATED {
        let error = ApiError::Simulated(*status);
        let kind = error.facts().kind;
        let grpc = status::facts_of(status::code(&error)).0;
        let _ = writeln!(table, "| {status} | `{kind}` / `{code}` | {grpc} |");
    }
    table
}

fn failures() -> String {
    let mut table =
        "| what | HTTP | `type` / `code` | gRPC | details beside ErrorInfo |\n|---|---|---|---|---|\n"
            .to_owned();
    for (what, error) in all_failures() {
        let facts = error.facts();
        let is_grpc_only = matches!(error, ApiError::DeadlineExceeded | ApiError::UnnamedEncoding);
        let http = if is_grpc_only { "–".into() } else { facts.status.to_string() };
        let code = match &error {
            ApiError::InvalidRequest(_) => "the API's code, with `param`".to_owned(),
            _ => facts.code.map_or("null".into(), |code| format!("`{code}`")),
        };
        let (grpc, details) =
            (status::facts_of(status::code(&error)).0, status::detail_names(&error).join(", "));
        let _ = writeln!(table, "| {what} | {http} | `{}` / {code} | {grpc} | {details} |", facts.kind);
    }
    table
}
