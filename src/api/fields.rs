//! The `fields!` table: one row per field generates the struct, the known names, the JSON reader and the check.
//!
//! serde with path tracking cannot produce the API's codes, validator crates do not track paths in a body, and a tree
//! of values uses memory for fields that are never read. So each row names a type, which implements its own reading.

use super::Read;
use super::check::MANY;
use super::json::{Node, Object};

/// A type that can be read from a JSON value.
pub(crate) trait FromJson: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// A value of another type or shape, with its path.
    fn from_json(node: &Node<'_, '_>) -> Read<Self>;
}

/// A type that can be read from a field, which may be absent or null.
pub(crate) trait Field: Sized {
    /// Reads the field of this name.
    ///
    /// # Errors
    /// As [`FromJson::from_json`].
    fn from_field(object: &Object<'_, '_>, name: &'static str) -> Read<Self>;
}

impl<T: FromJson> Field for Option<T> {
    fn from_field(object: &Object<'_, '_>, name: &'static str) -> Read<Self> {
        object.read(name, |node| T::from_json(node))
    }
}

/// An absent or null field is an empty list.
impl<T: FromJson> Field for Vec<T> {
    fn from_field(object: &Object<'_, '_>, name: &'static str) -> Read<Self> {
        Ok(Option::from_field(object, name)?.unwrap_or_default())
    }
}

/// An absent or null field is `false`.
impl Field for bool {
    fn from_field(object: &Object<'_, '_>, name: &'static str) -> Read<Self> {
        Ok(Option::from_field(object, name)?.unwrap_or_default())
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        node.array(MANY)?.iter().map(T::from_json).collect()
    }
}

impl FromJson for String {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        Ok(node.string()?.into_owned())
    }
}

impl FromJson for bool {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        node.boolean()
    }
}

impl FromJson for i64 {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        node.integer()
    }
}

impl FromJson for f64 {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        node.decimal()
    }
}

/// A caller-defined object, kept as JSON text.
#[derive(Clone, Debug)]
pub(crate) struct JsonObject(pub Box<str>);

impl FromJson for JsonObject {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        node.expect_object()?;
        Ok(Self(node.text().into()))
    }
}

/// An object whose content is ignored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnyObject;

impl FromJson for AnyObject {
    fn from_json(node: &Node<'_, '_>) -> Read<Self> {
        node.expect_object()?;
        Ok(Self)
    }
}

/// Declares a struct of request fields: `name: Type;`, with `[required]` after the type of a required field, and
/// `=> rule(…)` to apply a rule of [`check`](super::check).
macro_rules! fields {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $Name:ident {
            $(
                $(#[$doc:meta])*
                $field:ident: $type:ty $([$required:ident])? $(=> $check:ident($($bound:expr),*))?;
            )*
        }
    ) => {
        $(#[$meta])*
        $visibility struct $Name {
            $($(#[$doc])* #[doc = concat!("`", stringify!($field), "` of the API reference.")] pub $field: $type,)*
        }

        impl $crate::api::fields::FromJson for $Name {
            fn from_json(node: &$crate::api::json::Node<'_, '_>) -> $crate::api::Read<Self> {
                let object = node.object(&[$(stringify!($field)),*])?;
                Ok(Self { $($field: fields!(@read object $field $($required)?),)* })
            }
        }

        impl $Name {
            /// Checks every field that has a rule.
            #[allow(clippy::unnecessary_wraps, dead_code, reason = "a table may have no rules")]
            fn check_fields(&self) -> $crate::api::Read<()> {
                $($($crate::api::check::$check(stringify!($field), self.$field.as_ref(), $($bound),*)?;)?)*
                Ok(())
            }
        }
    };
    (@read $object:ident $field:ident) => {
        $crate::api::fields::Field::from_field(&$object, stringify!($field))?
    };
    (@read $object:ident $field:ident required) => {
        $crate::api::fields::FromJson::from_json(&$object.require(stringify!($field))?)?
    };
}
