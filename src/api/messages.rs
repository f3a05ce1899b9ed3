//! The messages of a conversation: reading them from JSON, and checking them for both protocols.

use std::collections::HashMap;

use super::Read;
use super::check::{self, empty_array};
use super::fields::FromJson;
use super::json::{Node, Object};
use super::tools::{read_called, read_calls};
use crate::engine::{Audio, CallKind, Content, File, Image, Message, Part, Role, ToolCall};
use crate::error::{InvalidRequest, shown};

/// Checks that a message has what its role requires.
///
/// # Errors
/// The first error, with its path.
pub(crate) fn check_message(message: &Message, index: usize, lenient: bool) -> Read<()> {
    let at = |field: &str| format!("messages[{index}].{field}");
    match &message.content {
        None => {
            let may_be_absent = match message.role {
                Role::Assistant => {
                    lenient
                        || !message.tool_calls.is_empty()
                        || message.audio.is_some()
                        || message.refusal.is_some()
                }
                Role::Function => true,
                Role::Developer | Role::System | Role::User | Role::Tool => false,
            };
            if !may_be_absent {
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
    if let Some(name) = message.name.as_deref().filter(|_| !lenient) {
        check_name(name, at("name"))?;
    }
    match message.role {
        Role::Tool if message.tool_call_id.is_none() => Err(InvalidRequest::missing(at("tool_call_id"))),
        Role::Function if message.name.is_none() => Err(InvalidRequest::missing(at("name"))),
        _ => Ok(()),
    }
}

/// Rejects white space and the characters that chat templates use.
fn check_name(name: &str, param: String) -> Read<()> {
    let is_forbidden = |c: char| c.is_whitespace() || matches!(c, '<' | '|' | '\\' | '/' | '>');
    if name.is_empty() || name.contains(is_forbidden) {
        let what =
            "string does not match pattern. Expected a string that matches the pattern '^[^\\s<|\\\\/>]+$'.";
        return Err(InvalidRequest::invalid(param, "invalid_value", what));
    }
    Ok(())
}

/// Checks that every tool message answers a call of the preceding assistant message, and that every call is answered.
///
/// # Errors
/// The first tool message without its call, or the first message that leaves a call unanswered.
pub(crate) fn check_tool_messages(messages: &[Message]) -> Read<()> {
    // The calls of the last assistant message, and whether each is answered: looked up, as both may be thousands.
    let mut calls: HashMap<&str, bool> = HashMap::new();
    let mut caller: &[ToolCall] = &[];
    for (index, message) in messages.iter().enumerate() {
        if message.role == Role::Tool {
            let id = message.tool_call_id.as_deref().unwrap_or_default();
            let Some(is_answered) = calls.get_mut(id) else {
                let sentence = "Invalid parameter: messages with role 'tool' must be a response to a preceeding \
                                message with 'tool_calls'.";
                return Err(out_of_order(index, sentence.to_owned()));
            };
            *is_answered = true;
            continue;
        }
        check_answered(caller, &calls, index)?;
        caller = &message.tool_calls;
        calls = caller.iter().filter_map(|call| Some((call.id.as_deref()?, false))).collect();
    }
    check_answered(caller, &calls, messages.len().saturating_sub(1))
}

fn check_answered(caller: &[ToolCall], calls: &HashMap<&str, bool>, index: usize) -> Read<()> {
    let ids = caller.iter().filter_map(|call| call.id.as_deref());
    let unanswered: Vec<_> = ids.filter(|id| calls.get(id) == Some(&false)).collect();
    if unanswered.is_empty() {
        return Ok(());
    }
    let unanswered = shown(&unanswered.join(", "));
    Err(out_of_order(
        index,
        format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
             'tool_call_id'. The following tool_call_ids did not have response messages: {unanswered}"
        ),
    ))
}

/// An error in the order of messages, which the API reports with this spelling of the path and without a code.
fn out_of_order(index: usize, message: String) -> InvalidRequest {
    InvalidRequest { message, param: Some(format!("messages.[{index}].role")), code: None }
}

fn check_part(part: &Part, role: Role, at: &str) -> Read<()> {
    check::one_of(format!("{at}.type"), Some(part.kind()), role.part_kinds())?;
    match part {
        Part::Image(image) => {
            let details = &["auto", "low", "high", "original"];
            check::one_of(format!("{at}.image_url.detail"), image.detail.as_ref(), details)
        }
        Part::Audio(audio) => {
            check::one_of(format!("{at}.input_audio.format"), Some(&audio.format), &["wav", "mp3"])
        }
        Part::Text(_) | Part::Refusal(_) | Part::File(_) => Ok(()),
    }
}

impl FromJson for Message {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        let message = node.object(&[
            "role",
            "content",
            "name",
            "tool_call_id",
            "tool_calls",
            "function_call",
            "refusal",
            "audio",
            // SDKs copy it from an answer and send it back.
            "annotations",
        ])?;
        let role = message.require("role")?.word(&Role::NAMES)?;
        let mut tool_calls = message.read("tool_calls", |node| read_calls(node))?.unwrap_or_default();
        tool_calls.extend(message.read("function_call", |node| read_called(node, CallKind::Function))?);
        let audio = message.read("audio", |node| String::from_json(&node.object(&["id"])?.require("id")?))?;
        Ok(Self {
            role,
            content: read_message_content(&message, role)?,
            refusal: message.text("refusal")?,
            name: message.text("name")?,
            tool_call_id: message.text("tool_call_id")?,
            tool_calls,
            audio,
        })
    }
}

const ONE_OR_PARTS: &str = "one of a string or array of objects";

/// Only the content of an assistant or function message may be null.
fn read_message_content(message: &Object<'_, '_>, role: Role) -> Read<Option<Content>> {
    let Some(content) = message.get_or_null("content") else { return Ok(None) };
    match (content.is_null(), role) {
        (false, _) => Content::from_json(&content).map(Some),
        (true, Role::Assistant | Role::Function) => Ok(None),
        (true, _) => Err(content.unexpected(ONE_OR_PARTS)),
    }
}

impl FromJson for Content {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        if node.is_string() {
            return Ok(Self::Text(node.string()?.into_owned()));
        }
        if !node.is_array() {
            return Err(node.unexpected(ONE_OR_PARTS));
        }
        Ok(Self::Parts(FromJson::from_json(node)?))
    }
}

