//! The key check: one for both protocols, asked before anything else looks at a request, denying by default.
//!
//! The access log asks it, outside of both routers, and not a gRPC interceptor: an interceptor sits on one gRPC
//! service, and unknown methods, reflection and everything HTTP would pass it by.

mod file;
mod key;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, header};
use clap::builder::{BoolishValueParser, Resettable};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

pub use file::KeyFileError;
pub use key::ApiKey;
use key::KeyParser;

use crate::error::ApiError;
use crate::route::Access;

/// Which keys are accepted.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Keys")]
pub struct AuthOptions {
    /// An accepted bearer key, with a name (repeatable)
    ///
    /// The name stands before the first colon. The key may be given as its digest, sha256:HEX.
    /// Example: --api-key alice:s3cret --api-key bob:sha256:9f86d0...
    #[arg(long = "api-key", value_name = "[NAME:]KEY", value_parser = KeyParser, help_heading = Resettable::Reset)]
    pub api_key: Vec<ApiKey>,

    /// More keys: a file of lines `[NAME:]KEY`, or a directory whose files' names are the keys' names
    ///
    /// Blank lines and lines that begin with # are skipped, of a directory names that begin with `..`. What changes
    /// is read again within five seconds, and at once on SIGHUP; a broken change keeps the keys there were.
    /// Example: --api-key-file /etc/tokenecho/keys
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub api_key_file: Option<PathBuf>,

    /// Accept any bearer key, but ask for one
    #[arg(long, default_value = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true,
        value_name = "BOOL", value_parser = BoolishValueParser::new(), hide_short_help = true, hide_default_value = true)]
    pub any_key: bool,

    /// Serve everyone without asking for a key
    #[arg(long, default_value = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true,
        value_name = "BOOL", value_parser = BoolishValueParser::new(), hide_short_help = true, hide_default_value = true)]
    pub no_auth: bool,
}

/// How long key files may take to be read; a network's disk may hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The caller of a request, by the name of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller(pub Arc<str>);

impl Caller {
    fn named(name: &str) -> Self {
        Self(name.into())
    }
}

/// Accepted keys by their SHA-256, with their names. Looked up and not compared one by one: how long that takes depends on
/// the digest of what was sent, which leads to no key, and ten thousand keys cost what one does.
#[derive(PartialEq, Eq)]
pub(crate) struct Keys(HashMap<[u8; 32], ApiKey>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.values()).finish()
    }
}

/// The keys a server accepts; clones are the same keys.
#[derive(Clone, Debug)]
pub(crate) enum ApiKeys {
    /// None is asked for; everyone is `anonymous`.
    Open,
    /// There must be one, whichever; everyone is `anonymous`.
    Any,
    /// One of these.
    Only(Arc<ArcSwap<Keys>>),
}

impl ApiKeys {
    /// The keys that `options` give, with those of the key files.
    ///
    /// # Errors
    /// [`KeyFileError`] where a key file cannot be read in five seconds or holds no key.
    pub(crate) async fn load(options: &AuthOptions) -> Result<Self, KeyFileError> {
        let keys = timeout(PATIENCE, read(options)).await.map_err(|_| KeyFileError::too_slow(options))??;
        Ok(Self::of(options, keys))
    }

    /// These keys, or if there are none what `options` allow.
    pub(crate) fn of(options: &AuthOptions, keys: Vec<ApiKey>) -> Self {
        match options {
            _ if !keys.is_empty() => Self::Only(Arc::new(ArcSwap::from_pointee(by_digest(keys)))),
            AuthOptions { any_key: true, .. } => Self::Any,
            _ => Self::Open,
        }
    }

