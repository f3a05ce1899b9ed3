//! A chat completion, onto the wire: one object, or a stream of chunks.

use serde::Serialize;

use crate::api::chat::ChatHead;
use crate::engine::{
    CallKind, CallStart, Choice, Completion, Delta, Event, FinishReason, Run, ToolCall, Usage,
};
use crate::error::ApiError;
use crate::http::error::ErrorBody;
use crate::http::sse::{MAX_WRITE, write_json, write_text, write_value};
use crate::service::Render;

/// The API's chat completion object. A chunk of a stream begins with the same fields, up to its choices.
#[derive(Serialize)]
pub(super) struct ChatCompletion {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    service_tier: String,
    system_fingerprint: &'static str,
    choices: Vec<ChoiceObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageObject>,
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
            choices: completion.choices.into_iter().enumerate().map(ChoiceObject::new).collect(),
            usage: Some(completion.usage.into()),
            ..Self::empty(head, "chat.completion")
        }
    }

    fn empty(head: ChatHead, object: &'static str) -> Self {
        let ChatHead { id, created, model, service_tier, system_fingerprint } = head;
        let (choices, usage) = (Vec::new(), None);
        Self { id, object, created, model, service_tier, system_fingerprint, choices, usage }
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

/// What follows the delta of a choice that goes on.
const CHOICE_END: &[u8] = b",\"logprobs\":null,\"finish_reason\":null}";

/// What a chunk has around a text without escapes, beside what all chunks have.
const QUOTES_AND_BRACE: usize = 3;

impl ChunkRenderer {
    /// A renderer for the chunks of one answer.
    pub(super) fn new(head: ChatHead, include_usage: bool) -> Self {
        let mut opening = Vec::with_capacity(256);
        write_json(&mut opening, &ChatCompletion::empty(head, "chat.completion.chunk"));
        opening.truncate(opening.len() - b"]}\n\n".len());
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
        match finish_reason {
            None => frames.extend_from_slice(CHOICE_END),
            Some(reason) => {
                write_field(frames, b",\"logprobs\":null,\"finish_reason\":", spelled(reason), b"}");
            }
        }
        frames.extend_from_slice(self.closing);
    }

    /// A chunk for each of the tokens.
    fn delta_chunks(&mut self, frames: &mut Vec<u8>, choice: usize, run: &Run) {
        match &run.delta {
            Delta::Text(_) => self.text_chunks(frames, choice, b"{\"content\":", run),
            Delta::Refusal(_) => self.text_chunks(frames, choice, b"{\"refusal\":", run),
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

    /// A chunk for each of the tokens, in a delta that begins with `before`. What is around their texts is the same for all.
    fn text_chunks(&self, frames: &mut Vec<u8>, choice: usize, before: &[u8], run: &Run) {
        let start = frames.len();
        self.chunk(frames, choice, None, |frames| frames.extend_from_slice(before));
        let text_at = frames.len() - CHOICE_END.len() - self.closing.len();
        let around = frames.split_off(start);
        let (opening, closing) = around.split_at(text_at - start);
        let tokens = usize::try_from(run.tokens).unwrap_or(usize::MAX);
        frames.reserve(tokens * (around.len() + QUOTES_AND_BRACE) + run.delta.text().len());
        for text in run.texts() {
            frames.extend_from_slice(opening);
            write_text(frames, text);
            frames.push(b'}');
            frames.extend_from_slice(closing);
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
            // Events that are ready together: many more may follow, of which the last may go beyond.
            frames.reserve(MAX_WRITE + MAX_WRITE / 4 - frames.len());
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
