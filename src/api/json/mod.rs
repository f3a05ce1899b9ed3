//! JSON values that are read on demand and track their path: every error names the value's path, such as
//! `messages[2].content[0].type`, and carries the API's code.
//!
//! A body is never parsed into a tree. A [`Node`] borrows the text of one value; its fields and items borrow from it
//! in turn. Only known fields are kept, so memory use does not depend on unknown ones.
//!
//! Why not a library: serde with path tracking cannot produce the API's codes, validator crates do not track paths in
//! a body, and trees use memory for fields that are never read.

mod visit;

use std::borrow::Cow;
use std::fmt;

use memchr::memchr2;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::value::RawValue;

use visit::{Entries, EntriesVisitor, Fields, Items, ItemsVisitor, KnownFields, Text};

use super::Validation;
use super::check::{at_most, unsupported_value};
use crate::error::{InvalidRequest, shown};

/// The deepest nesting accepted, including in values that are never read.
const MAX_DEPTH: usize = 128;

/// The error for a body that is not JSON.
pub(crate) fn malformed(why: impl fmt::Display) -> InvalidRequest {
    let message = format!("We could not parse the JSON body of your request: {why}");
    InvalidRequest { message, param: None, code: None }
}

/// The path of a value.
#[derive(Clone, Copy)]
enum Path<'p> {
    /// The outermost value: a body (with an empty name), or a message field that carries JSON in a string.
    Root(&'p str),
    Field(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) | Self::Field(Path::Root(""), name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl Path<'_> {
    /// The error for text that is not JSON.
    fn malformed(&self, why: impl fmt::Display) -> InvalidRequest {
        match self {
            Self::Root("") => malformed(why),
            Self::Root(name) => {
                InvalidRequest::invalid(*name, "invalid_value", format_args!("it is not JSON: {why}."))
            }
            Self::Field(parent, _) | Self::Item(parent, _) => parent.malformed(why),
        }
    }
}

/// One JSON value and its path. `'a` is the lifetime of the body's text, `'p` that of the node around it.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a, 'p> {
    text: &'a str,
    path: Path<'p>,
    /// How strictly the request is checked.
    validation: Validation,
}

impl<'a, 'p> Node<'a, 'p> {
    /// The value of a whole body.
    ///
    /// # Errors
    /// Nesting beyond 128 levels.
    pub(crate) fn body(text: &'a str, validation: Validation) -> Result<Self, InvalidRequest> {
        Self::root(text, "", validation)
    }

    /// The value in the string field `name` of a message.
    ///
    /// # Errors
    /// Text that is not JSON, or nesting beyond 128 levels.
    pub(crate) fn embedded(
        text: &'a str,
        name: &'p str,
        validation: Validation,
    ) -> Result<Self, InvalidRequest> {
        let node = Self::root(text, name, validation)?;
        serde_json::from_str::<IgnoredAny>(node.text).map_err(|error| node.path.malformed(error))?;
        Ok(node)
    }

