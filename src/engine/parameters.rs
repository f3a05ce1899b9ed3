//! What came off the wire, and the one place where it is checked.
//!
//! A facade fills [`ChatParameters`] from its wire types, whose types and spelling it has checked itself.
//! [`ChatParameters::validate`] checks everything else once for both protocols: ranges, counts, what goes
//! together. What comes out is a [`GenerationRequest`].

use std::fmt::Display;

use super::request::{Content, GenerationRequest, Message, Part, Role, Tool};
use crate::error::{InvalidRequest, shown};

/// How much a request is held to the API's rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Validation {
    /// Takes what the API's schema allows, even where the API itself refuses it.
    Lenient,
    /// Refuses what the API refuses, but ignores unknown fields and allows a missing model.
    #[default]
    Default,
    /// Refuses unknown fields and a missing model too.
    Strict,
}

/// How the answer is to be streamed.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamParameters {
    /// Whether it is streamed at all.
    pub enabled: bool,
    /// `stream_options`, if given: whether it asks for usage.
    pub options: Option<bool>,
}

/// A chat request as it came off either wire: well-formed, and not checked yet.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields are the API reference's, under their own names")]
pub struct ChatParameters {
    pub model: Option<String>,
    pub messages: Vec<Message>,
    pub stream: StreamParameters,
    pub n: Option<i64>,
    pub max_tokens: Option<i64>,
    pub max_completion_tokens: Option<i64>,
    pub min_tokens: Option<i64>,
    pub ignore_eos: bool,
    pub stop: Vec<String>,
    pub tools: Vec<Tool>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub seed: Option<i64>,
    pub logprobs: bool,
    pub top_logprobs: Option<i64>,
    pub logit_bias: Vec<(String, f64)>,
    pub metadata: Vec<(String, String)>,
    pub service_tier: Option<String>,
    pub reasoning_effort: Option<String>,
    pub verbosity: Option<String>,
    pub safety_identifier: Option<String>,
}

const MAX_MESSAGES: usize = 2048;
const MAX_CHOICES: i64 = 128;
const MAX_STOP: usize = 4;
const MAX_TOOLS: usize = 128;
const MAX_METADATA: usize = 16;
const MAX_TOKENS: i64 = 1 << 20;
const SERVICE_TIERS: &[&str] = &["auto", "default", "flex", "scale", "priority", "fast"];
const REASONING_EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];
const VERBOSITIES: &[&str] = &["low", "medium", "high"];

impl ChatParameters {
    /// Checks everything that the wire's types do not.
    ///
    /// # Errors
    /// The first fault, with its place and the API's code.
    pub fn validate(self, validation: Validation) -> Result<GenerationRequest, InvalidRequest> {
        let lenient = validation == Validation::Lenient;
        self.check_messages(lenient)?;
        self.check_model(validation)?;
        self.check_sampling(lenient)?;
        self.check_extras()?;
        if self.stream.options.is_some() && !self.stream.enabled && !lenient {
            let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
            return Err(InvalidRequest::combination("stream_options", message));
        }
        let n = integer("n", self.n, 1, MAX_CHOICES)?.unwrap_or(1);
        let max_tokens = self.token_limit(lenient)?;
        let min_tokens = self.token_floor(max_tokens)?;
        Ok(GenerationRequest {
            model: self.model.unwrap_or_default(),
            messages: self.messages,
            n,
            max_tokens,
            min_tokens,
            ignore_eos: self.ignore_eos,
            stop: self.stop,
            tools: self.tools,
            temperature: self.temperature,
            top_p: self.top_p,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            seed: self.seed,
            service_tier: match self.service_tier.as_deref() {
                None | Some("auto") => "default".into(),
                Some(tier) => tier.into(),
            },
            include_usage: self.stream.options.unwrap_or(false),
        })
    }

    fn check_messages(&self, lenient: bool) -> Result<(), InvalidRequest> {
        if self.messages.is_empty() && !lenient {
            return Err(empty_array("messages"));
        }
        at_most("messages", self.messages.len(), MAX_MESSAGES)?;
        self.messages.iter().enumerate().try_for_each(|(index, message)| check_message(message, index))
    }

    fn check_model(&self, validation: Validation) -> Result<(), InvalidRequest> {
        let Some(model) = &self.model else {
            return match validation {
                Validation::Strict => Err(InvalidRequest::missing("model")),
                Validation::Lenient | Validation::Default => Ok(()),
            };
        };
        check_model(model)
    }

