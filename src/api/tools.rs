//! Tools, tool choices and response formats, read from the JSON of an HTTP body or of a gRPC message's `…_json` field.

use super::check::{self, MANY};
use super::fields::{Field, FromJson, JsonObject};
use super::json::{Node, Object};
use super::{Read, check::empty_array};
use crate::engine::{CallKind, ResponseFormat, Tool, ToolCall, ToolChoice};
use crate::error::{InvalidRequest, shown};

const MAX_TOOLS: usize = 128;

fields! {
    /// A function that the model may call.
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

/// Rejects too many tools, and invalid tool names.
///
/// # Errors
/// The first error, with its path.
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

/// `tools`: the tools of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tools(pub(crate) Vec<Tool>);

impl FromJson for Tools {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        let tools: Vec<Tool> = FromJson::from_json(node)?;
        if tools.is_empty() && !node.is_lenient() {
            return Err(empty_array(node.param()));
        }
        Ok(Self(tools))
    }
}

impl Field for Tools {
    fn from_field(object: &Object<'_, '_>, name: &'static str) -> Read<Self> {
        Ok(Option::from_field(object, name)?.unwrap_or_default())
    }
}

/// Rejects tool settings without tools, and a choice of a tool that is not among `tools`.
///
/// # Errors
/// As the API reports them, without a code.
pub(crate) fn check_choice(tools: &[Tool], choice: Option<&ToolChoice>, parallel: Option<bool>) -> Read<()> {
    let without_tools = |param: &str| {
        let message =
            format!("Invalid value for '{param}': '{param}' is only allowed when 'tools' are specified.");
        Err(InvalidRequest { message, param: Some(param.to_owned()), code: None })
    };
    match choice {
        Some(_) if tools.is_empty() => without_tools("tool_choice"),
        None if tools.is_empty() && parallel.is_some() => without_tools("parallel_tool_calls"),
        Some(ToolChoice::Named { kind, name })
            if !tools.iter().any(|tool| tool.kind == *kind && tool.name == *name) =>
        {
            let message = format!("Tool choice '{}' not found in 'tools' parameter.", shown(name));
            Err(InvalidRequest { message, param: Some("tool_choice".to_owned()), code: None })
        }
        _ => Ok(()),
    }
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
    /// The schema for a reply.
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

/// The tool calls of an assistant message.
///
/// # Errors
/// An empty array, or a malformed call.
pub(crate) fn read_calls(node: &Node<'_, '_>) -> Read<Vec<ToolCall>> {
    let calls = node.array(MANY)?;
    if calls.is_empty() && !node.is_lenient() {
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

/// The tool name and the arguments of a call.
///
/// # Errors
/// A name or arguments that are missing or not strings.
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
