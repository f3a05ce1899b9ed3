//! Tokens and what they add to a reply.

use bytestring::ByteString;

use super::CallKind;

/// One token of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// What it adds.
    pub delta: Delta,
}

impl Token {
    /// A token that adds this.
    pub fn new(delta: impl Into<Delta>) -> Self {
        Self { delta: delta.into() }
    }
}

/// What one token adds to a reply. Texts are never empty where they leave the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delta {
    /// To its text.
    Text(ByteString),
    /// To the reasoning before its text.
    Reasoning(ByteString),
    /// To a refusal, which stands in the text's place.
    Refusal(ByteString),
    /// A tool call begins.
    Call {
        /// The call's index in the reply, from 0.
        call: u16,
        /// What is called.
        kind: CallKind,
        /// The call's id.
        id: ByteString,
        /// The tool's name.
        name: ByteString,
    },
    /// To the arguments or the input of a call.
    Arguments {
        /// The call's index in the reply, from 0.
        call: u16,
        /// More of its arguments.
        text: ByteString,
    },
}

impl Delta {
    /// The text that it adds, whatever to.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Reasoning(text) | Self::Refusal(text) | Self::Arguments { text, .. } => {
                text
            }
            Self::Call { name, .. } => name,
        }
    }
}

impl From<ByteString> for Delta {
    fn from(text: ByteString) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Delta {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Delta {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

/// A part of a reply that is known whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Segment {
    /// Text.
    Text(ByteString),
    /// Reasoning before the text.
    Reasoning(ByteString),
    /// A refusal, in the text's place.
    Refusal(ByteString),
    /// A tool call.
    ToolCall {
        /// What is called.
        kind: CallKind,
        /// The call's id.
        id: ByteString,
        /// The tool's name.
        name: ByteString,
        /// A function's arguments, as JSON; a custom tool's input.
        arguments: ByteString,
    },
}
