//! Chat completions: the request, and the parts of an answer that both facades write.

use super::check::{self, MANY, at_most, empty_array, empty_string};
use super::fields::{AnyObject, Field, FromJson};
use super::json::{Node, Object, RawNode};
use super::messages::{check_message, check_tool_messages};
use super::tools::{FunctionChoice, Functions, Tools, check_choice, check_tools};
use super::{ApiRequest, Head, Read, Validation};
use crate::engine::{Content, GenerationRequest, Message, Prompt, ResponseFormat, ToolChoice};
use crate::error::{InvalidRequest, shown};
use crate::simulation::Directives;

fields! {
    /// A request for a chat completion. The fields are those of the OpenAI API reference, then those of vLLM that load
    /// generators send, then tokenecho's own.
    #[derive(Clone, Debug, Default)]
    #[expect(dead_code, reason = "some fields are checked and ignored")]
    pub(crate) struct ChatRequest {
        messages: Vec<Message> [required];
        model: Option<String>;
        stream: Option<bool>;
        stream_options: Option<StreamOptions>;
        max_tokens: Option<i64>;
        max_completion_tokens: Option<i64>;
        n: Option<i64> => integer(1, MAX_CHOICES);
        stop: StopSequences;
        temperature: Option<f64> => decimal(0.0, 2.0);
        top_p: Option<f64> => decimal(0.0, 1.0);
        presence_penalty: Option<f64> => decimal(-2.0, 2.0);
        frequency_penalty: Option<f64> => decimal(-2.0, 2.0);
        seed: Option<i64>;
        logprobs: bool;
        top_logprobs: Option<i64> => integer(0, 20);
        logit_bias: Pairs<f64>;
        metadata: Pairs<String>;
        tools: Tools;
        tool_choice: Option<ToolChoice>;
        parallel_tool_calls: Option<bool>;
        functions: Option<Functions>;
        function_call: Option<FunctionChoice>;
        response_format: Option<ResponseFormat>;
        service_tier: Option<String> => one_of(SERVICE_TIERS);
        reasoning_effort: Option<String> => one_of(REASONING_EFFORTS);
        verbosity: Option<String> => one_of(VERBOSITIES);
        modalities: Vec<Modality>;
        audio: Option<AudioOutput>;
        prediction: Option<Prediction>;
        web_search_options: Option<AnyObject>;
        moderation: Option<AnyObject>;
        store: Option<bool>;
        user: Option<String>;
        safety_identifier: Option<String> => length(0, 64);
        prompt_cache_key: Option<String>;
        prompt_cache_options: Option<AnyObject>;
        prompt_cache_retention: Option<Retention>;
        ignore_eos: bool;
        min_tokens: Option<i64> => integer(0, MAX_TOKENS);
        simulation: Option<Directives>;
    }
}

const MAX_MESSAGES: usize = 2048;
const MAX_CHOICES: i64 = 128;
const MAX_STOP: usize = 4;
const MAX_METADATA: usize = 16;
const MAX_TOKENS: i64 = 1 << 20;
const MAX_LOGIT_BIAS: usize = 1024;
const SERVICE_TIERS: &[&str] = &["auto", "default", "flex", "scale", "priority", "fast"];
const REASONING_EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];
const VERBOSITIES: &[&str] = &["low", "medium", "high"];

/// What a facade needs from a request to write its answer.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// Whether the answer is a stream.
    pub streamed: bool,
    /// Whether a streamed answer ends with its usage.
    pub include_usage: bool,
    /// The service tier to report.
    pub service_tier: String,
}

/// The fields that every object of one answer repeats.
#[derive(Clone, Debug)]
pub(crate) struct ChatHead {
    /// The answer's id: `chatcmpl-` and 32 hexadecimal digits.
    pub id: String,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// The model, as named in the request.
    pub model: String,
    /// The service tier to report.
    pub service_tier: String,
    /// The server's fingerprint: the same for every request to one version.
    pub system_fingerprint: &'static str,
}

impl ChatHead {
    /// The head of an answer with this delivery.
    pub(crate) fn new(head: Head, delivery: Delivery) -> Self {
        Self {
            id: format!("chatcmpl-{:032x}", head.id),
            created: head.created,
            model: head.model,
            service_tier: delivery.service_tier,
            system_fingerprint: concat!("fp_tokenecho_", env!("CARGO_PKG_VERSION")),
        }
    }
}

impl ChatRequest {
    /// How to write the answer.
    pub(crate) fn delivery(&self) -> Delivery {
        Delivery {
            streamed: self.stream.unwrap_or(false),
            include_usage: self.stream_options.is_some_and(|options| options.include_usage),
            service_tier: match self.service_tier.as_deref() {
                None | Some("auto") => "default".into(),
                Some(tier) => tier.into(),
            },
        }
    }

