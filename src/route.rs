//! What a request's path determines, in one value: its protocol, its name in metrics and logs, whether it needs a key,
//! and how its failures are written.
//!
//! The facades hold the rows (`http::ROUTES`, `grpc::ROUTES`, `admin::PROBES`). `server::routing` looks up a request's
//! row once; everything after it reads the [`Route`] instead of comparing paths.

/// A row of the route table, without its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The protocol of the request.
    pub protocol: Protocol,
    /// The endpoint of the request.
    pub endpoint: Endpoint,
    /// Whether it needs a key.
    pub access: Access,
    /// How its failures are written.
    pub dialect: Dialect,
}

impl Route {
    /// A route of the HTTP API.
    pub(crate) const fn http(endpoint: Endpoint, access: Access) -> Self {
        Self { protocol: Protocol::Http, endpoint, access, dialect: Dialect::OpenAi }
    }

    /// A gRPC method.
    pub(crate) const fn grpc(endpoint: Endpoint, access: Access) -> Self {
        Self { protocol: Protocol::Grpc, endpoint, access, dialect: Dialect::Grpc }
    }

    /// Whether it is a question, which is short and held of no budget: a gRPC call that needs no key, or reflection, whose
    /// stream may stay open.
    pub(crate) fn is_question(self) -> bool {
        self.endpoint == Endpoint::Reflection
            || self.protocol == Protocol::Grpc && self.access == Access::Open
    }

    /// The route of a path without a row.
    pub(crate) const fn unknown(protocol: Protocol, access: Access) -> Self {
        match protocol {
            Protocol::Http => Self::http(Endpoint::Unknown, access),
            Protocol::Grpc => Self::grpc(Endpoint::Unknown, access),
        }
    }
}

/// A path and its route; `H` is the handler's type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<H> {
    /// The path, in the pattern language of `matchit`: `/v1/models/{*model}`.
    pub path: &'static str,
    /// Its route.
    pub route: Route,
    /// Its handler.
    pub handler: H,
}

/// A protocol; every API listener serves both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The OpenAI API, over HTTP/1.1 or HTTP/2.
    Http,
    /// gRPC.
    Grpc,
}

impl Protocol {
    /// Its name in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

/// What a request is for: a fixed set, whatever paths callers send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Chat completions, streamed or not.
    ChatCompletions,
    /// The list of models, and single models.
    Models,
    /// Probes and the version.
    Probe,
    /// Prometheus metrics.
    Metrics,
    /// `grpc.health.v1.Health/Check`.
    Health,
    /// `grpc.health.v1.Health/Watch`, a stream that stays open.
    HealthWatch,
    /// gRPC reflection, a stream in both directions that stays open.
    Reflection,
    /// Anything else.
    Unknown,
}

impl Endpoint {
    /// Its name in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Models => "models",
            _ if self.is_operational() => "operations",
            _ => "unknown",
        }
    }

    /// Whether operators and tools call it every few seconds, so that its log lines report nothing new.
    pub(crate) fn is_operational(self) -> bool {
        matches!(self, Self::Probe | Self::Metrics | Self::Health | Self::HealthWatch | Self::Reflection)
    }

    /// Whether it is part of the OpenAI API.
    pub(crate) fn is_api(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Models)
    }
}

/// Whether a request needs a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It needs an accepted key, as does anything without a row on the API listeners.
    Key,
    /// It is served without a key.
    Open,
}

/// How failures are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// A status and the OpenAI API's error object.
    OpenAi,
    /// A gRPC status with details.
    Grpc,
}
