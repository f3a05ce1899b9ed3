//! What every endpoint asks for, checked: a request that nobody has to check again.

use super::stop::StopSequences;
use super::tokens;

/// A checked request: what an [`Engine`](super::Engine) sees.
#[derive(Clone, Debug, Default)]
pub struct GenerationRequest {
    /// The model asked for, as the answer repeats it.
    pub model: String,
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// How many choices, at least 1.
    pub n: usize,
    /// The most tokens a choice may say.
    pub max_tokens: Option<usize>,
    /// The fewest tokens a choice has to say (vLLM's field).
    pub min_tokens: usize,
    /// Whether a choice goes on until a limit cuts it (vLLM's field).
    pub ignore_eos: bool,
    /// What ends a choice where it would appear; none of them empty.
    pub stop: Vec<String>,
    /// The tools a model could call.
    pub tools: Vec<Tool>,
    /// Sampling temperature, 0 to 2.
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1.
    pub top_p: Option<f64>,
    /// -2 to 2.
    pub presence_penalty: Option<f64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// Asks for the same answer to the same request.
    pub seed: Option<i64>,
    /// The tier that serves the request, as the answer tells it.
    pub service_tier: String,
    /// Whether a streamed answer closes with its usage.
    pub include_usage: bool,
}

impl GenerationRequest {
    /// What looking for its stop sequences keeps in memory, in bytes.
    pub fn memory_of_stops(&self) -> usize {
        self.stop.iter().map(String::len).sum::<usize>() * StopSequences::BYTES_KEPT
    }

    /// Tokens of all texts, three more a message and three for the reply's opening.
    pub fn prompt_tokens(&self) -> u32 {
        let texts = self.messages.iter().flat_map(Message::texts).map(tokens::count).sum::<usize>();
        u32::try_from(texts + 3 * self.messages.len() + 3).unwrap_or(u32::MAX)
    }
}

/// One message of a conversation.
#[derive(Clone, Debug)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; `None` where an assistant only calls tools.
    pub content: Option<Content>,
    /// An assistant's refusal, a text of its own.
    pub refusal: Option<String>,
    /// Who speaks, by name.
    pub name: Option<String>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<String>,
    /// Whether an assistant's message calls tools, a function or refers to audio, and may have no content.
    pub has_calls: bool,
}

impl Message {
    /// A message that says `content`.
    pub fn new(role: Role, content: Option<Content>) -> Self {
        Self { role, content, refusal: None, name: None, tool_call_id: None, has_calls: false }
    }

    /// The message as one text: parts joined by a newline, what is no text as `[image_url]` and the like.
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
}

/// What a message says.
#[derive(Clone, Debug)]
pub enum Content {
    /// One text.
    Text(String),
    /// Texts, images, audio, files.
    Parts(Vec<Part>),
}

/// One part of a message's content. Of media only the kind is kept.
#[derive(Clone, Debug)]
pub enum Part {
    /// A text.
    Text(String),
    /// An image.
    ImageUrl {
        /// How closely to look.
        detail: Option<String>,
    },
    /// A sound.
    InputAudio {
        /// Its format.
        format: String,
    },
    /// A file.
    File,
    /// An assistant's refusal.
    Refusal(String),
}

impl Part {
    fn as_text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Refusal(text) => text,
            Self::ImageUrl { .. } => "[image_url]",
            Self::InputAudio { .. } => "[input_audio]",
            Self::File => "[file]",
        }
    }

    /// The API's name for the kind of part.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Refusal(_) => "refusal",
            Self::ImageUrl { .. } => "image_url",
            Self::InputAudio { .. } => "input_audio",
            Self::File => "file",
        }
    }
}

/// Who a message is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions, in the newer models' word.
    Developer,
    /// Instructions.
    System,
    /// The person, or the program, that talks to the model.
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
    pub(super) fn part_kinds(self) -> &'static [&'static str] {
        match self {
            Self::User => &["text", "image_url", "input_audio", "file"],
            Self::Assistant => &["text", "refusal"],
            Self::Developer | Self::System | Self::Tool => &["text"],
            Self::Function => &[],
        }
    }
}

/// A tool that a model could call.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name: 1 to 64 letters, digits, `_` or `-`.
    pub name: String,
    /// The wire's word for its kind, `function` or `custom`; also where its name stands.
    pub kind: &'static str,
}
