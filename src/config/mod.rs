//! The configuration: flags go before variables, variables before the file, the file before defaults.
//!
//! [`Config`] gathers the modules' `…Options` structs into one table of options. The flag `--itl` is also the variable
//! `TOKENECHO_ITL` and the file key `itl:`. Variables and the file are turned into flags for the same parser. Each
//! value is parsed on its own first, so that all errors are reported at once.

mod file;
mod listeners;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use listeners::{AllowedOrigin, ListenerOptions, Port, Reflection};

// The modules' options, which `Config` gathers.
pub use crate::api::Validation;
pub use crate::auth::{ApiKey, AuthOptions, KeyFileError};
pub use crate::ops::limits::{ConnectionLimits, LimitOptions, RequestLimits};
pub use crate::ops::logs::{LogFormat, LogOptions};
pub use crate::service::ServiceOptions;
pub use crate::service::models::ModelOptions;
pub use crate::simulation::{SimulationOptions, Switch};

use crate::version;

/// All options of a server.
#[derive(Args, Clone, Debug)]
#[expect(missing_docs, reason = "flattened: their fields are documented")]
pub struct Config {
    /// A YAML file of these options, under the flags' names
    ///
    /// Limits go under `limits:`.
    /// Example: --config tokenecho.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    #[command(flatten)]
    pub listeners: ListenerOptions,
    #[command(flatten)]
    pub auth: AuthOptions,
    #[command(flatten)]
    pub service: ServiceOptions,
    #[command(flatten)]
    pub limits: LimitOptions,
    #[command(flatten)]
    pub log: LogOptions,
}

impl Default for Config {
    /// The configuration of `tokenecho` without any option.
    fn default() -> Self {
        CommandLine::parse_from(["tokenecho"]).config
    }
}

const ABOUT: &str = "An OpenAI-compatible server that needs no model: it echoes, over HTTP and gRPC.";
const EVERYWHERE: &str = "Every option is also a variable (--itl is TOKENECHO_ITL, lists are separated by commas) \
                          and a key of the --config file (itl:, limits under limits:). Flags go before variables, \
                          variables before the file. Durations and sizes carry units: 50ms, 2s, 32MiB.";

#[derive(Parser)]
#[command(
    name = "tokenecho", version = version::VERSION, long_version = version::LONG, about = ABOUT,
    after_long_help = EVERYWHERE, args_conflicts_with_subcommands = true,
    override_usage = "tokenecho [OPTIONS] | tokenecho <COMMAND> [OPTIONS]"
)]
struct CommandLine {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server; the default
    #[command(after_long_help = EVERYWHERE)]
    Serve(Box<Config>),
    /// Check whether a running server is ready: exit 0 if so, else 1
    Healthcheck {
        /// Use the gRPC health service
        #[arg(long)]
        grpc: bool,
        #[command(flatten)]
        config: Box<Config>,
    },
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Action {
    /// Run a server.
    Serve(Config),
    /// Check whether a running server is ready.
    Healthcheck {
        /// The options of that server.
        config: Config,
        /// Whether to use its gRPC health service.
        grpc: bool,
    },
}

/// The loaded configuration, and notes to log once logging has started.
#[derive(Debug)]
pub struct Loaded {
    /// What to do.
    pub action: Action,
    /// Notes about ignored variables, each a sentence.
    pub notes: Vec<String>,
}

/// Why loading failed.
#[derive(Debug)]
pub enum LoadError {
    /// An invalid flag, or a request for help: clap has the text and the exit code.
    CommandLine(clap::Error),
    /// All errors in the variables and the file.
    Settings(Vec<SettingError>),
}

/// One wrong setting.
#[derive(Debug)]
pub struct SettingError {
    /// Where it is set: a variable, or a file's line and field.
    place: String,
    /// The file's line, 0 for a variable.
    line: u64,
    message: String,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Loads `arguments` (the program's name first), the variables in `environment` and the config file.
///
/// # Errors
/// [`LoadError`].
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, LoadError> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = command_line().try_get_matches_from(&arguments).map_err(LoadError::CommandLine)?;
    let given = matches.subcommand().map_or(&matches, |(_, matches)| matches);

    let table = Table::new();
    let (variables, notes) = table.variables(environment);
    let path = given.get_one::<PathBuf>("config").cloned().or_else(|| {
        variables
            .iter()
            .find(|setting| setting.option == "config")
            .map(|setting| setting.values[0].clone().into())
    });
    let (fields, mut errors) = path.map_or_else(Default::default, |path| table.file(&path));
    errors.extend(variables.iter().chain(&fields).filter_map(|setting| table.error_in(setting)));
    errors.sort_by_key(|error| error.line);
    if !errors.is_empty() {
        return Err(LoadError::Settings(errors));
    }

    let is_given = |option: &str| table.is_given(given, option);
    let is_in_environment = |option: &str| variables.iter().any(|variable| variable.option == option);
    let variables = variables.iter().filter(|setting| !is_given(&setting.option));
    let fields =
        fields.iter().filter(|setting| !is_given(&setting.option) && !is_in_environment(&setting.option));
    arguments.extend(variables.chain(fields).flat_map(Setting::flags));
    let line = command_line()
        .try_get_matches_from(arguments)
        .and_then(|matches| CommandLine::from_arg_matches(&matches))
        .map_err(LoadError::CommandLine)?;
    let action = match line.command {
        None => Action::Serve(line.config),
        Some(Command::Serve(config)) => Action::Serve(*config),
        Some(Command::Healthcheck { grpc, config }) => Action::Healthcheck { config: *config, grpc },
    };
    Ok(Loaded { action, notes })
}

/// The command line, whose health check shows only the options that it reads. It takes all the others as well, so that it
/// can be given the server's own variables and file.
fn command_line() -> clap::Command {
    const READ: [&str; 5] = ["config", "host", "port", "grpc_port", "grpc"];
    CommandLine::command().mut_subcommand("healthcheck", |command| {
        command.mut_args(|option| {
            let is_read = READ.contains(&option.get_id().as_str());
            option.hide(!is_read)
        })
    })
}

/// The errors in the text of a config file.
#[cfg(any(test, fuzzing))]
pub fn check_file(text: &str) -> Vec<SettingError> {
    let table = Table::new();
    let (settings, mut errors) = table.file_text(std::path::Path::new("config"), text);
    errors.extend(settings.iter().filter_map(|setting| table.error_in(setting)));
    errors
}

/// An option that a variable or the file sets.
#[derive(Debug)]
struct Setting {
    /// The flag's name, without hyphens before it.
    option: String,
    values: Vec<String>,
    /// For errors.
    place: String,
    line: u64,
}

impl Setting {
    /// The setting as command line flags.
    fn flags(&self) -> impl Iterator<Item = OsString> {
        self.values.iter().map(|value| format!("--{}={value}", self.option).into())
    }
}

/// The table of options, as clap defines it.
struct Table {
    command: clap::Command,
}

impl Table {
    fn new() -> Self {
        let command = Config::augment_args(clap::Command::new("tokenecho").no_binary_name(true));
        Self { command: command.disable_help_flag(true) }
    }