    fn check_sampling(&self, lenient: bool) -> Result<(), InvalidRequest> {
        decimal("temperature", self.temperature, 0.0, 2.0)?;
        decimal("top_p", self.top_p, 0.0, 1.0)?;
        decimal("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        decimal("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        if integer("top_logprobs", self.top_logprobs, 0, 20)?.is_some() && !self.logprobs && !lenient {
            let message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.";
            return Err(InvalidRequest::combination("top_logprobs", message));
        }
        for (token, bias) in &self.logit_bias {
            if !lenient && token.parse::<u32>().is_err() {
                let token = shown(token);
                let message =
                    format!("Invalid key in 'logit_bias': '{token}'. Expected the integer id of a token.");
                return Err(InvalidRequest::value("logit_bias", message));
            }
            decimal("logit_bias", Some(*bias), -100.0, 100.0)?;
        }
        at_most("stop", self.stop.len(), MAX_STOP)?;
        for (index, stop) in self.stop.iter().enumerate() {
            length(format!("stop[{index}]"), stop, 1, usize::MAX)?;
        }
        Ok(())
    }

    fn check_extras(&self) -> Result<(), InvalidRequest> {
        at_most("tools", self.tools.len(), MAX_TOOLS)?;
        for (index, tool) in self.tools.iter().enumerate() {
            let param = format!("tools[{index}].{}.name", tool.kind);
            length(param.as_str(), &tool.name, 1, 64)?;
            if !tool.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
                let what =
                    "string does not match pattern. Expected a string that matches '^[a-zA-Z0-9_-]+$'.";
                return Err(InvalidRequest::invalid(param, "invalid_value", what));
            }
        }
        if self.metadata.len() > MAX_METADATA {
            let what = format!(
                "too many properties. Expected an object with at most {MAX_METADATA} properties, but got an \
                 object with {} properties instead.",
                self.metadata.len()
            );
            return Err(InvalidRequest::invalid("metadata", "object_above_max_properties", what));
        }
        for (key, value) in &self.metadata {
            length("metadata", key, 0, 64)?;
            length(format!("metadata.{key}"), value, 0, 512)?;
        }
        if let Some(identifier) = &self.safety_identifier {
            length("safety_identifier", identifier, 0, 64)?;
        }
        one_of("service_tier", self.service_tier.as_deref(), SERVICE_TIERS)?;
        one_of("reasoning_effort", self.reasoning_effort.as_deref(), REASONING_EFFORTS)?;
        one_of("verbosity", self.verbosity.as_deref(), VERBOSITIES)
    }

    fn token_limit(&self, lenient: bool) -> Result<Option<usize>, InvalidRequest> {
        let lowest = i64::from(!lenient);
        let newer = integer("max_completion_tokens", self.max_completion_tokens, lowest, MAX_TOKENS)?;
        let older = integer("max_tokens", self.max_tokens, lowest, MAX_TOKENS)?;
        if newer.is_some() && older.is_some() {
            let message =
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.";
            return Err(InvalidRequest::combination("max_tokens", message));
        }
        Ok(newer.or(older))
    }

    fn token_floor(&self, max_tokens: Option<usize>) -> Result<usize, InvalidRequest> {
        let min_tokens = integer("min_tokens", self.min_tokens, 0, MAX_TOKENS)?.unwrap_or(0);
        match max_tokens {
            Some(most) if min_tokens > most => {
                let message = format!("'min_tokens' is {min_tokens}, more than the {most} of 'max_tokens'.");
                Err(InvalidRequest::combination("min_tokens", message))
            }
            _ => Ok(min_tokens),
        }
    }
}

/// Refuses a name that no model can have.
///
/// # Errors
/// An empty or too long one, and one with control characters.
pub fn check_model(name: &str) -> Result<(), InvalidRequest> {
    length("model", name, 1, 256)?;
    if name.chars().any(char::is_control) {
        return Err(InvalidRequest::value("model", "Invalid 'model': control characters are not allowed."));
    }
    Ok(())
}

fn check_message(message: &Message, index: usize) -> Result<(), InvalidRequest> {
    let at = |field: &str| format!("messages[{index}].{field}");
    match &message.content {
        None => {
            let needs_none = match message.role {
                Role::Assistant => message.has_calls || message.refusal.is_some(),
                Role::Function => true,
                Role::Developer | Role::System | Role::User | Role::Tool => false,
            };
            if !needs_none {
                return Err(InvalidRequest::missing(at("content")));
            }
        }
        Some(Content::Text(_)) => {}
        Some(Content::Parts(parts)) if parts.is_empty() => return Err(empty_array(at("content"))),
        Some(Content::Parts(parts)) => {
            let mut parts = parts.iter().enumerate();
            parts.try_for_each(|(part, value)| {
                check_part(value, message.role, &at(&format!("content[{part}]")))
            })?;
        }
    }
    match message.role {
        Role::Tool if message.tool_call_id.is_none() => Err(InvalidRequest::missing(at("tool_call_id"))),
        Role::Function if message.name.is_none() => Err(InvalidRequest::missing(at("name"))),
        _ => Ok(()),
    }
}