    fn root(text: &'a str, name: &'p str, validation: Validation) -> Result<Self, InvalidRequest> {
        // A message field counts as deep as the same field in a body: one level per name and index in its path.
        let above = name.split_terminator(['.', '[']).count();
        if !is_depth_bounded(text, MAX_DEPTH - above) {
            return Err(malformed(format_args!("it is nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Self { text: text.trim_matches([' ', '\t', '\n', '\r']), path: Path::Root(name), validation })
    }

    /// Whether to accept what the API's schema allows, even where the API itself rejects it.
    pub(crate) fn is_lenient(&self) -> bool {
        self.validation == Validation::Lenient
    }

    /// Its JSON text, as received.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// Its path, as written in errors.
    pub(crate) fn param(&self) -> String {
        shown(&self.path.to_string())
    }

    /// Whether it is `null`.
    pub(crate) fn is_null(&self) -> bool {
        self.text == "null"
    }

    /// The known fields of an object.
    ///
    /// # Errors
    /// A value that is not an object, a duplicate known field, or (if strict) an unknown field.
    pub(crate) fn object(&self, known: &'static [&'static str]) -> Result<Object<'a, '_>, InvalidRequest> {
        self.expect(Kind::Object, "an object")?;
        let mut deserializer = serde_json::Deserializer::from_str(self.text);
        let fields = deserializer.deserialize_map(KnownFields { known });
        let fields = fields.map_err(|error| self.path.malformed(error))?;
        deserializer.end().map_err(|error| self.path.malformed(error))?;
        let within = |name: &str| shown(&Path::Field(&self.path, name).to_string());
        if let Some(name) = fields.duplicate {
            let param = within(name);
            return Err(InvalidRequest::value(param.as_str(), format!("Duplicate parameter: '{param}'.")));
        }
        if let (Validation::Strict, Some(name)) = (self.validation, &fields.unknown) {
            let param = within(name);
            let message = format!("Unknown parameter: '{param}'.");
            return Err(InvalidRequest { message, param: Some(param), code: Some("unknown_parameter") });
        }
        let Fields { values, unknown, .. } = fields;
        Ok(Object { values, unknown, path: &self.path, validation: self.validation })
    }

    /// All fields of an object with caller-defined names, at most `most`.
    ///
    /// # Errors
    /// A value that is not an object, or an object with more fields.
    pub(crate) fn entries(&self, most: usize) -> Result<Vec<(String, RawNode<'a>)>, InvalidRequest> {
        self.expect(Kind::Object, "an object")?;
        let Entries { kept, count } = serde_json::Deserializer::from_str(self.text)
            .deserialize_map(EntriesVisitor { most })
            .map_err(|error| self.path.malformed(error))?;
        if count > most {
            let what = format!(
                "too many properties. Expected an object with at most {most} properties, but got an object with \
                 {count} properties instead."
            );
            return Err(InvalidRequest::invalid(self.param(), "object_above_max_properties", what));
        }
        Ok(kept.into_iter().map(|(name, raw)| (name, RawNode { text: raw.get() })).collect())
    }

    /// The items of an array, at most `most`.
    ///
    /// # Errors
    /// A value that is not an array, or a longer array.
    pub(crate) fn array(&self, most: usize) -> Result<Vec<Node<'a, '_>>, InvalidRequest> {
        self.expect(Kind::Array, "an array")?;
        let Items { kept, count } = serde_json::Deserializer::from_str(self.text)
            .deserialize_seq(ItemsVisitor { most })
            .map_err(|error| self.path.malformed(error))?;
        at_most(self.param(), count, most)?;
        let node = |(index, raw): (usize, &'a RawValue)| Node {
            text: raw.get(),
            path: Path::Item(&self.path, index),
            validation: self.validation,
        };
        Ok(kept.into_iter().enumerate().map(node).collect())
    }

    /// A string.
    ///
    /// # Errors
    /// A value of another type, or a string with a lone surrogate, which is not valid text.
    pub(crate) fn string(&self) -> Result<Cow<'a, str>, InvalidRequest> {
        self.expect(Kind::String, "a string")?;
        let Text(text) = serde_json::from_str(self.text).map_err(|_| {
            InvalidRequest::invalid(self.param(), "invalid_value", "string with a lone surrogate.")
        })?;
        Ok(text)
    }

    /// A whole number.
    ///
    /// # Errors
    /// A value of another type, or a number that does not fit into 64 bits.
    pub(crate) fn integer(&self) -> Result<i64, InvalidRequest> {
        self.expect(Kind::Number, "an integer")?;
        if self.text.contains(['.', 'e', 'E']) {
            return Err(self.wrong_type("an integer", "a decimal number"));
        }
        self.text.parse().map_err(|_| {
            let (code, side, bound) = if self.text.starts_with('-') {
                ("integer_below_min_value", "below minimum value. Expected a value >=", i64::MIN)
            } else {
                ("integer_above_max_value", "above maximum value. Expected a value <=", i64::MAX)
            };
            let got = shown(self.text);
            InvalidRequest::invalid(
                self.param(),
                code,
                format!("integer {side} {bound}, but got {got} instead."),
            )
        })
    }

    /// A number.
    ///
    /// # Errors
    /// A value of another type.
    pub(crate) fn decimal(&self) -> Result<f64, InvalidRequest> {
        self.expect(Kind::Number, "a decimal")?;
        // A number too large for a double becomes infinite, which is outside every range.
        self.text.parse().map_err(|error| self.path.malformed(error))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// A value of another type.
    pub(crate) fn boolean(&self) -> Result<bool, InvalidRequest> {
        self.expect(Kind::Boolean, "a boolean")?;
        Ok(self.text == "true")
    }

    /// One of the given words.
    ///
    /// # Errors
    /// A value of another type, or any other word.
    pub(crate) fn word<T: Clone>(&self, words: &[(&str, T)]) -> Result<T, InvalidRequest> {
        let word = self.string()?;
        words.iter().find(|(known, _)| *known == word).map(|(_, value)| value.clone()).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(known, _)| *known).collect();
            unsupported_value(self.param(), &word, &words)
        })
    }

    /// Whether it is a string; for fields that accept several types.
    pub(crate) fn is_string(&self) -> bool {
        Kind::of(self.text) == Some(Kind::String)
    }

    /// Rejects a value that is not an object.
    ///
    /// # Errors
    /// `invalid_type`.
    pub(crate) fn expect_object(&self) -> Result<(), InvalidRequest> {
        self.expect(Kind::Object, "an object")
    }

