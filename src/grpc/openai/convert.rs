//! Messages of `tokenecho.v1` to the API's request, and the engine's events to messages. Ranges and combinations are
//! checked where both protocols meet, in [`ApiRequest::check`](crate::api::ApiRequest::check).

use crate::api::chat::{ChatHead, ChatRequest, Pairs, StopSequences, StreamOptions};
use crate::api::check::unsupported_value;
use crate::api::fields::{FromJson, JsonObject};
use crate::api::json::Node;
use crate::api::tools::Tools;
use crate::api::{Read, Validation};
use crate::engine::{
    Audio, CallKind, CallStart, Choice, Completion, Content, Delta, Event, File, FinishReason, Image,
    Message, Part, Role, Run, Tool, ToolCall, Usage,
};
use crate::error::{ApiError, InvalidRequest};
use crate::grpc::items::Batch;
use crate::pb;
use crate::service::Render;
use crate::simulation::Directives;

/// Reads a request. Errors name the API's fields; embedded JSON is read as `validation` asks.
///
/// # Errors
/// The first value that is missing or not well-formed, with its place.
pub(crate) fn read(
    request: pb::CreateChatCompletionRequest,
    streamed: bool,
    validation: Validation,
) -> Read<ChatRequest> {
    Ok(ChatRequest {
        model: request.model,
        messages: collect(request.messages, read_message)?,
        stream: Some(streamed),
        stream_options: request.stream_options.map(|options| StreamOptions {
            include_usage: options.include_usage.unwrap_or(false),
            ..StreamOptions::default()
        }),
        n: request.n.map(i64::from),
        max_tokens: request.max_tokens.map(i64::from),
        max_completion_tokens: request.max_completion_tokens.map(i64::from),
        min_tokens: request.min_tokens.map(i64::from),
        ignore_eos: request.ignore_eos.unwrap_or(false),
        stop: StopSequences(request.stop),
        tools: Tools(collect(request.tools, |index, tool| read_tool(index, tool, validation))?),
        tool_choice: embedded("tool_choice_json", request.tool_choice_json.as_deref(), validation)?,
        parallel_tool_calls: request.parallel_tool_calls,
        response_format: embedded(
            "response_format_json",
            request.response_format_json.as_deref(),
            validation,
        )?,
        temperature: request.temperature,
        top_p: request.top_p,
        presence_penalty: request.presence_penalty,
        frequency_penalty: request.frequency_penalty,
        seed: request.seed,
        logprobs: request.logprobs.unwrap_or(false),
        top_logprobs: request.top_logprobs.map(i64::from),
        logit_bias: Pairs(request.logit_bias.into_iter().collect()),
        metadata: Pairs(request.metadata.into_iter().collect()),
        service_tier: request.service_tier,
        reasoning_effort: request.reasoning_effort,
        verbosity: request.verbosity,
        store: request.store,
        user: request.user,
        safety_identifier: request.safety_identifier,
        prompt_cache_key: request.prompt_cache_key,
        simulation: request.simulation.map(read_simulation).transpose()?,
        ..ChatRequest::default()
    })
}

/// The value of a `…_json` field, read as HTTP reads it; absent and null give `None`.
fn embedded<T: FromJson>(name: &str, json: Option<&str>, validation: Validation) -> Read<Option<T>> {
    let Some(json) = json else { return Ok(None) };
    let node = Node::embedded(json, name, validation)?;
    if node.is_null() { Ok(None) } else { T::from_json(&node).map(Some) }
}

fn read_simulation(options: pb::SimulationOptions) -> Read<Directives> {
    let pb::SimulationOptions { ttft, itl, status } = options;
    Directives::from_body(ttft.as_deref(), itl.as_deref(), status.map(i64::from))
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
        tool_calls: collect(message.tool_calls, |call, value| {
            read_call(value, |field| format!("messages[{index}].tool_calls[{call}].{field}"))
        })?,
        audio: None,
    })
}

