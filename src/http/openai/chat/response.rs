//! A chat completion, onto the wire: one object, or a stream of chunks.

use serde::Serialize;

use crate::api::chat::ChatHead;
use crate::engine::{
    CallKind, CallStart, Choice, Completion, Delta, Event, FinishReason, Run, ToolCall, Usage,
};
use crate::error::ApiError;
use crate::http::error::ErrorBody;
use crate::http::sse::{MAX_WRITE, write_json, write_value};
use crate::service::Render;

/// What every object of one answer begins with, in the API's order.
#[derive(Serialize)]
struct Envelope {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    service_tier: String,
    system_fingerprint: &'static str,
}

impl Envelope {
    fn new(head: ChatHead, object: &'static str) -> Self {
        let ChatHead { id, created, model, service_tier, system_fingerprint } = head;
        Self { id, object, created, model, service_tier, system_fingerprint }
    }
}

/// The API's chat completion object.
#[derive(Serialize)]
pub(super) struct ChatCompletion {
    #[serde(flatten)]
    envelope: Envelope,
    choices: Vec<ChoiceObject>,
    usage: UsageObject,
}

#[derive(Serialize)]
struct ChoiceObject {
    index: usize,
    message: MessageObject,
    logprobs: (),
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct MessageObject {
    role: &'static str,
    content: Option<String>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallObject<String>>,
}

/// A tool call, or in a chunk how one begins.
#[derive(Serialize)]
struct CallObject<S> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u16>,
    id: S,
    r#type: &'static str,
    #[serde(flatten)]
    called: Called<S>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Called<S> {
    Function { name: S, arguments: S },
    Custom { name: S, input: S },
}

impl<S> CallObject<S> {
    fn new(index: Option<u16>, kind: CallKind, [id, name, input]: [S; 3]) -> Self {
        let called = match kind {
            CallKind::Function => Called::Function { name, arguments: input },
            CallKind::Custom => Called::Custom { name, input },
        };
        Self { index, id, r#type: kind.as_str(), called }
    }
}

impl ChatCompletion {
    /// The object for a whole answer.
    pub(super) fn new(head: ChatHead, completion: Completion) -> Self {
        Self {
            envelope: Envelope::new(head, "chat.completion"),
            choices: completion.choices.into_iter().enumerate().map(ChoiceObject::new).collect(),
            usage: completion.usage.into(),
        }
    }
}

impl ChoiceObject {
    fn new((index, choice): (usize, Choice)) -> Self {
        let finish_reason = spelled(choice.finish_reason);
        let (content, refusal, calls) = choice.content();
        let call = |ToolCall { id, kind, name, arguments }| {
            CallObject::new(None, kind, [id.unwrap_or_default(), name, arguments])
        };
        let tool_calls = calls.into_iter().map(call).collect();
        let message = MessageObject { role: "assistant", content, refusal, tool_calls };
        Self { index, message, logprobs: (), finish_reason }
    }
}

/// A finish reason as the API spells it.
fn spelled(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop { .. } => "stop",
        FinishReason::Length { .. } => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}

/// The API's usage object.
#[derive(Default, Serialize)]
struct UsageObject {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptTokensDetails,
    completion_tokens_details: CompletionTokensDetails,
}

#[derive(Default, Serialize)]
struct PromptTokensDetails {
    cached_tokens: u32,
    audio_tokens: u32,
}

#[derive(Default, Serialize)]
struct CompletionTokensDetails {
    reasoning_tokens: u32,
    audio_tokens: u32,
    accepted_prediction_tokens: u32,
    rejected_prediction_tokens: u32,
}

impl From<Usage> for UsageObject {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.total_tokens(),
            completion_tokens_details: CompletionTokensDetails {
                reasoning_tokens: usage.reasoning_tokens,
                ..CompletionTokensDetails::default()
            },
            ..Self::default()
        }
    }
}

/// Writes events as chunks.
///
/// All chunks of a stream begin and end alike, so both ends are written once and then copied: a token costs a
/// few copies and the escaping of its text.
pub(super) struct ChunkRenderer {
    /// From `data: {` up to the opening bracket of `choices`.
    opening: Vec<u8>,
    /// From the closing bracket of `choices` to the empty line.
    closing: &'static [u8],
    include_usage: bool,
    /// The kind of each choice's last call, which its arguments follow.
    calls: Vec<CallKind>,
}