    /// Reads the key files again; gives whether anything has changed. On a failure the keys stay as they are.
    ///
    /// # Errors
    /// As [`ApiKeys::load`], but it takes its time.
    pub(crate) async fn reload(&self, options: &AuthOptions) -> Result<bool, KeyFileError> {
        let Self::Only(current) = self else { return Ok(false) };
        let keys = by_digest(read(options).await?);
        let has_changed = **current.load() != keys;
        if has_changed {
            current.store(Arc::new(keys));
        }
        Ok(has_changed)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Open | Self::Any => 0,
            Self::Only(keys) => keys.load().0.len(),
        }
    }

    /// Who sends a request with these headers to a route of this access.
    ///
    /// # Errors
    /// As [`ApiKeys::check`], where the route needs a key.
    pub(crate) fn admit(&self, access: Access, headers: &HeaderMap) -> Result<Caller, ApiError> {
        match access {
            Access::Open => Ok(Caller::named("anonymous")),
            Access::Key => self.check(headers),
        }
    }

    /// Who calls, by the one `authorization: Bearer KEY` among `headers`.
    ///
    /// # Errors
    /// [`ApiError::MissingKey`] where there is not exactly one bearer key, [`ApiError::WrongKey`] where it is
    /// not accepted.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let keys = match self {
            Self::Open => return Ok(Caller::named("anonymous")),
            Self::Any => {
                let is_key = bearer(headers)?.iter().all(u8::is_ascii_graphic);
                return if is_key { Ok(Caller::named("anonymous")) } else { Err(ApiError::WrongKey) };
            }
            Self::Only(keys) => keys,
        };
        let digest: [u8; 32] = Sha256::digest(bearer(headers)?).into();
        let keys = keys.load();
        let key = keys.0.get(&digest).ok_or(ApiError::WrongKey)?;
        Ok(Caller(Arc::clone(key.name())))
    }
}

fn by_digest(keys: Vec<ApiKey>) -> Keys {
    Keys(keys.into_iter().map(|key| (*key.digest(), key)).collect())
}

/// The keys that were given, and those of the key files.
///
/// Files are read where waiting for a disk holds up no stream.
async fn read(options: &AuthOptions) -> Result<Vec<ApiKey>, KeyFileError> {
    let mut keys = options.api_key.clone();
    if let Some(path) = options.api_key_file.clone() {
        keys.extend(spawn_blocking(move || file::read(&path)).await.expect("reading keys does not panic")?);
    }
    Ok(keys)
}

/// The bearer token of RFC 6750; the scheme's case does not matter (RFC 9110).
fn bearer(headers: &HeaderMap) -> Result<&[u8], ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(ApiError::MissingKey) };
    match value.as_bytes().split_at_checked("Bearer ".len()) {
        // One space or more (RFC 9110, 11.4).
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"Bearer ") => match key.trim_ascii_start() {
            [] => Err(ApiError::MissingKey),
            key => Ok(key),
        },
        _ => Err(ApiError::MissingKey),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn keys(keys: &[&str]) -> ApiKeys {
        let keys = keys.iter().map(|key| key.parse().expect("a key")).collect();
        ApiKeys::of(&AuthOptions::default(), keys)
    }

    fn check(keys: &ApiKeys, value: &'static str) -> Result<Caller, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        keys.check(&headers)
    }

    #[test]
    fn a_key_tells_its_holder_and_the_scheme_has_no_case() {
        let keys = keys(&["alice:one", "two"]);

        assert_eq!(check(&keys, "Bearer one").expect("alice"), Caller::named("alice"));
        assert_eq!(check(&keys, "Bearer   one").expect("alice"), Caller::named("alice"));
        assert_eq!(check(&keys, "bEARER two").expect("default"), Caller::named("default"));
    }

    #[test]
    fn a_key_may_be_given_as_its_digest() {
        let digest = "a:sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

        assert!(check(&keys(&[digest]), "Bearer test").is_ok());
        assert!(check(&keys(&[digest]), "Bearer tes").is_err());
        assert!("sha256:12".parse::<ApiKey>().is_err());
    }

    #[test]
    fn what_is_not_exactly_one_bearer_key_is_no_key() {
        let keys = keys(&["one"]);

        for value in ["one", "Basic one", "Bearer", "Bearer ", "Bearerone"] {
            assert!(matches!(check(&keys, value), Err(ApiError::MissingKey)), "{value}");
        }
        for value in ["Bearer one ", "Bearer ONE", "Bearer one, Bearer one"] {
            assert!(matches!(check(&keys, value), Err(ApiError::WrongKey)), "{value}");
        }
        let mut twice = HeaderMap::new();
        twice.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer one"));
        twice.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer one"));
        assert!(matches!(keys.check(&twice), Err(ApiError::MissingKey)));
    }

    #[test]
    fn a_key_never_shows_in_debug_output() {
        let keys = keys(&["alice:marked-key"]);

        assert!(format!("{keys:?}").contains("ApiKey(alice)"));
        assert!(!format!("{keys:?}").contains("marked-key"));
    }
}
