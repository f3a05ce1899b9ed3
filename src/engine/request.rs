//! The request that an engine receives: checked, and independent of the protocol.

use bytestring::ByteString;

use super::stop::StopSequences;
use super::tokens;

/// A checked request, as an [`Engine`](super::Engine) receives it.
#[derive(Clone, Debug, Default)]
pub struct GenerationRequest {
    /// The requested model.
    pub model: String,
    /// What to answer.
    pub prompt: Prompt,
    /// Choices per prompt, at least 1.
    pub n: usize,
    /// The most tokens a choice may have.
    pub max_tokens: Option<usize>,
    /// The fewest tokens a choice must have (vLLM's field).
    pub min_tokens: usize,
    /// Whether a choice continues until a limit cuts it (vLLM's field).
    pub ignore_eos: bool,
    /// Sequences that end a choice where they would appear; none of them is empty.
    pub stop: Vec<String>,
    /// The tools that the model may call.
    pub tools: Vec<Tool>,
    /// Which of them it must call; `None` if the model may choose.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once.
    pub parallel_tool_calls: Option<bool>,
    /// The format of the reply; `None` for any.
    pub response_format: Option<ResponseFormat>,
    /// Sampling temperature, 0 to 2.
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1.
    pub top_p: Option<f64>,
    /// Penalty for tokens that have appeared, -2 to 2.
    pub presence_penalty: Option<f64>,
    /// Penalty for tokens that appear often, -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// The seed, for the same answer to the same request.
    pub seed: Option<i64>,
}

impl GenerationRequest {
    /// The number of requested replies: prompts times `n`.
    pub fn choices(&self) -> usize {
        self.prompt.count() * self.n
    }

    /// Tokens of all texts; for a conversation, plus three per message and three for the start of the reply.
    pub fn prompt_tokens(&self) -> u32 {
        let tokens = match &self.prompt {
            Prompt::Chat(messages) => {
                let texts = messages.iter().flat_map(Message::texts).map(tokens::count).sum::<usize>();
                texts + 3 * messages.len() + 3
            }
            Prompt::Text(texts) => texts.iter().map(|text| tokens::count(text)).sum(),
            Prompt::Ids(prompts) => prompts.iter().map(Vec::len).sum(),
        };
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }

    /// Bytes in memory beside its texts: messages, parts, calls and the automata of stop sequences. They may be several
    /// times the size of the request on the wire.
    pub fn overhead(&self) -> usize {
        let stops = self.stop.iter().map(String::len).sum::<usize>() * StopSequences::BYTES_KEPT;
        let messages = match &self.prompt {
            Prompt::Chat(messages) => messages.iter().map(Message::overhead).sum(),
            Prompt::Text(texts) => texts.len() * size_of::<ByteString>(),
            Prompt::Ids(prompts) => prompts.len() * size_of::<Vec<u32>>(),
        };
        stops + messages + self.tools.len() * size_of::<Tool>()
    }
}

/// What to answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Prompt {
    /// One conversation, oldest message first.
    Chat(Vec<Message>),
    /// Texts to continue, each with `n` choices.
    Text(Vec<ByteString>),
    /// Texts to continue, as token ids.
    Ids(Vec<Vec<u32>>),
}

impl Default for Prompt {
    fn default() -> Self {
        Self::Chat(Vec::new())
    }
}

impl Prompt {
    /// The number of prompts; a conversation is one.
    pub fn count(&self) -> usize {
        match self {
            Self::Chat(_) => 1,
            Self::Text(texts) => texts.len(),
            Self::Ids(prompts) => prompts.len(),
        }
    }

    /// The messages of a conversation; empty for other prompts.
    pub fn messages(&self) -> &[Message] {
        match self {
            Self::Chat(messages) => messages,
            Self::Text(_) | Self::Ids(_) => &[],
        }
    }
}

/// One message of a conversation.
#[derive(Clone, Debug)]
pub struct Message {
    /// The author's role.
    pub role: Role,
    /// The content; `None` if an assistant only calls tools.
    pub content: Option<Content>,
    /// An assistant's refusal, separate from the content.
    pub refusal: Option<String>,
    /// The author's name.
    pub name: Option<String>,
    /// The id of the call that a tool message answers.
    pub tool_call_id: Option<String>,
    /// The tool calls of an assistant message.
    pub tool_calls: Vec<ToolCall>,
    /// The id of an assistant's earlier audio answer.
    pub audio: Option<String>,
}

impl Message {
    /// A message with this content.
    pub fn new(role: Role, content: Option<Content>) -> Self {
        Self {
            role,
            content,
            refusal: None,
            name: None,
            tool_call_id: None,
            tool_calls: Vec::new(),
            audio: None,
        }
    }