impl ChunkRenderer {
    /// A renderer for the chunks of one answer.
    pub(super) fn new(head: ChatHead, include_usage: bool) -> Self {
        let mut opening = Vec::with_capacity(256);
        write_json(&mut opening, &Envelope::new(head, "chat.completion.chunk"));
        opening.truncate(opening.len() - b"}\n\n".len());
        opening.extend_from_slice(b",\"choices\":[");
        let closing: &[u8] = if include_usage { b"],\"usage\":null}\n\n" } else { b"]}\n\n" };
        Self { opening, closing, include_usage, calls: Vec::new() }
    }

    /// A chunk of one choice, whose delta `write_delta` writes as an object.
    fn chunk(
        &self,
        frames: &mut Vec<u8>,
        choice: usize,
        finish_reason: Option<FinishReason>,
        write_delta: impl FnOnce(&mut Vec<u8>),
    ) {
        frames.extend_from_slice(&self.opening);
        frames.extend_from_slice(b"{\"index\":");
        write_value(frames, &choice);
        frames.extend_from_slice(b",\"delta\":");
        write_delta(frames);
        frames.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":");
        match finish_reason {
            None => frames.extend_from_slice(b"null"),
            Some(reason) => write_value(frames, spelled(reason)),
        }
        frames.push(b'}');
        frames.extend_from_slice(self.closing);
    }

    /// A chunk for each of the tokens.
    fn delta_chunks(&mut self, frames: &mut Vec<u8>, choice: usize, run: &Run) {
        match &run.delta {
            Delta::Text(_) => run.texts().for_each(|text| {
                self.chunk(frames, choice, None, |frames| {
                    write_field(frames, b"{\"content\":", text, b"}");
                });
            }),
            Delta::Refusal(_) => run.texts().for_each(|text| {
                self.chunk(frames, choice, None, |frames| {
                    write_field(frames, b"{\"refusal\":", text, b"}");
                });
            }),
            // Counted in the usage; the API shows none of it in a chat.
            Delta::Reasoning(_) => {}
            Delta::Call(start) => {
                let CallStart { call, kind, id, name } = &**start;
                self.calls.resize(self.calls.len().max(choice + 1), *kind);
                self.calls[choice] = *kind;
                let call = CallObject::new(Some(*call), *kind, [&**id, &**name, ""]);
                self.chunk(frames, choice, None, |frames| {
                    write_field(frames, b"{\"tool_calls\":[", &call, b"]}");
                });
            }
            Delta::Arguments { call, .. } => {
                let field: &[u8] = match self.calls.get(choice) {
                    Some(CallKind::Custom) => b",\"custom\":{\"input\":",
                    Some(CallKind::Function) | None => b",\"function\":{\"arguments\":",
                };
                for text in run.texts() {
                    self.chunk(frames, choice, None, |frames| {
                        write_field(frames, b"{\"tool_calls\":[{\"index\":", call, field);
                        write_field(frames, b"", text, b"}}]}");
                    });
                }
            }
        }
    }

    fn usage_chunk(&self, frames: &mut Vec<u8>, usage: Usage) {
        frames.extend_from_slice(&self.opening);
        write_field(frames, b"],\"usage\":", &UsageObject::from(usage), b"}\n\n");
    }
}

impl Render for ChunkRenderer {
    type Output = Vec<u8>;

    fn output(&self) -> Vec<u8> {
        // Room for a chunk with a short token.
        Vec::with_capacity(self.opening.len() + 128)
    }

    fn event(&mut self, event: Event, frames: &mut Vec<u8>) {
        if !frames.is_empty() && frames.len() < MAX_WRITE {
            // Events that are ready together: many more may follow.
            frames.reserve(MAX_WRITE - frames.len());
        }
        match event {
            Event::Opened { choice, calls } => self.chunk(frames, choice, None, |delta| {
                delta.extend_from_slice(if calls {
                    br#"{"role":"assistant","content":null}"#
                } else {
                    br#"{"role":"assistant","content":"","refusal":null}"#
                });
            }),
            Event::Delta { choice, run, .. } => self.delta_chunks(frames, choice, &run),
            Event::Finished { choice, reason } => {
                self.chunk(frames, choice, Some(reason), |delta| delta.extend_from_slice(b"{}"));
            }
            Event::Usage(usage) if self.include_usage => self.usage_chunk(frames, usage),
            Event::Started | Event::Usage(_) => {}
        }
    }

    fn end(&mut self, frames: &mut Vec<u8>) {
        frames.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn failure(&mut self, error: ApiError, frames: &mut Vec<u8>) {
        write_json(frames, &ErrorBody::from(&error));
    }
}

#[inline]
fn write_field(frames: &mut Vec<u8>, before: &[u8], value: &(impl Serialize + ?Sized), behind: &[u8]) {
    frames.extend_from_slice(before);
    write_value(frames, value);
    frames.extend_from_slice(behind);
}
