//! Sockets: from bind to goodbye.
//!
//! A [`Server`] has up to three listeners: two for the API, each serving both protocols, and the admin listener.
//! `connection` is the one accept loop, `access_log` what every request passes, `routing` the way to what answers
//! it, `drain` the way out.

mod access_log;
mod builder;
mod connection;
mod cors;
mod drain;
mod host;
mod listen;
mod reload;
mod routing;
mod signals;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tracing::warn;

use crate::auth::{ApiKeys, AuthOptions, KeyFileError};
use crate::config::{AllowedOrigin, Config, RequestLimits, ServiceOptions, Validation};
use crate::engine::{EchoEngine, Engine};
use crate::ops::lifecycle::{Lifecycle, Phase};
use crate::service::Service;
use crate::units;
use access_log::AccessLog;
pub use builder::Builder;
use connection::{Connections, Context, Slots};
use cors::Cors;
use listen::Listeners;
pub use listen::{Addresses, BindError};
use routing::Routes;
pub use signals::Signals;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The server would be open to everyone beyond loopback, and no option allows that.
    #[error(
        "refusing to serve {0} without a key: give keys with --api-key (TOKENECHO_API_KEY) or --api-key-file, or choose --any-key (any key is accepted) or \
         --no-auth (no key is asked for)"
    )]
    Open(SocketAddr),
    /// Two rules for keys that exclude each other.
    #[error("{0} and {1} exclude each other: choose one")]
    KeyRules(&'static str, &'static str),
    /// A memory limit for all bodies that a single one may exceed.
    #[error(
        "--max-inflight-body ({}) is smaller than --max-body ({}): a body of that size would never fit",
        units::shown_size(*all), units::shown_size(*one)
    )]
    BodyLimits {
        /// The limit of one body, in bytes.
        one: u64,
        /// The limit of all bodies together, in bytes.
        all: u64,
    },
    /// `*` or `off` beside another origin.
    #[error("--allowed-origin * and --allowed-origin off exclude any other origin: choose one")]
    Origins,
    /// A model that is named twice, where requests are checked strictly.
    #[error("--model {0} is given twice")]
    DuplicateModel(String),
    /// Key files that cannot be read, or hold no key.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
}

/// A running server. Dropping it ends everything at once; [`Server::drain`] lets open streams end.
#[derive(Debug)]
pub struct Server {
    service: Service,
    connections: Connections,
    /// Those of the admin listener, which stays to the very end.
    admin_connections: Connections,
    addresses: Addresses,
    config: Config,
    keys: ApiKeys,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.connections.end();
        self.admin_connections.end();
    }
}