fields! {
    struct ImageFields {
        url: String [required];
        detail: Option<String>;
    }
}

fields! {
    struct AudioFields {
        data: String [required];
        format: String [required];
    }
}

fields! {
    struct FileFields {
        filename: Option<String>;
        file_data: Option<String>;
        file_id: Option<String>;
    }
}

impl FromJson for Part {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        let part = node.object(&[
            "type",
            "text",
            "image_url",
            "input_audio",
            "file",
            "refusal",
            "prompt_cache_breakpoint",
        ])?;
        let kinds = ["text", "image_url", "input_audio", "file", "refusal"].map(|kind| (kind, kind));
        let kind = part.require("type")?.word(&kinds)?;
        let value = part.require(kind)?;
        Ok(match kind {
            "text" => Self::Text(FromJson::from_json(&value)?),
            "refusal" => Self::Refusal(FromJson::from_json(&value)?),
            "image_url" => {
                let ImageFields { url, detail } = FromJson::from_json(&value)?;
                Self::Image(Box::new(Image { url, detail }))
            }
            "input_audio" => {
                let AudioFields { data, format } = FromJson::from_json(&value)?;
                Self::Audio(Box::new(Audio { data, format }))
            }
            _ => {
                let FileFields { filename, file_data, file_id } = FromJson::from_json(&value)?;
                Self::File(Box::new(File { filename, file_data, file_id }))
            }
        })
    }
}