fn read_call(call: pb::ToolCall, at: impl Fn(&str) -> String) -> Read<ToolCall> {
    let id = Some(call.id);
    match (call.function, call.custom) {
        (Some(pb::FunctionCall { name, arguments }), None) => {
            Ok(ToolCall { id, kind: CallKind::Function, name, arguments })
        }
        (None, Some(pb::CustomToolCall { name, input })) => {
            Ok(ToolCall { id, kind: CallKind::Custom, name, arguments: input })
        }
        (None, None) => Err(InvalidRequest::missing(at("type"))),
        (Some(_), Some(_)) => {
            let message = "A tool call is of a function or of a custom tool, not of both.";
            Err(InvalidRequest::combination(at("function"), message))
        }
    }
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
        Some(Pb::ImageUrl(pb::ImageUrl { url, detail })) => Part::Image(Box::new(Image { url, detail })),
        Some(Pb::InputAudio(pb::InputAudio { data, format })) => {
            Part::Audio(Box::new(Audio { data, format }))
        }
        Some(Pb::File(pb::File { filename, file_data, file_id })) => {
            Part::File(Box::new(File { filename, file_data, file_id }))
        }
    })
}

fn read_tool(index: usize, tool: pb::Tool, validation: Validation) -> Read<Tool> {
    let at = |field: &str| format!("tools[{index}].{field}");
    let schema = |field: &str, json: Option<String>| -> Read<Option<Box<str>>> {
        let object: Option<JsonObject> = embedded(&at(field), json.as_deref(), validation)?;
        Ok(object.map(|JsonObject(text)| text))
    };
    match tool.tool {
        None => Err(InvalidRequest::missing(at("type"))),
        Some(pb::tool::Tool::Function(function)) => {
            let pb::FunctionDefinition { name, description, parameters_json, strict } = function;
            let schema = schema("function.parameters_json", parameters_json)?;
            Ok(Tool { kind: CallKind::Function, name, description, schema, strict })
        }
        Some(pb::tool::Tool::Custom(pb::CustomToolDefinition { name, description, format_json })) => {
            let schema = schema("custom.format_json", format_json)?;
            Ok(Tool { kind: CallKind::Custom, name, description, schema, strict: None })
        }
    }
}

/// The message for a whole answer.
pub(super) fn completion(head: ChatHead, completion: Completion) -> pb::CreateChatCompletionResponse {
    pb::CreateChatCompletionResponse {
        id: head.id,
        created: head.created,
        model: head.model,
        choices: completion.choices.into_iter().enumerate().map(choice).collect(),
        usage: Some(usage(completion.usage)),
        system_fingerprint: head.system_fingerprint.into(),
        service_tier: head.service_tier,
    }
}

fn choice((index, choice): (usize, Choice)) -> pb::Choice {
    let finish_reason = finish_reason(choice.finish_reason).into();
    let (content, refusal, calls) = choice.content();
    let tool_calls = calls.into_iter().map(call).collect();
    let message = pb::AssistantMessage { role: pb::Role::Assistant.into(), content, refusal, tool_calls };
    pb::Choice { index: int32(index), message: Some(message), finish_reason }
}

fn call(call: ToolCall) -> pb::ToolCall {
    let ToolCall { id, kind, name, arguments } = call;
    let id = id.unwrap_or_default();
    match kind {
        CallKind::Function => {
            pb::ToolCall { id, function: Some(pb::FunctionCall { name, arguments }), custom: None }
        }
        CallKind::Custom => {
            pb::ToolCall { id, function: None, custom: Some(pb::CustomToolCall { name, input: arguments }) }
        }
    }
}

/// Makes an item of each event that a chat completion reports. Only the first has the fields that all items repeat:
/// the [codec](crate::grpc::codec::Streamed) puts them into the others.
pub(super) struct ItemRenderer {
    head: Option<ChatHead>,
    include_usage: bool,
    /// The kind of each choice's last call, which its arguments follow.
    calls: Vec<CallKind>,
}

impl ItemRenderer {
    /// A renderer for the items of one answer.
    pub(super) fn new(head: ChatHead, include_usage: bool) -> Self {
        Self { head: Some(head), include_usage, calls: Vec::new() }
    }

    fn item(
        &mut self,
        choices: Vec<pb::StreamChoice>,
        usage: Option<pb::Usage>,
    ) -> pb::StreamChatCompletionResponse {
        let item = pb::StreamChatCompletionResponse { choices, usage, ..Default::default() };
        let Some(ChatHead { id, created, model, service_tier, system_fingerprint }) = self.head.take() else {
            return item;
        };
        let system_fingerprint = system_fingerprint.into();
        pb::StreamChatCompletionResponse { id, created, model, service_tier, system_fingerprint, ..item }
    }

    fn choice(
        &mut self,
        index: usize,
        delta: pb::Delta,
        finish_reason: pb::FinishReason,
    ) -> pb::StreamChatCompletionResponse {
        let finish_reason = finish_reason.into();
        self.item(vec![pb::StreamChoice { index: int32(index), delta: Some(delta), finish_reason }], None)
    }