    fn option(&self, name: &str) -> Option<&clap::Arg> {
        self.command.get_arguments().find(|option| option.get_long() == Some(name))
    }

    fn is_list(option: &clap::Arg) -> bool {
        matches!(option.get_action(), ArgAction::Append)
    }

    /// Whether an option belongs under `limits:` in the file.
    fn is_limit(option: &clap::Arg) -> bool {
        option.get_help_heading() == Some("Limits")
    }

    fn is_given(&self, matches: &ArgMatches, option: &str) -> bool {
        let id = self.option(option).map(|option| option.get_id().as_str());
        id.is_some_and(|id| matches.value_source(id) == Some(ValueSource::CommandLine))
    }

    /// The settings among the variables, and a sentence about each that is ignored.
    fn variables(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> (Vec<Setting>, Vec<String>) {
        let (mut settings, mut notes, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for (name, value) in environment {
            let Some(suffix) = name.strip_prefix("TOKENECHO_") else { continue };
            let flag = suffix.to_ascii_lowercase().replace('_', "-");
            let Some(option) = self.option(&flag) else {
                if !is_set_by_others(suffix, &value) {
                    unknown.push(self.unknown(&name, &flag));
                }
                continue;
            };
            // Templates render unset values as empty; only an empty prefix is a value.
            if value.is_empty() && option.get_long() != Some("reply-prefix") {
                continue;
            }
            if value.starts_with("tcp://") {
                notes.push(format!("{name} is a Kubernetes service link, not an option: ignored"));
                continue;
            }
            let values = if Self::is_list(option) {
                value.split(',').map(|item| item.trim().to_owned()).collect()
            } else {
                vec![value]
            };
            let option = option.get_long().unwrap_or_default().to_owned();
            settings.push(Setting { option, values, place: name, line: 0 });
        }
        if !unknown.is_empty() {
            notes.push(format!("unknown variables are ignored: {}", unknown.join(", ")));
        }
        (settings, notes)
    }

    /// An unknown variable, and the option that it may be meant for.
    fn unknown(&self, name: &str, flag: &str) -> String {
        let error = self.command.clone().try_get_matches_from([format!("--{flag}")]).err();
        match error.as_ref().and_then(|error| error.get(ContextKind::SuggestedArg)) {
            Some(ContextValue::String(nearest)) => {
                let nearest = nearest.trim_start_matches("--").to_ascii_uppercase().replace('-', "_");
                format!("{name} (did you mean TOKENECHO_{nearest}?)")
            }
            _ => name.to_owned(),
        }
    }

    /// The error in a setting, if any.
    fn error_in(&self, setting: &Setting) -> Option<SettingError> {
        let error = self.command.clone().try_get_matches_from(setting.flags()).err()?;
        // Prefers the reason alone: clap's message names the flag instead of the setting, and may quote a key.
        let message = if let Some(reason) = std::error::Error::source(&error) {
            reason.to_string()
        } else {
            let text = error.to_string();
            let lines: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
            lines.join(" ").trim_start_matches("error: ").to_owned()
        };
        Some(SettingError { place: setting.place.clone(), line: setting.line, message })
    }
}

/// Whether the build or Kubernetes sets this variable (named without `TOKENECHO_`). Kubernetes does so for each Service
/// whose name begins with tokenecho.
fn is_set_by_others(suffix: &str, value: &str) -> bool {
    let is_number = |(_, rest): (&str, &str)| rest.starts_with(|c: char| c.is_ascii_digit());
    suffix.starts_with("BUILD_")
        || suffix.ends_with("SERVICE_HOST")
        || suffix.contains("SERVICE_PORT")
        || value.starts_with("tcp://")
        || suffix.split_once("PORT_").is_some_and(is_number)
}

#[cfg(test)]
mod tests;
