//! The key check: one for both protocols, laid outermost on every door, denying by default.
//!
//! It is a tower layer and not a gRPC interceptor because an interceptor sits on one gRPC service: unknown
//! methods, reflection and everything HTTP would pass it by.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{HeaderMap, Request, Response, header};
use clap::builder::{BoolishValueParser, Resettable, TypedValueParser};
use clap::error::ErrorKind;
use futures_util::future::{Either, Ready, ready};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tower::{Layer, Service};

use crate::error::ApiError;

/// Which keys are accepted.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Keys")]
pub struct AuthOptions {
    /// An accepted bearer key, and its holder's name (repeatable)
    ///
    /// The name stands before the first colon. The key may be given as its digest, sha256:HEX.
    /// Example: --api-key alice:s3cret --api-key bob:sha256:9f86d0...
    #[arg(long = "api-key", value_name = "[NAME:]KEY", value_parser = KeyParser, help_heading = Resettable::Reset)]
    pub api_key: Vec<ApiKey>,

    /// Accept any bearer key, but ask for one
    #[arg(long, default_value = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true,
        value_name = "BOOL", value_parser = BoolishValueParser::new(), hide_short_help = true, hide_default_value = true)]
    pub any_key: bool,

    /// Serve everyone without asking for a key
    #[arg(long, default_value = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true,
        value_name = "BOOL", value_parser = BoolishValueParser::new(), hide_short_help = true, hide_default_value = true)]
    pub no_auth: bool,
}

/// Reads a key of the command line; its faults, unlike clap's own, do not repeat it.
#[derive(Clone)]
struct KeyParser;

impl TypedValueParser for KeyParser {
    type Value = ApiKey;

    fn parse_ref(
        &self,
        _command: &clap::Command,
        _argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<ApiKey, clap::Error> {
        let key = value.to_str().ok_or(NO_KEY).and_then(ApiKey::from_str);
        key.map_err(|fault| clap::Error::raw(ErrorKind::ValueValidation, format!("--api-key: {fault}\n")))
    }
}

const NO_KEY: &str = "a key has one or more visible ASCII characters";

/// An accepted key: its digest and whose it is. The key itself is forgotten as soon as it is read.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    holder: Arc<str>,
    digest: [u8; 32],
}

/// Reads `[NAME:]KEY`, where `KEY` may be `sha256:` and 64 hexadecimal digits.
impl FromStr for ApiKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (holder, key) = match text.split_once(':') {
            Some(("sha256", _)) | None => ("default", text),
            Some(split) => split,
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if holder.is_empty() || holder.len() > 64 || !holder.chars().all(is_name) {
            return Err("a key's name has 1 to 64 letters, digits, '.', '_' or '-'");
        }
        let digest = match key.strip_prefix("sha256:") {
            Some(hex) => read_digest(hex).ok_or("sha256: is followed by 64 hexadecimal digits")?,
            None if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) => {
                return Err(NO_KEY);
            }
            None => Sha256::digest(key).into(),
        };
        Ok(Self { holder: holder.into(), digest })
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.holder)
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

/// The holder of the key that came with a request, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub Arc<str>);

impl Caller {
    fn named(name: &str) -> Self {
        Self(name.into())
    }
}

/// The keys a server accepts.
#[derive(Clone, Debug)]
pub enum ApiKeys {
    /// None is asked for; everyone is `anonymous`.
    Open,
    /// There must be one, whichever; everyone is `anonymous`.
    Any,
    /// One of these.
    Only(Arc<[ApiKey]>),
}

impl From<&AuthOptions> for ApiKeys {
    fn from(options: &AuthOptions) -> Self {
        match options {
            AuthOptions { api_key, .. } if !api_key.is_empty() => Self::Only(api_key.clone().into()),
            AuthOptions { any_key: true, .. } => Self::Any,
            _ => Self::Open,
        }
    }
}