    /// The message as one text: parts joined by a newline, parts that are not text as `[image_url]` and the like.
    pub fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => parts.iter().map(Part::as_text).collect::<Vec<_>>().join("\n"),
        }
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let (text, parts) = match &self.content {
            None => (None, [].as_slice()),
            Some(Content::Text(text)) => (Some(text.as_str()), [].as_slice()),
            Some(Content::Parts(parts)) => (None, parts.as_slice()),
        };
        let parts = parts.iter().filter(|part| matches!(part, Part::Text(_) | Part::Refusal(_)));
        text.into_iter().chain(parts.map(Part::as_text)).chain(self.refusal.as_deref())
    }

    fn overhead(&self) -> usize {
        /// A boxed payload and its allocation overhead.
        const PAYLOAD: usize = 96;
        let parts = match &self.content {
            Some(Content::Parts(parts)) => parts.iter().fold(0, |bytes, part| {
                let payload = if matches!(part, Part::Text(_) | Part::Refusal(_)) { 0 } else { PAYLOAD };
                bytes + size_of::<Part>() + payload
            }),
            Some(Content::Text(_)) | None => 0,
        };
        size_of::<Self>() + parts + self.tool_calls.len() * size_of::<ToolCall>()
    }
}

/// The content of a message.
#[derive(Clone, Debug)]
pub enum Content {
    /// One text.
    Text(String),
    /// Texts, images, audio, files.
    Parts(Vec<Part>),
}

/// One part of a message's content.
#[derive(Clone, Debug)]
pub enum Part {
    /// A text.
    Text(String),
    /// An image.
    Image(Box<Image>),
    /// An audio clip.
    Audio(Box<Audio>),
    /// A file.
    File(Box<File>),
    /// An assistant's refusal.
    Refusal(String),
}

/// An image (`image_url` in the API reference).
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Where it is, or the image itself as a data URL. It is never fetched.
    pub url: String,
    /// The level of detail to use.
    pub detail: Option<String>,
}

/// An audio clip (`input_audio`).
#[derive(Clone, Debug, Default)]
pub struct Audio {
    /// The audio, in base64.
    pub data: String,
    /// Its format.
    pub format: String,
}

/// A file (`file`).
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Its name.
    pub filename: Option<String>,
    /// The file, in base64.
    pub file_data: Option<String>,
    /// The id of a file uploaded before.
    pub file_id: Option<String>,
}

impl Part {
    fn as_text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Refusal(text) => text,
            Self::Image(_) => "[image_url]",
            Self::Audio(_) => "[input_audio]",
            Self::File(_) => "[file]",
        }
    }

    /// The API's name for the kind of part.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Refusal(_) => "refusal",
            Self::Image(_) => "image_url",
            Self::Audio(_) => "input_audio",
            Self::File(_) => "file",
        }
    }
}

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions; the newer models' name for `system`.
    Developer,
    /// Instructions.
    System,
    /// The person or program that uses the model.
    User,
    /// The model.
    Assistant,
    /// The result of a tool the model called.
    Tool,
    /// The result of a function the model called; deprecated in the API.
    Function,
}

impl Role {
    /// Every role, in the API's spelling.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("developer", Self::Developer),
        ("system", Self::System),
        ("user", Self::User),
        ("assistant", Self::Assistant),
        ("tool", Self::Tool),
        ("function", Self::Function),
    ];

    /// The kinds of content part the API allows this role.
    pub fn part_kinds(self) -> &'static [&'static str] {
        match self {
            Self::User => &["text", "image_url", "input_audio", "file"],
            Self::Assistant => &["text", "refusal"],
            Self::Developer | Self::System | Self::Tool => &["text"],
            Self::Function => &[],
        }
    }
}

/// The two kinds of tool: one takes arguments that a schema describes, the other free text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// A function; its arguments are JSON.
    Function,
    /// A custom tool; its input is free text.
    Custom,
}

impl CallKind {
    /// Both kinds, in the API's spelling.
    pub const NAMES: [(&'static str, Self); 2] = [("function", Self::Function), ("custom", Self::Custom)];

    /// The API's name for the kind, which is also the name of the field that describes the tool.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Custom => "custom",
        }
    }
}

/// A tool that the model may call.
#[derive(Clone, Debug)]
pub struct Tool {
    /// The kind of tool.
    pub kind: CallKind,
    /// Its name: 1 to 64 letters, digits, `_` or `-`.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// A function's `parameters`, a custom tool's `format`: an object, as JSON.
    pub schema: Option<Box<str>>,
    /// Whether calls must obey the schema.
    pub strict: Option<bool>,
}

/// A tool call by an assistant.
#[derive(Clone, Debug)]
pub struct ToolCall {
    /// The call's id; the deprecated `function_call` has none.
    pub id: Option<String>,
    /// The kind of tool.
    pub kind: CallKind,
    /// The tool's name.
    pub name: String,
    /// A function's arguments, as JSON; a custom tool's input.
    pub arguments: String,
}

/// Which tool the model must call (`tool_choice`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// None.
    None,
    /// None, one or several, as the model chooses.
    Auto,
    /// At least one.
    Required,
    /// This one.
    Named {
        /// Its kind.
        kind: CallKind,
        /// Its name.
        name: String,
    },
    /// One of a subset: the API's `allowed_tools` object, as JSON.
    Allowed(Box<str>),
}

/// The format of the reply (`response_format`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseFormat {
    /// Any text.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that obeys a schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// What the reply is for.
        description: Option<String>,
        /// The schema, as JSON.
        schema: Option<Box<str>>,
        /// Whether the reply must obey it.
        strict: Option<bool>,
    },
}
