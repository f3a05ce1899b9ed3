//! A chat completion request, off the wire: its fields' types and spelling. Ranges and what goes together are
//! checked where both protocols meet, in [`ChatParameters::validate`].

use crate::engine::{ChatParameters, Content, Message, Part, Role, StreamParameters, Tool, Validation};
use crate::engine::{empty_array, empty_string};
use crate::error::InvalidRequest;
use crate::http::json::{Node, Object};
use crate::service::simulation::Simulation;

type Read<T> = Result<T, InvalidRequest>;

/// The fields of the API's request, then vLLM's that load tools send, then ours.
const FIELDS: &[&str] = &[
    "messages",
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stop",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "metadata",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "response_format",
    "service_tier",
    "reasoning_effort",
    "verbosity",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "moderation",
    "store",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "ignore_eos",
    "min_tokens",
    "simulation",
];

/// More items than any limit on them, so that the limit names the fault; what is beyond is only counted.
const MANY: usize = 4096;
const MAX_LOGIT_BIAS: usize = 1024;

/// Reads a body: what it asks of the engine, and of the mock.
///
/// # Errors
/// The first fault of form, with its place.
pub fn read(body: &str, validation: Validation) -> Read<(ChatParameters, Simulation)> {
    let body = Node::body(body, validation == Validation::Strict)?;
    let request = body.object(FIELDS)?;
    check_unused(&request)?;
    let parameters = ChatParameters {
        model: request.text("model")?,
        messages: read_messages(&request.require("messages")?)?,
        stream: StreamParameters {
            enabled: request.boolean("stream")?.unwrap_or(false),
            options: request.read("stream_options", |node| read_stream_options(node))?,
        },
        n: request.integer("n")?,
        max_tokens: request.integer("max_tokens")?,
        max_completion_tokens: request.integer("max_completion_tokens")?,
        min_tokens: request.integer("min_tokens")?,
        ignore_eos: request.boolean("ignore_eos")?.unwrap_or(false),
        stop: request.read("stop", |node| read_stop(node))?.unwrap_or_default(),
        tools: request.read("tools", |node| read_tools(node))?.unwrap_or_default(),
        temperature: request.decimal("temperature")?,
        top_p: request.decimal("top_p")?,
        presence_penalty: request.decimal("presence_penalty")?,
        frequency_penalty: request.decimal("frequency_penalty")?,
        seed: request.integer("seed")?,
        logprobs: request.boolean("logprobs")?.unwrap_or(false),
        top_logprobs: request.integer("top_logprobs")?,
        logit_bias: request.read("logit_bias", |node| read_logit_bias(node))?.unwrap_or_default(),
        metadata: request.read("metadata", |node| read_metadata(node))?.unwrap_or_default(),
        service_tier: request.text("service_tier")?,
        reasoning_effort: request.text("reasoning_effort")?,
        verbosity: request.text("verbosity")?,
        safety_identifier: request.text("safety_identifier")?,
    };
    let steering = request.read("simulation", |node| read_simulation(node))?.unwrap_or_default();
    Ok((parameters, steering))
}

fn read_messages(node: &Node<'_, '_>) -> Read<Vec<Message>> {
    node.array(MANY)?.iter().map(read_message).collect()
}

fn read_message(node: &Node<'_, '_>) -> Read<Message> {
    let message = node.object(&[
        "role",
        "content",
        "name",
        "tool_call_id",
        "tool_calls",
        "function_call",
        "refusal",
        "audio",
    ])?;
    let role = message.require("role")?.word(&Role::NAMES)?;
    let calls = [
        message.read("tool_calls", |node| check_tool_calls(node))?,
        message.read("function_call", |node| check_function(node, "arguments"))?,
        message.read("audio", |node| node.object(&["id"])?.require("id")?.string().map(drop))?,
    ];
    Ok(Message {
        role,
        content: match message.get_or_null("content") {
            Some(content) if content.is_null() && !matches!(role, Role::Assistant | Role::Function) => {
                return Err(content.unexpected(ONE_OR_PARTS));
            }
            Some(content) if !content.is_null() => Some(read_content(&content)?),
            _ => None,
        },
        refusal: message.text("refusal")?,
        name: message.text("name")?,
        tool_call_id: message.text("tool_call_id")?,
        has_calls: calls.iter().any(Option::is_some),
    })
}