impl ApiKeys {
    /// Who calls, by the one `authorization: Bearer KEY` among `headers`.
    ///
    /// Every key is compared, each in constant time, so the answer's time tells nothing about them.
    ///
    /// # Errors
    /// [`ApiError::MissingKey`] where there is not exactly one bearer key, [`ApiError::WrongKey`] where it is
    /// not accepted.
    pub fn check(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let keys = match self {
            Self::Open => return Ok(Caller::named("anonymous")),
            Self::Any => return bearer(headers).map(|_| Caller::named("anonymous")),
            Self::Only(keys) => keys,
        };
        let digest: [u8; 32] = Sha256::digest(bearer(headers)?).into();
        let mut caller = None;
        for key in keys.iter() {
            if bool::from(key.digest.ct_eq(&digest)) {
                caller = Some(Caller(Arc::clone(&key.holder)));
            }
        }
        caller.ok_or(ApiError::WrongKey)
    }
}

/// The bearer token of RFC 6750; the scheme's case does not matter (RFC 9110).
fn bearer(headers: &HeaderMap) -> Result<&[u8], ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(ApiError::MissingKey) };
    match value.as_bytes().split_at_checked("Bearer ".len()) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"Bearer ") && !key.is_empty() => Ok(key),
        _ => Err(ApiError::MissingKey),
    }
}

/// What a door tells the check: it knows the routes and both protocols' words.
pub trait Door<B, R>: Clone {
    /// Whether this request is served without a key. Only the routed path counts, never the host.
    fn is_open(&self, request: &Request<B>) -> bool;

    /// Notes who was let in.
    fn admit(&self, request: &Request<B>, caller: &Caller);

    /// The answer to a request without an accepted key.
    fn refuse(&self, request: &Request<B>, error: &ApiError) -> Response<R>;
}

/// Lets only requests with an accepted key through, and gives them their [`Caller`].
#[derive(Clone, Debug)]
pub struct RequireKey<D> {
    keys: ApiKeys,
    door: D,
}

impl<D> RequireKey<D> {
    /// A check of `keys` for this door.
    pub fn new(keys: ApiKeys, door: D) -> Self {
        Self { keys, door }
    }
}

impl<S, D: Clone> Layer<S> for RequireKey<D> {
    type Service = Guarded<S, D>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded { inner, check: self.clone() }
    }
}

/// A service behind [`RequireKey`].
#[derive(Clone, Debug)]
pub struct Guarded<S, D> {
    inner: S,
    check: RequireKey<D>,
}

impl<S, D, B, R> Service<Request<B>> for Guarded<S, D>
where
    S: Service<Request<B>, Response = Response<R>>,
    D: Door<B, R>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<R>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let RequireKey { keys, door } = &self.check;
        let caller = if door.is_open(&request) {
            Ok(Caller::named("anonymous"))
        } else {
            keys.check(request.headers())
        };
        match caller {
            Ok(caller) => {
                door.admit(&request, &caller);
                request.extensions_mut().insert(caller);
                Either::Left(self.inner.call(request))
            }
            Err(error) => Either::Right(ready(Ok(door.refuse(&request, &error)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn keys(keys: &[&str]) -> ApiKeys {
        ApiKeys::Only(keys.iter().map(|key| key.parse().expect("a key")).collect())
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
        for value in ["Bearer  one", "Bearer one ", "Bearer ONE", "Bearer one, Bearer one"] {
            assert!(matches!(check(&keys, value), Err(ApiError::WrongKey)), "{value}");
        }
        let mut twice = HeaderMap::new();
        twice.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer one"));
        twice.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer one"));
        assert!(matches!(keys.check(&twice), Err(ApiError::MissingKey)));
    }

    #[test]
    fn a_key_never_shows_in_debug_output() {
        let key: ApiKey = "alice:marked-key".parse().expect("a key");

        assert_eq!(format!("{key:?}"), "ApiKey(alice)");
    }
}
