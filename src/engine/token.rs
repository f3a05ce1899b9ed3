//! Tokens and what they add to a reply.

use bytestring::ByteString;

use super::{CallKind, tokens};

/// One token of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// What it adds.
    pub delta: Delta,
}

impl Token {
    /// A token that adds `delta`.
    pub fn new(delta: impl Into<Delta>) -> Self {
        Self { delta: delta.into() }
    }

    /// Whether it adds an empty text.
    pub(super) fn is_empty(&self) -> bool {
        !matches!(self.delta, Delta::Call(_)) && self.delta.text().is_empty()
    }
}

/// Tokens of one kind that follow each other, as one.
///
/// Tokens that are due together need not be handled one by one: who writes them splits them again, and who adds them up
/// never does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// What they add together.
    pub delta: Delta,
    /// How many they are.
    pub tokens: u32,
}

impl Run {
    /// A single token.
    pub(super) fn one(token: Token) -> Self {
        Self { delta: token.delta, tokens: 1 }
    }

    /// The text of each token.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        // An engine may join words in a token of its own, which stays one.
        let (one, many) =
            if self.tokens == 1 { (Some(self.delta.text()), "") } else { (None, self.delta.text()) };
        one.into_iter().chain(tokens::split(many))
    }
}

/// What one token adds to a reply. Empty texts are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delta {
    /// Text of the reply.
    Text(ByteString),
    /// Reasoning before the text.
    Reasoning(ByteString),
    /// A refusal, instead of text.
    Refusal(ByteString),
    /// The start of a tool call. Boxed: it is rare, and would make every token larger.
    Call(Box<CallStart>),
    /// Arguments or input of a tool call.
    Arguments {
        /// The call's index in the reply, from 0.
        call: u16,
        /// More of its arguments.
        text: ByteString,
    },
}

/// The start of a tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallStart {
    /// The call's index in the reply, from 0.
    pub call: u16,
    /// The kind of tool.
    pub kind: CallKind,
    /// The call's id.
    pub id: ByteString,
    /// The tool's name.
    pub name: ByteString,
}

impl From<CallStart> for Delta {
    fn from(start: CallStart) -> Self {
        Self::Call(Box::new(start))
    }
}

impl Delta {
    /// The text that it adds; for a tool call, the tool's name.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Reasoning(text) | Self::Refusal(text) | Self::Arguments { text, .. } => {
                text
            }
            Self::Call(start) => &start.name,
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
    /// A refusal, instead of text.
    Refusal(ByteString),
    /// A tool call.
    ToolCall {
        /// The kind of tool.
        kind: CallKind,
        /// The call's id.
        id: ByteString,
        /// The tool's name.
        name: ByteString,
        /// A function's arguments, as JSON; a custom tool's input.
        arguments: ByteString,
    },
}