    /// Whether it is an array.
    pub(crate) fn is_array(&self) -> bool {
        Kind::of(self.text) == Some(Kind::Array)
    }

    /// The error for a value whose type is not the `expected` one.
    pub(crate) fn unexpected(&self, expected: &str) -> InvalidRequest {
        match Kind::of(self.text) {
            Some(kind) => self.wrong_type(expected, kind.with_article()),
            None => self.path.malformed("it does not begin like any JSON value"),
        }
    }

    fn expect(&self, kind: Kind, expected: &str) -> Result<(), InvalidRequest> {
        if Kind::of(self.text) == Some(kind) {
            return Ok(());
        }
        // Only a body has not been parsed yet, so it may be invalid JSON.
        if let Path::Root(_) = self.path {
            serde_json::from_str::<IgnoredAny>(self.text).map_err(|error| self.path.malformed(error))?;
        }
        Err(self.unexpected(expected))
    }

    fn wrong_type(&self, expected: &str, got: &str) -> InvalidRequest {
        let param = self.param();
        let path = if param.is_empty() { "the request body".to_owned() } else { format!("'{param}'") };
        InvalidRequest {
            message: format!("Invalid type for {path}: expected {expected}, but got {got} instead."),
            param: (!param.is_empty()).then_some(param),
            code: Some("invalid_type"),
        }
    }
}

/// The value of a field with a caller-defined name; [`RawNode::at`] adds its path.
#[derive(Clone, Copy)]
pub(crate) struct RawNode<'a> {
    text: &'a str,
}

impl<'a> RawNode<'a> {
    /// This value as field `name` of `parent`.
    pub(crate) fn at<'p>(self, parent: &'p Node<'a, 'p>, name: &'p str) -> Node<'a, 'p> {
        Node { text: self.text, path: Path::Field(&parent.path, name), validation: parent.validation }
    }
}

/// The known fields of an object.
pub(crate) struct Object<'a, 'p> {
    /// The fields that are present; usually few of those known.
    values: Vec<(&'static str, &'a RawValue)>,
    /// The first field that is not a known one.
    unknown: Option<String>,
    path: &'p Path<'p>,
    validation: Validation,
}

impl<'a> Object<'a, '_> {
    /// The field of this name; `None` if it is absent or `null`, which the API treats the same.
    pub(crate) fn get(&self, name: &'static str) -> Option<Node<'a, '_>> {
        self.get_or_null(name).filter(|node| !node.is_null())
    }

    /// The field of this name, where `null` has a meaning of its own.
    pub(crate) fn get_or_null(&self, name: &'static str) -> Option<Node<'a, '_>> {
        let (_, value) = self.values.iter().find(|(known, _)| *known == name)?;
        let text = value.get();
        Some(Node { text, path: Path::Field(self.path, name), validation: self.validation })
    }

    /// The first field that is not a known one.
    pub(crate) fn unknown(&self) -> Option<&str> {
        self.unknown.as_deref()
    }

    /// A required field.
    ///
    /// # Errors
    /// A missing field.
    pub(crate) fn require(&self, name: &'static str) -> Result<Node<'a, '_>, InvalidRequest> {
        self.get_or_null(name)
            .ok_or_else(|| InvalidRequest::missing(shown(&Path::Field(self.path, name).to_string())))
    }

    /// A field, read with `read`; `None` if it is absent or `null`.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn read<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Node<'a, '_>) -> Result<T, InvalidRequest>,
    ) -> Result<Option<T>, InvalidRequest> {
        self.get(name).map(|node| read(&node)).transpose()
    }

    /// A text field.
    ///
    /// # Errors
    /// As [`Node::string`].
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<String>, InvalidRequest> {
        self.read(name, |node| node.string().map(Cow::into_owned))
    }
}

/// The kinds of JSON value, by a value's first character.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl Kind {
    fn of(text: &str) -> Option<Self> {
        Some(match text.trim_ascii_start().as_bytes().first()? {
            b'{' => Self::Object,
            b'[' => Self::Array,
            b'"' => Self::String,
            b'-' | b'0'..=b'9' => Self::Number,
            b't' | b'f' => Self::Boolean,
            b'n' => Self::Null,
            _ => return None,
        })
    }

    fn with_article(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Null => "null",
        }
    }
}

/// Whether all nesting is at most `most` levels deep. serde_json limits the depth only of values that it reads.
fn is_depth_bounded(text: &str, most: usize) -> bool {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = string_end(bytes, at),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > most {
            return false;
        }
    }
    true
}

/// Where the string ends whose first character is at `at`: behind its closing quote.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        // An escaped quote does not end the string.
        at += 2;
    }
    bytes.len()
}