fn check_part(part: &Part, role: Role, at: &str) -> Result<(), InvalidRequest> {
    one_of(format!("{at}.type"), Some(part.kind()), role.part_kinds())?;
    match part {
        Part::ImageUrl { detail } => {
            one_of(format!("{at}.image_url.detail"), detail.as_deref(), &["auto", "low", "high"])
        }
        Part::InputAudio { format } => {
            one_of(format!("{at}.input_audio.format"), Some(format), &["wav", "mp3"])
        }
        Part::Text(_) | Part::Refusal(_) | Part::File => Ok(()),
    }
}

fn integer(param: &str, value: Option<i64>, low: i64, high: i64) -> Result<Option<usize>, InvalidRequest> {
    let Some(value) = value else { return Ok(None) };
    if value > high {
        return Err(above(param, ("integer", "integer_above_max_value"), high, value));
    }
    if value < low {
        return Err(below(param, ("integer", "integer_below_min_value"), low, value));
    }
    Ok(usize::try_from(value).ok())
}

fn decimal(param: &str, value: Option<f64>, low: f64, high: f64) -> Result<(), InvalidRequest> {
    match value {
        None => Ok(()),
        Some(value) if value > high => Err(above(param, ("decimal", "decimal_above_max_value"), high, value)),
        Some(value) if value >= low => Ok(()),
        // A NaN ends here as well: it is not above, and not within.
        Some(value) => Err(below(param, ("decimal", "decimal_below_min_value"), low, value)),
    }
}

fn above(
    param: &str,
    (kind, code): (&str, &'static str),
    high: impl Display,
    got: impl Display,
) -> InvalidRequest {
    let what = format!("{kind} above maximum value. Expected a value <= {high}, but got {got} instead.");
    InvalidRequest::invalid(param, code, what)
}

fn below(
    param: &str,
    (kind, code): (&str, &'static str),
    low: impl Display,
    got: impl Display,
) -> InvalidRequest {
    let what = format!("{kind} below minimum value. Expected a value >= {low}, but got {got} instead.");
    InvalidRequest::invalid(param, code, what)
}

fn length(param: impl Into<String>, text: &str, low: usize, high: usize) -> Result<(), InvalidRequest> {
    if text.is_empty() && low > 0 {
        return Err(empty_string(param));
    }
    // A character has at least one byte, so most texts need not be counted.
    if text.len() > high && text.chars().count() > high {
        let what = format!(
            "string too long. Expected a string with maximum length {high}, but got a string with length {} \
             instead.",
            text.chars().count()
        );
        return Err(InvalidRequest::invalid(param, "string_above_max_length", what));
    }
    Ok(())
}

fn one_of(param: impl Into<String>, value: Option<&str>, allowed: &[&str]) -> Result<(), InvalidRequest> {
    match value {
        Some(value) if !allowed.contains(&value) => Err(unsupported_value(param, value, allowed)),
        _ => Ok(()),
    }
}

/// A word that is none of a closed set.
pub fn unsupported_value(param: impl Into<String>, value: &str, allowed: &[&str]) -> InvalidRequest {
    let allowed: Vec<_> = allowed.iter().map(|word| format!("'{word}'")).collect();
    let value = shown(value);
    let message = match allowed.as_slice() {
        [] => format!("Invalid value: '{value}'. No value is supported here."),
        [only] => format!("Invalid value: '{value}'. Supported values are: {only}."),
        [first @ .., last] => {
            format!("Invalid value: '{value}'. Supported values are: {}, and {last}.", first.join(", "))
        }
    };
    InvalidRequest::value(param, message)
}

/// A string that has to say something and does not.
pub fn empty_string(param: impl Into<String>) -> InvalidRequest {
    let what = "empty string. Expected a string with minimum length 1, but got an empty string instead.";
    InvalidRequest::invalid(param, "empty_string", what)
}

/// An array that has to hold something and does not.
pub fn empty_array(param: impl Into<String>) -> InvalidRequest {
    let what = "empty array. Expected an array with minimum length 1, but got an empty array instead.";
    InvalidRequest::invalid(param, "empty_array", what)
}

/// Refuses an array of more than `most` items.
///
/// # Errors
/// `array_above_max_length`, naming both lengths.
pub fn at_most(param: impl Into<String>, items: usize, most: usize) -> Result<(), InvalidRequest> {
    if items <= most {
        return Ok(());
    }
    let what = format!(
        "array too long. Expected an array with maximum length {most}, but got an array with length {items} \
         instead."
    );
    Err(InvalidRequest::invalid(param, "array_above_max_length", what))
}
