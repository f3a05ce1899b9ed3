//! Tools, tool choices and response formats, read from a JSON value: of an HTTP body, or of a gRPC message's `…_json`
//! field.

use super::check::{self, MANY};
use super::fields::{FromJson, JsonObject};
use super::json::Node;
use super::{Read, check::empty_array};
use crate::engine::{CallKind, ResponseFormat, Tool, ToolCall, ToolChoice};
use crate::error::InvalidRequest;

const MAX_TOOLS: usize = 128;

fields! {
    /// A function that a model could call.
    struct FunctionFields {
        name: String [required];
        description: Option<String>;
        parameters: Option<JsonObject>;
        strict: Option<bool>;
    }
}

fields! {
    /// A custom tool.
    struct CustomFields {
        name: String [required];
        description: Option<String>;
        format: Option<JsonObject>;
    }
}

impl FromJson for Tool {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        let tool = node.object(&["type", "function", "custom"])?;
        let kind = tool.require("type")?.word(&CallKind::NAMES)?;
        let fields = tool.require(kind.as_str())?;
        Ok(match kind {
            CallKind::Function => FunctionFields::from_json(&fields)?.into(),
            CallKind::Custom => {
                let CustomFields { name, description, format } = FromJson::from_json(&fields)?;
                Self { kind, name, description, schema: format.map(|JsonObject(text)| text), strict: None }
            }
        })
    }
}

impl From<FunctionFields> for Tool {
    fn from(fields: FunctionFields) -> Self {
        let FunctionFields { name, description, parameters, strict } = fields;
        let schema = parameters.map(|JsonObject(text)| text);
        Self { kind: CallKind::Function, name, description, schema, strict }
    }
}

/// Refuses too many tools, and names that no tool can have.
///
/// # Errors
/// The first error, with its place.
pub(crate) fn check_tools(tools: &[Tool]) -> Read<()> {
    check::at_most("tools", tools.len(), MAX_TOOLS)?;
    tools.iter().enumerate().try_for_each(|(index, tool)| {
        let param = format!("tools[{index}].{}.name", tool.kind.as_str());
        check::length(param.as_str(), Some(&tool.name), 1, 64)?;
        if tool.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
            return Ok(());
        }
        let what = "string does not match pattern. Expected a string that matches '^[a-zA-Z0-9_-]+$'.";
        Err(InvalidRequest::invalid(param, "invalid_value", what))
    })
}

/// The deprecated `functions`, checked and ignored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Functions;

impl FromJson for Functions {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        let functions = node.array(MAX_TOOLS)?;
        if functions.is_empty() {
            return Err(empty_array(node.param()));
        }
        functions.iter().try_for_each(|node| FunctionFields::from_json(node).map(drop))?;
        Ok(Self)
    }
}

/// The deprecated `function_call` of a request, checked and ignored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FunctionChoice;

impl FromJson for FunctionChoice {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        if node.is_string() {
            node.word(&[("none", ()), ("auto", ())])?;
        } else {
            node.object(&["name"])?.require("name")?.string()?;
        }
        Ok(Self)
    }
}

impl FromJson for ToolChoice {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        if node.is_string() {
            let words = [("none", None), ("auto", Some(false)), ("required", Some(true))];
            return Ok(match node.word(&words)? {
                None => Self::None,
                Some(false) => Self::Auto,
                Some(true) => Self::Required,
            });
        }
        let choice = node.object(&["type", "function", "custom", "allowed_tools"])?;
        let kinds = [
            ("function", Some(CallKind::Function)),
            ("custom", Some(CallKind::Custom)),
            ("allowed_tools", None),
        ];
        let Some(kind) = choice.require("type")?.word(&kinds)? else {
            let JsonObject(allowed) = FromJson::from_json(&choice.require("allowed_tools")?)?;
            return Ok(Self::Allowed(allowed));
        };
        let fields = choice.require(kind.as_str())?;
        let name = fields.object(&["name"])?.require("name")?.string()?.into_owned();
        Ok(Self::Named { kind, name })
    }
}

fields! {
    /// The schema that a reply is to obey.
    struct SchemaFields {
        name: String [required];
        description: Option<String>;
        schema: Option<JsonObject>;
        strict: Option<bool>;
    }
}

impl FromJson for ResponseFormat {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        let format = node.object(&["type", "json_schema"])?;
        let kinds =
            [("text", Some(Self::Text)), ("json_object", Some(Self::JsonObject)), ("json_schema", None)];
        if let Some(plain) = format.require("type")?.word(&kinds)? {
            return Ok(plain);
        }
        let SchemaFields { name, description, schema, strict } =
            FromJson::from_json(&format.require("json_schema")?)?;
        Ok(Self::JsonSchema { name, description, schema: schema.map(|JsonObject(text)| text), strict })
    }
}

/// The calls of an assistant's message.
///
/// # Errors
/// An empty array, or a call that is not well-formed.
pub(crate) fn read_calls(node: &Node<'_, '_>) -> Read<Vec<ToolCall>> {
    let calls = node.array(MANY)?;
    if calls.is_empty() {
        return Err(empty_array(node.param()));
    }
    calls.iter().map(read_call).collect()
}

fn read_call(node: &Node<'_, '_>) -> Read<ToolCall> {
    let call = node.object(&["id", "type", "function", "custom"])?;
    let id = Some(call.require("id")?.string()?.into_owned());
    let kind = call.require("type")?.word(&CallKind::NAMES)?;
    Ok(ToolCall { id, ..read_called(&call.require(kind.as_str())?, kind)? })
}

/// What a call names: a tool and its arguments.
///
/// # Errors
/// A name or arguments that are missing, or not strings.
pub(crate) fn read_called(node: &Node<'_, '_>, kind: CallKind) -> Read<ToolCall> {
    let called = node.object(&["name", "arguments", "input"])?;
    let input = if kind == CallKind::Function { "arguments" } else { "input" };
    Ok(ToolCall {
        id: None,
        kind,
        name: called.require("name")?.string()?.into_owned(),
        arguments: called.require(input)?.string()?.into_owned(),
    })
}
