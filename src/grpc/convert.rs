//! pb messages to the engine's types, and its events to pb messages. Ranges and what goes together are checked
//! where both protocols meet, in [`ChatParameters::validate`].

use serde::de::IgnoredAny;

use crate::engine::{
    ChatParameters, Choice, Completion, Content, Event, FinishReason, Message, Part, Role, StreamParameters,
    Tool, Usage, unsupported_value,
};
use crate::error::InvalidRequest;
use crate::pb;
use crate::service::Heading;
use crate::service::simulation::Simulation;

type Read<T> = Result<T, InvalidRequest>;

/// Reads a request: what it asks of the engine, and of the mock. Faults name the API's fields.
///
/// # Errors
/// The first fault of form, with its place.
pub fn read(request: pb::CreateChatCompletionRequest, streamed: bool) -> Read<(ChatParameters, Simulation)> {
    check_json("tool_choice_json", request.tool_choice_json.as_deref())?;
    check_json("response_format_json", request.response_format_json.as_deref())?;
    let steering = match &request.simulation {
        None => Simulation::default(),
        Some(pb::SimulationOptions { ttft, itl, status }) => {
            Simulation::from_body(ttft.as_deref(), itl.as_deref(), status.map(i64::from))?
        }
    };
    let parameters = ChatParameters {
        model: request.model,
        messages: collect(request.messages, read_message)?,
        stream: StreamParameters {
            enabled: streamed,
            options: request.stream_options.map(|options| options.include_usage.unwrap_or(false)),
        },
        n: request.n.map(i64::from),
        max_tokens: request.max_tokens.map(i64::from),
        max_completion_tokens: request.max_completion_tokens.map(i64::from),
        min_tokens: request.min_tokens.map(i64::from),
        ignore_eos: request.ignore_eos.unwrap_or(false),
        stop: request.stop,
        tools: collect(request.tools, read_tool)?,
        temperature: request.temperature,
        top_p: request.top_p,
        presence_penalty: request.presence_penalty,
        frequency_penalty: request.frequency_penalty,
        seed: request.seed,
        logprobs: request.logprobs.unwrap_or(false),
        top_logprobs: request.top_logprobs.map(i64::from),
        logit_bias: request.logit_bias.into_iter().collect(),
        metadata: request.metadata.into_iter().collect(),
        service_tier: request.service_tier,
        reasoning_effort: request.reasoning_effort,
        verbosity: request.verbosity,
        safety_identifier: request.safety_identifier,
    };
    Ok((parameters, steering))
}

fn collect<T, U>(items: Vec<T>, read: impl Fn(usize, T) -> Read<U>) -> Read<Vec<U>> {
    items.into_iter().enumerate().map(|(index, item)| read(index, item)).collect()
}

fn read_message(index: usize, message: pb::ChatMessage) -> Read<Message> {
    let role = read_role(format!("messages[{index}].role"), message.role)?;
    let content = match message.content {
        None => None,
        Some(pb::chat_message::Content::Text(text)) => Some(Content::Text(text)),
        Some(pb::chat_message::Content::Parts(pb::ContentParts { parts })) => {
            let read = |part, value| read_part(format!("messages[{index}].content[{part}].type"), value);
            Some(Content::Parts(collect(parts, read)?))
        }
    };
    Ok(Message {
        role,
        content,
        refusal: message.refusal,
        name: message.name,
        tool_call_id: message.tool_call_id,
        has_calls: !message.tool_calls.is_empty(),
    })
}

fn read_role(param: String, role: i32) -> Read<Role> {
    Ok(match pb::Role::try_from(role) {
        Ok(pb::Role::Unspecified) => return Err(InvalidRequest::missing(param)),
        Ok(pb::Role::Developer) => Role::Developer,
        Ok(pb::Role::System) => Role::System,
        Ok(pb::Role::User) => Role::User,
        Ok(pb::Role::Assistant) => Role::Assistant,
        Ok(pb::Role::Tool) => Role::Tool,
        Ok(pb::Role::Function) => Role::Function,
        Err(_) => {
            return Err(unsupported_value(param, &role.to_string(), &Role::NAMES.map(|(name, _)| name)));
        }
    })
}

fn read_part(param: String, part: pb::ContentPart) -> Read<Part> {
    use pb::content_part::Part as Pb;
    Ok(match part.part {
        None => return Err(InvalidRequest::missing(param)),
        Some(Pb::Text(text)) => Part::Text(text),
        Some(Pb::Refusal(text)) => Part::Refusal(text),
        Some(Pb::ImageUrl(image)) => Part::ImageUrl { detail: image.detail },
        Some(Pb::InputAudio(audio)) => Part::InputAudio { format: audio.format },
        Some(Pb::File(_)) => Part::File,
    })
}