const ONE_OR_PARTS: &str = "one of a string or array of objects";

fn read_content(node: &Node<'_, '_>) -> Read<Content> {
    if node.is_string() {
        return Ok(Content::Text(node.string()?.into_owned()));
    }
    if !node.is_array() {
        return Err(node.unexpected(ONE_OR_PARTS));
    }
    Ok(Content::Parts(node.array(MANY)?.iter().map(read_part).collect::<Read<_>>()?))
}

fn read_part(node: &Node<'_, '_>) -> Read<Part> {
    let part = node.object(&[
        "type",
        "text",
        "image_url",
        "input_audio",
        "file",
        "refusal",
        "prompt_cache_breakpoint",
    ])?;
    let kind = part.require("type")?.word(&[
        ("text", "text"),
        ("image_url", "image_url"),
        ("input_audio", "input_audio"),
        ("file", "file"),
        ("refusal", "refusal"),
    ])?;
    let value = part.require(kind)?;
    Ok(match kind {
        "text" => Part::Text(value.string()?.into_owned()),
        "refusal" => Part::Refusal(value.string()?.into_owned()),
        "image_url" => {
            let image = value.object(&["url", "detail"])?;
            image.require("url")?.string()?;
            Part::ImageUrl { detail: image.text("detail")? }
        }
        "input_audio" => {
            let audio = value.object(&["data", "format"])?;
            audio.require("data")?.string()?;
            Part::InputAudio { format: audio.require("format")?.string()?.into_owned() }
        }
        _ => {
            let file = value.object(&["filename", "file_data", "file_id"])?;
            for name in ["filename", "file_data", "file_id"] {
                file.text(name)?;
            }
            Part::File
        }
    })
}

fn read_stream_options(node: &Node<'_, '_>) -> Read<bool> {
    let options = node.object(&["include_usage", "include_obfuscation"])?;
    options.boolean("include_obfuscation")?;
    Ok(options.boolean("include_usage")?.unwrap_or(false))
}

fn read_stop(node: &Node<'_, '_>) -> Read<Vec<String>> {
    if node.is_string() {
        let stop = node.string()?;
        // Behind here it is an array of one, and the fault would name an item of it.
        return if stop.is_empty() { Err(empty_string(node.param())) } else { Ok(vec![stop.into_owned()]) };
    }
    if !node.is_array() {
        return Err(node.unexpected("one of a string or array of strings"));
    }
    node.array(MANY)?.iter().map(|item| Ok(item.string()?.into_owned())).collect()
}

fn read_tools(node: &Node<'_, '_>) -> Read<Vec<Tool>> {
    node.array(MANY)?.iter().map(read_tool).collect()
}

fn read_tool(node: &Node<'_, '_>) -> Read<Tool> {
    let tool = node.object(&["type", "function", "custom"])?;
    let kind = tool.require("type")?.word(&[("function", "function"), ("custom", "custom")])?;
    let value = tool.require(kind)?;
    let fields = value.object(&["name", "description", "parameters", "strict", "format"])?;
    fields.text("description")?;
    fields.boolean("strict")?;
    fields.read("parameters", |node| check_object(node))?;
    fields.read("format", |node| check_object(node))?;
    Ok(Tool { name: fields.require("name")?.string()?.into_owned(), kind })
}

fn read_logit_bias(node: &Node<'_, '_>) -> Read<Vec<(String, f64)>> {
    let entry = |(name, value): (String, crate::http::json::RawNode<'_>)| {
        let bias = value.at(node, &name).decimal()?;
        Ok((name, bias))
    };
    node.entries(MAX_LOGIT_BIAS)?.into_iter().map(entry).collect()
}

fn read_metadata(node: &Node<'_, '_>) -> Read<Vec<(String, String)>> {
    let entry = |(name, value): (String, crate::http::json::RawNode<'_>)| {
        let text = value.at(node, &name).string()?.into_owned();
        Ok((name, text))
    };
    node.entries(MANY)?.into_iter().map(entry).collect()
}

fn read_simulation(node: &Node<'_, '_>) -> Read<Simulation> {
    let simulation = node.object(&["ttft", "itl", "status"])?;
    let (ttft, itl) = (simulation.text("ttft")?, simulation.text("itl")?);
    Simulation::from_body(ttft.as_deref(), itl.as_deref(), simulation.integer("status")?)
}