    fn check_messages(&self, lenient: bool) -> Read<()> {
        if self.messages.is_empty() && !lenient {
            return Err(empty_array("messages"));
        }
        at_most("messages", self.messages.len(), MAX_MESSAGES)?;
        self.messages
            .iter()
            .enumerate()
            .try_for_each(|(index, message)| check_message(message, index, lenient))
    }

    fn check_model(&self, validation: Validation) -> Read<()> {
        match (&self.model, validation) {
            (Some(model), _) => check_model(model),
            (None, Validation::Strict) => Err(InvalidRequest::missing("model")),
            (None, Validation::Lenient | Validation::Default) => Ok(()),
        }
    }

    /// Checks fields that require or exclude each other.
    fn check_combinations(&self, lenient: bool) -> Read<()> {
        if self.stream_options.is_some() && !self.stream.unwrap_or(false) && !lenient {
            let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
            return Err(InvalidRequest::combination("stream_options", message));
        }
        if self.top_logprobs.is_some() && !self.logprobs && !lenient {
            let message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.";
            return Err(InvalidRequest::combination("top_logprobs", message));
        }
        Ok(())
    }

    /// The API rejects forced JSON that no message mentions: a model would then answer with endless white space.
    fn check_json_is_asked_for(&self) -> Read<()> {
        let asks = |message: &Message| message.text().to_ascii_lowercase().contains("json");
        if self.response_format != Some(ResponseFormat::JsonObject) || self.messages.iter().any(asks) {
            return Ok(());
        }
        let message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type \
                       'json_object'.";
        Err(InvalidRequest { message: message.into(), param: Some("messages".into()), code: None })
    }

    fn check_logit_bias(&self, lenient: bool) -> Read<()> {
        self.logit_bias.0.iter().try_for_each(|(token, bias)| {
            if !lenient && token.parse::<u32>().is_err() {
                let token = shown(token);
                let message =
                    format!("Invalid key in 'logit_bias': '{token}'. Expected the integer id of a token.");
                return Err(InvalidRequest::value("logit_bias", message));
            }
            check::decimal("logit_bias", Some(bias), -100.0, 100.0)
        })
    }

    fn check_stop(&self, lenient: bool) -> Read<()> {
        at_most("stop", self.stop.0.len(), MAX_STOP)?;
        let shortest = usize::from(!lenient);
        let mut sequences = self.stop.0.iter().enumerate();
        sequences.try_for_each(|(index, stop)| {
            check::length(format!("stop[{index}]"), Some(stop), shortest, usize::MAX)
        })
    }

    fn check_metadata(&self) -> Read<()> {
        let pairs = &self.metadata.0;
        if pairs.len() > MAX_METADATA {
            let what = format!(
                "too many properties. Expected an object with at most {MAX_METADATA} properties, but got an \
                 object with {} properties instead.",
                pairs.len()
            );
            return Err(InvalidRequest::invalid("metadata", "object_above_max_properties", what));
        }
        pairs.iter().try_for_each(|(key, value)| {
            check::length("metadata", Some(key), 0, 64)?;
            check::length(format!("metadata.{key}"), Some(value), 0, 512)
        })
    }

    fn token_limit(&self, lenient: bool) -> Read<Option<usize>> {
        let lowest = i64::from(!lenient);
        check::integer("max_completion_tokens", self.max_completion_tokens.as_ref(), lowest, MAX_TOKENS)?;
        check::integer("max_tokens", self.max_tokens.as_ref(), lowest, MAX_TOKENS)?;
        if self.max_completion_tokens.is_some() && self.max_tokens.is_some() && !lenient {
            let message =
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.";
            return Err(InvalidRequest::combination("max_tokens", message));
        }
        Ok(check::count(self.max_completion_tokens.or(self.max_tokens)))
    }

    fn token_floor(&self, max_tokens: Option<usize>) -> Read<usize> {
        let min_tokens = check::count(self.min_tokens).unwrap_or(0);
        match max_tokens {
            Some(most) if min_tokens > most => {
                let message = format!("'min_tokens' is {min_tokens}, more than the {most} of 'max_tokens'.");
                Err(InvalidRequest::combination("min_tokens", message))
            }
            _ => Ok(min_tokens),
        }
    }
}

impl ApiRequest for ChatRequest {
    fn directives(&self) -> Directives {
        self.simulation.clone().unwrap_or_default()
    }

