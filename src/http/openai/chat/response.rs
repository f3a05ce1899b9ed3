//! A chat completion, onto the wire: one object, or a stream of chunks.

use serde::Serialize;

use crate::api::chat::ChatHead;
use crate::engine::{Completion, Event, FinishReason, Usage};
use crate::http::sse::{Render, write_json};

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
pub struct ChatCompletion {
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
    content: String,
    refusal: (),
}

impl ChatCompletion {
    /// The object for a whole answer.
    pub fn new(head: ChatHead, completion: Completion) -> Self {
        let choice = |(index, choice): (usize, crate::engine::Choice)| ChoiceObject {
            index,
            message: MessageObject { role: "assistant", content: choice.text, refusal: () },
            logprobs: (),
            finish_reason: choice.finish_reason.as_str(),
        };
        Self {
            envelope: Envelope::new(head, "chat.completion"),
            choices: completion.choices.into_iter().enumerate().map(choice).collect(),
            usage: completion.usage.into(),
        }
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
            ..Self::default()
        }
    }
}

/// Writes events as chunks.
///
/// All chunks of a stream begin and end alike, so both ends are written once and then copied: a token costs a
/// few copies and the escaping of its text.
pub struct ChunkRenderer {
    /// From `data: {` up to the opening bracket of `choices`.
    opening: Vec<u8>,
    /// From the closing bracket of `choices` to the empty line.
    closing: &'static [u8],
    include_usage: bool,
}

impl ChunkRenderer {
    /// A renderer for the chunks of one answer.
    pub fn new(head: ChatHead, include_usage: bool) -> Self {
        let mut opening = Vec::with_capacity(256);
        write_json(&mut opening, &Envelope::new(head, "chat.completion.chunk"));
        opening.truncate(opening.len() - b"}\n\n".len());
        opening.extend_from_slice(b",\"choices\":[");
        let closing: &[u8] = if include_usage { b"],\"usage\":null}\n\n" } else { b"]}\n\n" };
        Self { opening, closing, include_usage }
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
            Some(reason) => write_value(frames, reason.as_str()),
        }
        frames.push(b'}');
        frames.extend_from_slice(self.closing);
    }

    fn usage_chunk(&self, frames: &mut Vec<u8>, usage: Usage) {
        frames.extend_from_slice(&self.opening);
        frames.extend_from_slice(b"],\"usage\":");
        write_value(frames, &UsageObject::from(usage));
        frames.extend_from_slice(b"}\n\n");
    }
}

impl Render<Event> for ChunkRenderer {
    fn render(&mut self, event: Event, frames: &mut Vec<u8>) {
        match event {
            Event::Opened { choice } => self.chunk(frames, choice, None, |delta| {
                delta.extend_from_slice(b"{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}");
            }),
            Event::Delta { choice, text, .. } => self.chunk(frames, choice, None, |delta| {
                delta.extend_from_slice(b"{\"content\":");
                write_value(delta, &*text);
                delta.push(b'}');
            }),
            Event::Finished { choice, reason, .. } => {
                self.chunk(frames, choice, Some(reason), |delta| delta.extend_from_slice(b"{}"));
            }
            Event::Usage(usage) if self.include_usage => self.usage_chunk(frames, usage),
            Event::Started | Event::Usage(_) => {}
        }
    }
}

fn write_value(frames: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(frames, value)
        .expect("strings, numbers and our own types are JSON, and a Vec takes all bytes");
}
