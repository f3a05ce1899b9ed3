//! The config file: YAML, parsed with the line number of every value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::{Setting, SettingError, Table};

/// The only group of options.
const LIMITS: &str = "limits";

/// A value in the file. Scalars keep their original text, which the option's own parser interprets.
enum Value {
    /// A quoted scalar, or a plain one that YAML reads as a string.
    Text(String),
    /// A number, a boolean or null; its text is found by its location.
    Plain,
    List(Vec<Spanned<Value>>),
    Map(BTreeMap<String, Spanned<Value>>),
}

impl Table {
    /// The settings in a file, and its errors; values are not checked here.
    pub(super) fn file(&self, path: &Path) -> (Vec<Setting>, Vec<SettingError>) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.file_text(path, &text),
            Err(error) => (vec![], vec![in_file(path, error)]),
        }
    }

    /// The settings in a file's text; `path` is for errors.
    pub(super) fn file_text(&self, path: &Path, text: &str) -> (Vec<Setting>, Vec<SettingError>) {
        if text
            .lines()
            .all(|line| line.trim().is_empty() || line.trim() == "---" || line.trim_start().starts_with('#'))
        {
            return Default::default();
        }
        let fields = match serde_saphyr::from_str::<BTreeMap<String, Spanned<Value>>>(text) {
            Ok(fields) => fields,
            // The parser's message quotes the file, which may contain keys.
            Err(error) => {
                let at = error.location().map(|at| format!(", line {}, column {}", at.line(), at.column()));
                let message = format!("it is not a YAML mapping of options{}", at.unwrap_or_default());
                return (vec![], vec![in_file(path, message)]);
            }
        };
        let mut reader = FileReader { table: self, path, text, settings: vec![], errors: vec![] };
        reader.read(fields, None);
        (reader.settings, reader.errors)
    }
}

/// An error of the file as a whole.
fn in_file(path: &Path, error: impl fmt::Display) -> SettingError {
    SettingError { place: path.display().to_string(), line: 0, message: error.to_string() }
}

struct FileReader<'a> {
    table: &'a Table,
    path: &'a Path,
    text: &'a str,
    settings: Vec<Setting>,
    errors: Vec<SettingError>,
}

impl FileReader<'_> {
    fn read(&mut self, fields: BTreeMap<String, Spanned<Value>>, group: Option<&str>) {
        for (name, field) in fields {
            let line = field.referenced.line();
            let place = match group {
                None => format!("{}:{line}: {name}", self.path.display()),
                Some(group) => format!("{}:{line}: {group}.{name}", self.path.display()),
            };
            match (field.value, group) {
                (Value::Map(fields), None) if name == LIMITS => self.read(fields, Some(LIMITS)),
                (value, _) => match self.values(&name, value, field.referenced, group) {
                    Ok(values) => self.settings.push(Setting { option: name, values, place, line }),
                    Err(message) => self.errors.push(SettingError { place, line, message }),
                },
            }
        }
    }

    /// The values of one option.
    fn values(
        &self,
        name: &str,
        value: Value,
        location: serde_saphyr::Location,
        group: Option<&str>,
    ) -> Result<Vec<String>, String> {
        if name == LIMITS && group.is_none() {
            return Err("a mapping of limits is expected here".into());
        }
        let option = self.table.option(name).filter(|_| name != "config").ok_or("there is no such option")?;
        match (Table::is_limit(option), group) {
            (true, None) => return Err(format!("it belongs under `{LIMITS}:`")),
            (false, Some(_)) => return Err("it is not a limit".into()),
            _ => {}
        }
        match value {
            Value::List(values) if values.is_empty() => Err("the list is empty".into()),
            Value::List(values) if Table::is_list(option) => {
                values.into_iter().map(|value| self.scalar(value.value, value.referenced)).collect()
            }
            value => Ok(vec![self.scalar(value, location)?]),
        }
    }

    fn scalar(&self, value: Value, location: serde_saphyr::Location) -> Result<String, String> {
        match value {
            Value::Text(text) => Ok(text),
            Value::Plain => {
                let span = location.span();
                let start = usize::try_from(span.offset()).unwrap_or(usize::MAX);
                let length = usize::try_from(span.len()).unwrap_or(usize::MAX);
                let text: String = self.text.chars().skip(start).take(length).collect();
                if text.is_empty() || text == "~" || text.eq_ignore_ascii_case("null") {
                    return Err("it has no value".into());
                }
                Ok(text)
            }
            Value::List(_) => Err("a list is not expected here".into()),
            Value::Map(_) => Err("a mapping is not expected here".into()),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Plain)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Value, E> {
        Ok(Value::Plain)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Value, E> {
        Ok(Value::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Plain)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Plain)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Plain)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            fields.insert(name, value);
        }
        Ok(Value::Map(fields))
    }
}
