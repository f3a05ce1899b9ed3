//! The check as a tower layer, for the outside of every door.

use std::task::{Context, Poll};

use axum::http::{Request, Response};
use futures_util::future::{Either, Ready, ready};
use tower::{Layer, Service};

use super::{ApiKeys, Caller};
use crate::error::ApiError;

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