    fn check(self, default_model: &str, validation: Validation) -> Read<GenerationRequest> {
        let lenient = validation == Validation::Lenient;
        self.check_messages(lenient)?;
        self.check_model(validation)?;
        self.check_fields()?;
        self.check_combinations(lenient)?;
        self.check_logit_bias(lenient)?;
        self.check_stop(lenient)?;
        self.check_metadata()?;
        check_tools(&self.tools.0)?;
        if !lenient {
            check_tool_messages(&self.messages)?;
            check_choice(&self.tools.0, self.tool_choice.as_ref(), self.parallel_tool_calls)?;
            self.check_json_is_asked_for()?;
        }
        let max_tokens = self.token_limit(lenient)?;
        let min_tokens = self.token_floor(max_tokens)?;
        Ok(GenerationRequest {
            model: self.model.unwrap_or_else(|| default_model.to_owned()),
            prompt: Prompt::Chat(self.messages),
            n: check::count(self.n).unwrap_or(1),
            max_tokens,
            min_tokens,
            ignore_eos: self.ignore_eos,
            stop: self.stop.0.into_iter().filter(|stop| !stop.is_empty()).collect(),
            tools: self.tools.0,
            tool_choice: self.tool_choice,
            parallel_tool_calls: self.parallel_tool_calls,
            response_format: self.response_format,
            temperature: self.temperature,
            top_p: self.top_p,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            seed: self.seed,
        })
    }
}

/// Rejects an invalid model name.
///
/// # Errors
/// A name that is empty, too long or contains control characters.
pub(crate) fn check_model(name: &str) -> Read<()> {
    check::length("model", Some(name), 1, 256)?;
    if name.chars().any(char::is_control) {
        return Err(InvalidRequest::value("model", "Invalid 'model': control characters are not allowed."));
    }
    Ok(())
}

fields! {
    /// How the answer is streamed.
    #[derive(Clone, Copy, Debug, Default)]
    #[expect(dead_code, reason = "some fields are checked and ignored")]
    pub(crate) struct StreamOptions {
        include_usage: bool;
        include_obfuscation: bool;
    }
}

/// `stop`: one sequence or several; empty if null or absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopSequences(pub Vec<String>);

impl Field for StopSequences {
    fn from_field(object: &Object<'_, '_>, name: &'static str) -> Read<Self> {
        let Some(node) = object.get(name) else { return Ok(Self::default()) };
        if node.is_string() {
            let stop = node.string()?.into_owned();
            return match (stop.is_empty(), node.is_lenient()) {
                (false, _) => Ok(Self(vec![stop])),
                (true, true) => Ok(Self::default()),
                // Checked here: as an array of one, the error would name `stop[0]`.
                (true, false) => Err(empty_string(node.param())),
            };
        }
        if !node.is_array() {
            return Err(node.unexpected("one of a string or array of strings"));
        }
        FromJson::from_json(&node).map(Self)
    }
}

/// An object with caller-defined names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs<T>(pub Vec<(String, T)>);

impl Field for Pairs<f64> {
    fn from_field(object: &Object<'_, '_>, name: &'static str) -> Read<Self> {
        read_pairs(object, name, MAX_LOGIT_BIAS)
    }
}

impl Field for Pairs<String> {
    fn from_field(object: &Object<'_, '_>, name: &'static str) -> Read<Self> {
        read_pairs(object, name, MANY)
    }
}

fn read_pairs<T: FromJson>(object: &Object<'_, '_>, name: &'static str, most: usize) -> Read<Pairs<T>> {
    let Some(node) = object.get(name) else { return Ok(Pairs(Vec::new())) };
    let pair = |(name, value): (String, RawNode<'_>)| {
        let value = T::from_json(&value.at(&node, &name))?;
        Ok((name, value))
    };
    node.entries(most)?.into_iter().map(pair).collect::<Read<_>>().map(Pairs)
}

/// A requested kind of output; checked and ignored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Modality;

impl FromJson for Modality {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        node.word(&[("text", Self), ("audio", Self)])
    }
}

/// How long a prompt may stay cached; checked and ignored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention;

impl FromJson for Retention {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        node.word(&[("in_memory", Self), ("24h", Self)])
    }
}

/// The voice and format of an audio answer; checked and ignored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AudioOutput;

impl FromJson for AudioOutput {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        let audio = node.object(&["voice", "format"])?;
        audio.require("voice")?;
        audio.require("format")?.string()?;
        Ok(Self)
    }
}

/// The reply that the caller predicts; checked and ignored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prediction;

impl FromJson for Prediction {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        let prediction = node.object(&["type", "content"])?;
        prediction.require("type")?.word(&[("content", ())])?;
        Content::from_json(&prediction.require("content")?)?;
        Ok(Self)
    }
}

impl FromJson for Directives {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        // Not `fields!`: the first unknown name is kept, to be logged.
        let object = node.object(&["ttft", "itl", "status"])?;
        let (ttft, itl) = (object.text("ttft")?, object.text("itl")?);
        let status = Option::from_field(&object, "status")?;
        let directives = Self::from_body(ttft.as_deref(), itl.as_deref(), status)?;
        Ok(Self { ignored: object.unknown().map(Into::into), ..directives })
    }
}
