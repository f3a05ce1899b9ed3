//! The key check: one for both protocols, made before anything else handles a request. It denies by default.
//!
//! The access log runs it, outside of both routers. A gRPC interceptor would not do: it covers one gRPC service, and
//! unknown methods, reflection and all of HTTP would bypass it.

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
    /// The name is the part before the first colon. The key may be given as its digest, sha256:HEX.
    /// Example: --api-key alice:s3cret --api-key bob:sha256:9f86d0...
    #[arg(long = "api-key", value_name = "[NAME:]KEY", value_parser = KeyParser, help_heading = Resettable::Reset)]
    pub api_key: Vec<ApiKey>,

    /// More keys: a file of lines `[NAME:]KEY`, or a directory whose files' names are the keys' names
    ///
    /// Blank lines and lines that begin with # are skipped, and in a directory names that begin with `..`. Changes are
    /// read every two seconds, and at once on SIGHUP; after an invalid change the previous keys stay valid.
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

/// How long reading the key files may take; a network disk may hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The caller of a request, by the name of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller(pub Arc<str>);

impl Caller {
    fn named(name: &str) -> Self {
        Self(name.into())
    }
}

/// The names of accepted keys, by the key's SHA-256. A lookup needs no constant time: its duration depends on the
/// digest of the sent key, which reveals no accepted key. It costs the same for ten thousand keys as for one.
#[derive(PartialEq, Eq)]
pub(crate) struct Keys(HashMap<[u8; 32], ApiKey>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.values()).finish()
    }
}

/// The keys that a server accepts; clones share them.
#[derive(Clone, Debug)]
pub(crate) enum ApiKeys {
    /// No key is required; every caller is `anonymous`.
    Open,
    /// Any key is accepted, but one is required; every caller is `anonymous`.
    Any,
    /// One of these keys is required.
    Only(Arc<ArcSwap<Keys>>),
}

impl ApiKeys {
    /// The keys in `options`, with those of the key files.
    ///
    /// # Errors
    /// [`KeyFileError`] if a key file cannot be read in five seconds or holds no key.
    pub(crate) async fn load(options: &AuthOptions) -> Result<Self, KeyFileError> {
        let keys = timeout(PATIENCE, read(options)).await.map_err(|_| KeyFileError::too_slow(options))??;
        Ok(Self::of(options, keys))
    }

    /// These keys, or without any what `options` allow.
    pub(crate) fn of(options: &AuthOptions, keys: Vec<ApiKey>) -> Self {
        match options {
            _ if !keys.is_empty() => Self::Only(Arc::new(ArcSwap::from_pointee(by_digest(keys)))),
            AuthOptions { any_key: true, .. } => Self::Any,
            _ => Self::Open,
        }
    }

    /// Reads the key files again; returns whether anything has changed. On a failure the keys stay as they are.
    ///
    /// # Errors
    /// As [`ApiKeys::load`], but without a time limit.
    pub(crate) async fn reload(&self, options: &AuthOptions) -> Result<bool, KeyFileError> {
        let Self::Only(current) = self else { return Ok(false) };
        let keys = by_digest(read(options).await?);
        let has_changed = **current.load() != keys;
        if has_changed {
            current.store(Arc::new(keys));
        }
        Ok(has_changed)
    }

    /// The number of keys.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Open | Self::Any => 0,
            Self::Only(keys) => keys.load().0.len(),
        }
    }

    /// The caller of a request with these headers to a route with this access.
    ///
    /// # Errors
    /// As [`ApiKeys::check`], if the route needs a key.
    pub(crate) fn admit(&self, access: Access, headers: &HeaderMap) -> Result<Caller, ApiError> {
        match access {
            Access::Open => Ok(Caller::named("anonymous")),
            Access::Key => self.check(headers),
        }
    }

    /// The caller, by the one `authorization: Bearer KEY` among `headers`.
    ///
    /// # Errors
    /// [`ApiError::MissingKey`] without exactly one bearer key, [`ApiError::WrongKey`] if it is not accepted.
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

/// The keys in `options`, and those of the key files.
///
/// Files are read on a blocking thread, so that a slow disk delays no stream.
async fn read(options: &AuthOptions) -> Result<Vec<ApiKey>, KeyFileError> {
    let mut keys = options.api_key.clone();
    if let Some(path) = options.api_key_file.clone() {
        keys.extend(spawn_blocking(move || file::read(&path)).await.expect("reading keys does not panic")?);
    }
    Ok(keys)
}

/// The bearer token of RFC 6750; the scheme is case-insensitive (RFC 9110).
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
    fn a_key_identifies_its_caller_and_the_scheme_has_no_case() {
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
    fn anything_but_exactly_one_bearer_key_is_refused() {
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