fn read_tool(index: usize, tool: pb::Tool) -> Read<Tool> {
    let at = |field: &str| format!("tools[{index}].{field}");
    match tool.tool {
        None => Err(InvalidRequest::missing(at("type"))),
        Some(pb::tool::Tool::Function(function)) => {
            check_json(at("function.parameters_json"), function.parameters_json.as_deref())?;
            Ok(Tool { name: function.name, kind: "function" })
        }
        Some(pb::tool::Tool::Custom(custom)) => {
            check_json(at("custom.format_json"), custom.format_json.as_deref())?;
            Ok(Tool { name: custom.name, kind: "custom" })
        }
    }
}

/// Refuses a free-form field that is no JSON.
fn check_json(param: impl Into<String>, json: Option<&str>) -> Read<()> {
    let Some(json) = json else { return Ok(()) };
    let fault =
        |error| InvalidRequest::invalid(param, "invalid_value", format_args!("it is no JSON: {error}."));
    serde_json::from_str::<IgnoredAny>(json).map(drop).map_err(fault)
}

/// The message for a whole answer.
pub fn completion(heading: Heading, completion: Completion) -> pb::CreateChatCompletionResponse {
    let choice = |(index, choice): (usize, Choice)| pb::Choice {
        index: int32(index),
        message: Some(pb::AssistantMessage {
            role: pb::Role::Assistant.into(),
            content: Some(choice.text),
            refusal: None,
        }),
        finish_reason: finish_reason(choice.finish_reason).into(),
    };
    pb::CreateChatCompletionResponse {
        id: heading.id,
        created: heading.created,
        model: heading.model,
        choices: completion.choices.into_iter().enumerate().map(choice).collect(),
        usage: Some(usage(completion.usage)),
        system_fingerprint: heading.system_fingerprint.into(),
        service_tier: heading.service_tier,
    }
}

/// The item that tells `event`, if a chat completion tells it.
pub fn item(
    heading: &Heading,
    event: Event,
    include_usage: bool,
) -> Option<pb::StreamChatCompletionResponse> {
    let unspecified = pb::FinishReason::Unspecified;
    match event {
        Event::Started => None,
        Event::Opened { choice } => {
            let role = pb::Role::Assistant.into();
            Some(item_of_choice(
                heading,
                choice,
                pb::Delta { role, content: Some(String::new()), refusal: None },
                unspecified,
            ))
        }
        Event::Delta { choice, text, .. } => {
            let delta = pb::Delta { content: Some(text.to_string()), ..pb::Delta::default() };
            Some(item_of_choice(heading, choice, delta, unspecified))
        }
        Event::Finished { choice, reason, .. } => {
            Some(item_of_choice(heading, choice, pb::Delta::default(), finish_reason(reason)))
        }
        Event::Usage(spent) => include_usage.then(|| message(heading, vec![], Some(usage(spent)))),
    }
}

fn item_of_choice(
    heading: &Heading,
    index: usize,
    delta: pb::Delta,
    finish_reason: pb::FinishReason,
) -> pb::StreamChatCompletionResponse {
    let finish_reason = finish_reason.into();
    message(heading, vec![pb::StreamChoice { index: int32(index), delta: Some(delta), finish_reason }], None)
}

fn message(
    heading: &Heading,
    choices: Vec<pb::StreamChoice>,
    usage: Option<pb::Usage>,
) -> pb::StreamChatCompletionResponse {
    pb::StreamChatCompletionResponse {
        id: heading.id.clone(),
        created: heading.created,
        model: heading.model.clone(),
        choices,
        usage,
        system_fingerprint: heading.system_fingerprint.into(),
        service_tier: heading.service_tier.clone(),
    }
}

fn finish_reason(reason: FinishReason) -> pb::FinishReason {
    match reason {
        FinishReason::Stop => pb::FinishReason::Stop,
        FinishReason::Length => pb::FinishReason::Length,
    }
}

fn usage(usage: Usage) -> pb::Usage {
    pb::Usage {
        prompt_tokens: int32(usage.prompt_tokens),
        completion_tokens: int32(usage.completion_tokens),
        total_tokens: int32(usage.total_tokens()),
        prompt_tokens_details: Some(pb::PromptTokensDetails::default()),
        completion_tokens_details: Some(pb::CompletionTokensDetails::default()),
    }
}

/// Counts and indexes are int32 on the wire; none of ours comes near its end.
fn int32(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}
