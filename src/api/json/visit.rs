//! serde visitors for one level of a value: they keep the wanted parts as raw text and skip the rest.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A string, borrowed where possible.
pub(super) struct Text<'a>(pub Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Keeps the known fields and skips the others.
pub(super) struct KnownFields {
    pub known: &'static [&'static str],
}

/// The fields found.
pub(super) struct Fields<'a> {
    pub values: Vec<(&'static str, &'a RawValue)>,
    pub duplicate: Option<&'static str>,
    pub unknown: Option<String>,
}

impl<'de> Visitor<'de> for KnownFields {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields { values: Vec::new(), duplicate: None, unknown: None };
        while let Some(Text(name)) = map.next_key()? {
            let Some(known) = self.known.iter().find(|known| **known == name) else {
                map.next_value::<IgnoredAny>()?;
                fields.unknown.get_or_insert_with(|| name.into_owned());
                continue;
            };
            if fields.values.iter().any(|(name, _)| name == known) {
                map.next_value::<IgnoredAny>()?;
                fields.duplicate = Some(known);
            } else {
                fields.values.push((known, map.next_value()?));
            }
        }
        Ok(fields)
    }
}

/// Keeps the first `most` fields and counts all of them.
pub(super) struct EntriesVisitor {
    pub most: usize,
}

/// The fields found.
pub(super) struct Entries<'a> {
    pub kept: Vec<(String, &'a RawValue)>,
    pub count: usize,
}

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
        let mut entries = Entries { kept: Vec::new(), count: 0 };
        while let Some(Text(name)) = map.next_key()? {
            entries.count += 1;
            if entries.count > self.most {
                map.next_value::<IgnoredAny>()?;
            } else {
                entries.kept.push((name.into_owned(), map.next_value()?));
            }
        }
        Ok(entries)
    }
}

/// Keeps the first `most` items and counts all of them.
pub(super) struct ItemsVisitor {
    pub most: usize,
}

/// The items found.
pub(super) struct Items<'a> {
    pub kept: Vec<&'a RawValue>,
    pub count: usize,
}

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items<'de>, A::Error> {
        let mut items = Items { kept: Vec::new(), count: 0 };
        while items.kept.len() < self.most {
            let Some(item) = seq.next_element()? else { break };
            items.kept.push(item);
        }
        items.count = items.kept.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            items.count += 1;
        }
        Ok(items)
    }
}