impl Server {
    /// A server for tests and programs; see [`Builder`].
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Starts what `config` describes, with `engine` behind it; serves as soon as this returns.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config, engine: Arc<dyn Engine>) -> Result<Self, StartError> {
        Self::start_on(None, config, engine).await
    }

    /// The same, with the API on a `listener` that is bound already.
    async fn start_on(
        listener: Option<TcpListener>,
        mut config: Config,
        engine: Arc<dyn Engine>,
    ) -> Result<Self, StartError> {
        check_limits(&config.limits.requests)?;
        dedup_models(&mut config.service)?;
        check_origins(&config.listeners.allowed_origin)?;
        let keys = ApiKeys::load(&config.auth).await?;
        check_keys(&config.auth, &keys)?;
        let (listeners, addresses) = Listeners::bind(&config.listeners, listener).await?;
        check_reach(&addresses, &config.auth, &keys)?;

        let lifecycle = Lifecycle::starting();
        let service =
            Service::new(engine, config.service.clone(), config.limits.requests.clone(), lifecycle.clone());
        let connections = Connections::new(lifecycle.clone());
        let admin_connections = Connections::new(Lifecycle::starting());
        let limits = &config.limits.connections;
        let context = |routes, keys, cors, connections: &Connections| {
            let access_log = AccessLog::new(routes, keys, cors, service.clone());
            let lifecycle = connections.lifecycle().clone();
            Arc::new(Context { access_log, service: service.clone(), limits: limits.clone(), lifecycle })
        };
        let cors = Cors::new(&config.listeners.allowed_origin, &keys);
        let api = context(Routes::api(&service, &config.listeners), keys.clone(), cors, &connections);
        let slots = Slots::new(limits.max_connections(), "api", service.metrics().connections_full.clone());
        for listener in [Some(listeners.api), listeners.grpc].into_iter().flatten() {
            connections.accept(listener, Arc::clone(&api), slots.clone());
        }
        if let Some(admin) = listeners.admin {
            // Slots of its own: operators must get in when the API's are all taken.
            let full = service.metrics().admin_connections_full.clone();
            let slots = Slots::new(ADMIN_CONNECTIONS, "admin", full);
            let context = context(Routes::admin(&service), ApiKeys::Open, Cors::Off, &admin_connections);
            admin_connections.accept(admin, context, slots);
        }
        if config.auth.api_key_file.is_some() {
            connections.beside(reload::follow(keys.clone(), config.auth.clone(), service.clone()));
        }
        lifecycle.enter(Phase::Ready);
        Ok(Self { service, connections, admin_connections, addresses, config, keys })
    }

    /// Serves until `stop`, then drains.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = tokenecho::Server::builder().start().await?;
    ///
    /// server.run_until(async { tokio::time::sleep(std::time::Duration::from_millis(1)).await }).await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run_until(self, stop: impl Future<Output = ()>) {
        stop.await;
        self.drain().await;
    }

    /// Serves until the first of `signals`, then drains; a second one ends the process at once.
    pub async fn run(self, signals: Signals) {
        self.run_until(signals.first()).await;
    }

    /// Lets open streams finish for as long as [`ListenerOptions`](crate::config::ListenerOptions) allow, then ends them
    /// with a proper error.
    pub async fn drain(self) {
        drain::drain(&self).await;
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The keys it accepts.
    pub(crate) fn keys(&self) -> &ApiKeys {
        &self.keys
    }

    /// The model that answers a request which names none.
    pub(crate) fn default_model(&self) -> &str {
        self.service.default_model()
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the OpenAI clients take as their base URL; ends in `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addresses.api)
    }

    /// What gRPC clients connect to.
    pub fn grpc_endpoint(&self) -> String {
        format!("http://{}", self.addresses.grpc.unwrap_or(self.addresses.api))
    }

    /// The admin listener's URL, if there is one.
    pub fn admin_url(&self) -> Option<String> {
        self.addresses.admin.map(|address| format!("http://{address}"))
    }
}

/// Refuses a total for bodies that is smaller than one body may be: such a body could never be read. The default total
/// depends on the machine and is checked request by request.
fn check_limits(limits: &RequestLimits) -> Result<(), StartError> {
    match limits.max_inflight_body {
        Some(all) if all < limits.max_body => Err(StartError::BodyLimits { one: limits.max_body, all }),
        _ => Ok(()),
    }
}

/// Refuses a model that is named twice under strict validation; otherwise leaves it out with a warning.
fn dedup_models(options: &mut ServiceOptions) -> Result<(), StartError> {
    let mut names: Vec<String> = Vec::new();
    for name in std::mem::take(&mut options.models.model) {
        if !names.contains(&name) {
            names.push(name);
        } else if options.validation == Validation::Strict {
            return Err(StartError::DuplicateModel(name));
        } else {
            warn!("--model {name} is given twice: it is listed once");
        }
    }
    options.models.model = names;
    Ok(())
}

/// Refuses `*` or `off` beside another origin, which would have no effect.
fn check_origins(origins: &[AllowedOrigin]) -> Result<(), StartError> {
    let are_single = origins.iter().all(|origin| origin.header().is_some());
    if origins.len() < 2 || are_single { Ok(()) } else { Err(StartError::Origins) }
}

/// Refuses rules for keys that exclude each other: one of them would be passed over in silence.
fn check_keys(options: &AuthOptions, keys: &ApiKeys) -> Result<(), StartError> {
    let has_keys = matches!(keys, ApiKeys::Only(_));
    let rules = [(has_keys, "a key"), (options.any_key, "--any-key"), (options.no_auth, "--no-auth")];
    let given: Vec<_> = rules.into_iter().filter_map(|(is_given, rule)| is_given.then_some(rule)).collect();
    match given.as_slice() {
        [first, second, ..] => Err(StartError::KeyRules(first, second)),
        _ => Ok(()),
    }
}

/// Refuses to be open to everyone beyond loopback, unless an option allows it.
fn check_reach(addresses: &Addresses, options: &AuthOptions, keys: &ApiKeys) -> Result<(), StartError> {
    let is_open = matches!(keys, ApiKeys::Open) && !options.no_auth;
    let mut listeners = [Some(addresses.api), addresses.grpc].into_iter().flatten();
    match listeners.find(|address| is_open && !address.ip().is_loopback()) {
        Some(address) => Err(StartError::Open(address)),
        None => Ok(()),
    }
}

/// The engine that `config` asks for.
pub(crate) fn echo(config: &Config) -> Arc<dyn Engine> {
    Arc::new(EchoEngine::new(config.service.reply_prefix.clone()))
}

/// Connections at once to the admin listener.
const ADMIN_CONNECTIONS: usize = 64;