    /// What each of the tokens adds; nothing where a chat does not show it.
    fn deltas(&mut self, choice: usize, run: &Run) -> Vec<pb::Delta> {
        let plain = pb::Delta::default;
        match &run.delta {
            Delta::Text(_) => {
                run.texts().map(|text| pb::Delta { content: Some(text.into()), ..plain() }).collect()
            }
            Delta::Refusal(_) => {
                run.texts().map(|text| pb::Delta { refusal: Some(text.into()), ..plain() }).collect()
            }
            Delta::Reasoning(_) => Vec::new(),
            Delta::Call(start) => {
                let CallStart { call, kind, id, name } = &**start;
                self.calls.resize(self.calls.len().max(choice + 1), *kind);
                self.calls[choice] = *kind;
                let begun = call_delta(*call, *kind, Some(name.to_string()), String::new());
                let begun = pb::ToolCallDelta { id: Some(id.to_string()), ..begun };
                vec![pb::Delta { tool_calls: vec![begun], ..plain() }]
            }
            Delta::Arguments { call, .. } => {
                let kind = self.calls.get(choice).copied().unwrap_or(CallKind::Function);
                let more = |text: &str| call_delta(*call, kind, None, text.into());
                run.texts().map(|text| pb::Delta { tool_calls: vec![more(text)], ..plain() }).collect()
            }
        }
    }
}

fn call_delta(call: u16, kind: CallKind, name: Option<String>, input: String) -> pb::ToolCallDelta {
    let plain = pb::ToolCallDelta { index: call.into(), ..pb::ToolCallDelta::default() };
    match kind {
        CallKind::Function => {
            pb::ToolCallDelta { function: Some(pb::FunctionCallDelta { name, arguments: input }), ..plain }
        }
        CallKind::Custom => {
            pb::ToolCallDelta { custom: Some(pb::CustomToolCallDelta { name, input }), ..plain }
        }
    }
}

impl Render for ItemRenderer {
    type Output = Batch<pb::StreamChatCompletionResponse>;

    fn output(&self) -> Self::Output {
        Batch::default()
    }

    fn event(&mut self, event: Event, items: &mut Self::Output) {
        let unspecified = pb::FinishReason::Unspecified;
        match event {
            Event::Opened { choice, calls } => {
                let content = (!calls).then(String::new);
                let delta = pb::Delta { role: pb::Role::Assistant.into(), content, ..pb::Delta::default() };
                items.push(self.choice(choice, delta, unspecified));
            }
            Event::Delta { choice, run, .. } => {
                let deltas = self.deltas(choice, &run);
                items.reserve(deltas.len());
                for delta in deltas {
                    items.push(self.choice(choice, delta, unspecified));
                }
            }
            Event::Finished { choice, reason } => {
                items.push(self.choice(choice, pb::Delta::default(), finish_reason(reason)));
            }
            Event::Usage(spent) if self.include_usage => items.push(self.item(vec![], Some(usage(spent)))),
            Event::Started | Event::Usage(_) => {}
        }
    }

    /// The end of the stream is its status.
    fn end(&mut self, _: &mut Self::Output) {}

    fn failure(&mut self, error: ApiError, items: &mut Self::Output) {
        items.fail(error.into());
    }
}

fn finish_reason(reason: FinishReason) -> pb::FinishReason {
    match reason {
        FinishReason::Stop { .. } => pb::FinishReason::Stop,
        FinishReason::Length { .. } => pb::FinishReason::Length,
        FinishReason::ToolCalls => pb::FinishReason::ToolCalls,
        FinishReason::ContentFilter => pb::FinishReason::ContentFilter,
    }
}

fn usage(usage: Usage) -> pb::Usage {
    pb::Usage {
        prompt_tokens: int32(usage.prompt_tokens),
        completion_tokens: int32(usage.completion_tokens),
        total_tokens: int32(usage.total_tokens()),
        prompt_tokens_details: Some(pb::PromptTokensDetails::default()),
        completion_tokens_details: Some(pb::CompletionTokensDetails {
            reasoning_tokens: int32(usage.reasoning_tokens),
            ..pb::CompletionTokensDetails::default()
        }),
    }
}

/// Counts and indexes are int32 on the wire; none of ours comes near its end.
fn int32(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}
