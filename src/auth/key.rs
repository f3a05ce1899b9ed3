//! One accepted key, as it is written on the command line and in key files.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use sha2::{Digest, Sha256};

/// Parses a key from the command line; its errors, unlike clap's own, do not contain the key.
#[derive(Clone)]
pub(super) struct KeyParser;

impl TypedValueParser for KeyParser {
    type Value = ApiKey;

    fn parse_ref(
        &self,
        _command: &clap::Command,
        _argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<ApiKey, clap::Error> {
        let key = value.to_str().ok_or(NOT_A_KEY).and_then(ApiKey::from_str);
        key.map_err(|error| clap::Error::raw(ErrorKind::ValueValidation, format!("--api-key: {error}\n")))
    }
}

const NOT_A_KEY: &str = "a key is visible ASCII without spaces";

/// An accepted key: its name and digest. The key itself is not kept.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    name: Arc<str>,
    digest: [u8; 32],
}

/// Reads `[NAME:]KEY`, where `KEY` may be `sha256:` and 64 hexadecimal digits.
impl FromStr for ApiKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, key) = match text.split_once(':') {
            Some(("sha256", _)) | None => ("default", text),
            Some(split) => split,
        };
        Self::named(name, key)
    }
}

impl ApiKey {
    /// A key with this name, given in plain text or as `sha256:` and 64 hexadecimal digits.
    ///
    /// # Errors
    /// Why it is invalid, without the key.
    pub fn named(name: &str, key: &str) -> Result<Self, &'static str> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
            return Err("a key's name has 1 to 64 letters, digits, '.', '_' or '-'");
        }
        let digest = match key.strip_prefix("sha256:") {
            Some(hex) => read_digest(hex).ok_or("sha256: is followed by 64 hexadecimal digits")?,
            None if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) => {
                return Err(NOT_A_KEY);
            }
            None => Sha256::digest(key).into(),
        };
        Ok(Self { name: name.into(), digest })
    }

    /// The key's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The SHA-256 digest of the key.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.name)
    }
}

fn read_digest(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(digest)
}