/// Checks the form of the fields that change nothing about an echo, so that a client's mistakes show all the
/// same.
fn check_unused(request: &Object<'_, '_>) -> Read<()> {
    for name in ["parallel_tool_calls", "store"] {
        request.boolean(name)?;
    }
    for name in ["user", "prompt_cache_key"] {
        request.text(name)?;
    }
    for name in ["web_search_options", "moderation", "prompt_cache_options"] {
        request.read(name, |node| check_object(node))?;
    }
    request.read("prompt_cache_retention", |node| node.word(&[("in_memory", ()), ("24h", ())]))?;
    request.read("tool_choice", |node| check_tool_choice(node))?;
    request.read("function_call", |node| check_function_choice(node))?;
    request.read("functions", |node| check_functions(node))?;
    request.read("response_format", |node| check_response_format(node))?;
    request.read("modalities", |node| {
        node.array(MANY)?.iter().try_for_each(|item| item.word(&[("text", ()), ("audio", ())]))
    })?;
    request.read("audio", |node| {
        let audio = node.object(&["voice", "format"])?;
        audio.require("voice")?;
        audio.require("format")?.string().map(drop)
    })?;
    request.read("prediction", |node| {
        let prediction = node.object(&["type", "content"])?;
        prediction.require("type")?.word(&[("content", ())])?;
        read_content(&prediction.require("content")?).map(drop)
    })?;
    Ok(())
}

fn check_object(node: &Node<'_, '_>) -> Read<()> {
    if node.is_object() { Ok(()) } else { Err(node.unexpected("an object")) }
}

fn check_tool_calls(node: &Node<'_, '_>) -> Read<()> {
    let calls = node.array(MANY)?;
    if calls.is_empty() {
        return Err(empty_array(node.param()));
    }
    calls.iter().try_for_each(|node| {
        let call = node.object(&["id", "type", "function", "custom"])?;
        call.require("id")?.string()?;
        match call.require("type")?.word(&[("function", "arguments"), ("custom", "input")])? {
            "arguments" => check_function(&call.require("function")?, "arguments"),
            input => check_function(&call.require("custom")?, input),
        }
    })
}

fn check_function(node: &Node<'_, '_>, input: &'static str) -> Read<()> {
    let function = node.object(&["name", "arguments", "input"])?;
    function.require("name")?.string()?;
    function.require(input)?.string().map(drop)
}

fn check_tool_choice(node: &Node<'_, '_>) -> Read<()> {
    if node.is_string() {
        return node.word(&[("none", ()), ("auto", ()), ("required", ())]);
    }
    let choice = node.object(&["type", "function", "custom", "allowed_tools"])?;
    let kind = choice.require("type")?.word(&[
        ("function", "function"),
        ("custom", "custom"),
        ("allowed_tools", "allowed_tools"),
    ])?;
    match kind {
        "allowed_tools" => check_object(&choice.require(kind)?),
        _ => choice.require(kind)?.object(&["name"])?.require("name")?.string().map(drop),
    }
}

fn check_function_choice(node: &Node<'_, '_>) -> Read<()> {
    if node.is_string() {
        return node.word(&[("none", ()), ("auto", ())]);
    }
    node.object(&["name"])?.require("name")?.string().map(drop)
}

fn check_functions(node: &Node<'_, '_>) -> Read<()> {
    let functions = node.array(128)?;
    if functions.is_empty() {
        return Err(empty_array(node.param()));
    }
    functions.iter().try_for_each(|node| {
        let function = node.object(&["name", "description", "parameters"])?;
        function.text("description")?;
        function.read("parameters", |node| check_object(node))?;
        function.require("name")?.string().map(drop)
    })
}

fn check_response_format(node: &Node<'_, '_>) -> Read<()> {
    let format = node.object(&["type", "json_schema"])?;
    let kinds = [("text", false), ("json_object", false), ("json_schema", true)];
    if format.require("type")?.word(&kinds)? {
        let schema = format.require("json_schema")?;
        let schema = schema.object(&["name", "description", "schema", "strict"])?;
        schema.require("name")?.string()?;
        schema.text("description")?;
        schema.boolean("strict")?;
        schema.read("schema", |node| check_object(node))?;
    }
    Ok(())
}
