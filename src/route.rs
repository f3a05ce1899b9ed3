//! What a request's path decides, in one value: who answers it, what it is called in metrics and logs, whether it
//! needs a key, and how its failures are written.
//!
//! The facades hold the rows (`http::ROUTES`, `grpc::ROUTES`, `admin::PROBES`); `server::routing` finds a request's
//! row once, and everything after it reads the [`Route`] and never compares a path again.

/// A row of the route table, without its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The protocol that the request speaks.
    pub protocol: Protocol,
    /// What it is for.
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

    /// What a path without a row gets.
    pub(crate) const fn unknown(protocol: Protocol, access: Access) -> Self {
        match protocol {
            Protocol::Http => Self::http(Endpoint::Unknown, access),
            Protocol::Grpc => Self::grpc(Endpoint::Unknown, access),
        }
    }
}

/// A path and what it decides; `H` is what answers it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<H> {
    /// The path, in the pattern language of `matchit`: `/v1/models/{*model}`.
    pub path: &'static str,
    /// What it decides.
    pub route: Route,
    /// What answers.
    pub handler: H,
}

/// A protocol that every API listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The OpenAI API, over HTTP/1.1 or HTTP/2.
    Http,
    /// gRPC.
    Grpc,
}

impl Protocol {
    /// As metrics and logs spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

/// What a request is for: a closed set, whatever paths callers make up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Chat completions, streamed or not.
    ChatCompletions,
    /// The list of models, and each of them.
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
    /// As metrics and logs spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Models => "models",
            _ if self.is_operational() => "operations",
            _ => "unknown",
        }
    }

    /// Whether operators and tools ask it every few seconds, and its log lines report nothing new.
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
    /// It needs an accepted key. Anything without a row does, on the API listeners.
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
