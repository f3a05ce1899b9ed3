//! Sockets: from bind to goodbye.
//!
//! A [`Server`] has up to three doors: two for the API, which both speak both protocols, and the operators'.
//! `connection` is the one accept loop, `access_log` what every request passes, `routing` the way to what answers
//! it, `drain` the way out.

mod access_log;
mod connection;
mod drain;
pub mod healthcheck;
mod keys;
mod listen;
mod reader;
mod requests;
mod routing;
mod socket;
mod upload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::auth::{ApiKey, ApiKeys, AuthOptions, KeyFileError};
use crate::config::{Config, Port};
use crate::engine::{EchoEngine, Engine};
use crate::service::Service;
use crate::service::lifecycle::{Lifecycle, Phase};
use access_log::AccessLog;
use connection::Connections;
pub use drain::Signals;
use listen::Listeners;
pub use listen::{Addresses, BindError};
use routing::Routes;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Everyone would be served, from everywhere, and nobody said so.
    #[error(
        "refusing to serve {0} without a key: give keys with --api-key (TOKENECHO_API_KEY) or --api-key-file, or say --any-key (some key has to be \
         sent) or --no-auth (none has to)"
    )]
    Open(SocketAddr),
    /// Two rules for keys that exclude each other.
    #[error("{0} and {1} say different things of who is served: choose one")]
    KeyRules(&'static str, &'static str),
    /// Key files that cannot be read, or hold no key.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
}

/// A running server. Dropping it ends everything at once; [`Server::drain`] lets open streams end.
#[derive(Debug)]
pub struct Server {
    service: Service,
    connections: Connections,
    addresses: Addresses,
    config: Config,
    keys: ApiKeys,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.connections.end();
    }
}

impl Server {
    /// A server for tests and programs: the echo on free ports of loopback, without delays, keys or an
    /// operators' door, until told otherwise.
    pub fn builder() -> Builder {
        let mut config = Config::default();
        config.doors.port = 0;
        config.doors.grpc_port = Port::At(0);
        config.doors.admin_port = Some(Port::Off);
        config.service.simulation.ttft = Duration::ZERO;
        config.service.simulation.itl = Duration::ZERO;
        Builder { config, engine: None }
    }

    /// Starts what `config` says, with `engine` behind it; serves as soon as this returns.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config, engine: Arc<dyn Engine>) -> Result<Self, StartError> {
        let keys = ApiKeys::load(&config.auth).await?;
        check_keys(&config.auth, &keys)?;
        let (listeners, addresses) = Listeners::bind(&config.doors).await?;
        check_reach(&addresses, &config.auth, &keys)?;

        let lifecycle = Lifecycle::starting();
        let service = Service::new(engine, config.service.clone(), config.limits.clone(), lifecycle.clone());
        let connections = Connections::new(service.clone());
        let api = AccessLog::new(Routes::api(&service, &config.doors), keys.clone(), service.clone());
        let places = Arc::new(Semaphore::new(service.limits().max_connections()));
        for listener in [Some(listeners.api), listeners.grpc].into_iter().flatten() {
            connections.accept(listener, api.clone(), Arc::clone(&places));
        }
        if let Some(admin) = listeners.admin {
            // Places of its own: operators have to get in when nobody else does.
            let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
            let routes = Routes::admin(&service);
            connections.accept(admin, AccessLog::new(routes, ApiKeys::Open, service.clone()), places);
        }
        if config.auth.api_key_file.is_some() {
            connections.beside(keys::follow(keys.clone(), config.auth.clone(), service.clone()));
        }
        lifecycle.enter(Phase::Ready);
        Ok(Self { service, connections, addresses, config, keys })
    }

    /// Serves until the first of `signals`, then drains; a second one ends the process at once.
    pub async fn run(self, mut signals: Signals) {
        signals.next().await;
        signals.exit_at_next();
        self.drain().await;
    }

    /// Lets open streams end, as [`DoorOptions`](crate::config::DoorOptions) say how long, then ends them in form.
    pub async fn drain(self) {
        drain::drain(self.service.lifecycle(), &self.config.doors, &self.connections).await;
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The keys it accepts.
    pub fn keys(&self) -> &ApiKeys {
        &self.keys
    }

    /// What it was told.
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

    /// Where the operators' door is, if there is one.
    pub fn admin_url(&self) -> Option<String> {
        self.addresses.admin.map(|address| format!("http://{address}"))
    }
}

/// Builds a server in a program; see [`Server::builder`].
#[derive(Clone)]
pub struct Builder {
    config: Config,
    engine: Option<Arc<dyn Engine>>,
}

impl Builder {
    /// Accepts this key too, given as on the command line: `KEY` or `NAME:KEY`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn api_key(mut self, key: &str) -> Result<Self, &'static str> {
        self.config.auth.api_key.push(key.parse::<ApiKey>()?);
        Ok(self)
    }

    /// Puts this engine behind both protocols, in the echo's place.
    pub fn engine(mut self, engine: impl Engine) -> Self {
        self.engine = Some(Arc::new(engine));
        self
    }

    /// Serves this model too; without any, every name is served.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.config.service.models.model.push(name.into());
        self
    }

    /// Waits so long before the first token, and between two.
    pub fn pacing(mut self, ttft: Duration, itl: Duration) -> Self {
        self.config.service.simulation.ttft = ttft;
        self.config.service.simulation.itl = itl;
        self
    }

    /// Changes any other option.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self) -> Result<Server, StartError> {
        let engine = self.engine.unwrap_or_else(|| echo(&self.config));
        Server::start(self.config, engine).await
    }
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

/// Refuses to serve everyone from everywhere, unless that was said.
fn check_reach(addresses: &Addresses, options: &AuthOptions, keys: &ApiKeys) -> Result<(), StartError> {
    let is_open = matches!(keys, ApiKeys::Open) && !options.no_auth;
    let mut doors = [Some(addresses.api), addresses.grpc].into_iter().flatten();
    match doors.find(|address| is_open && !address.ip().is_loopback()) {
        Some(address) => Err(StartError::Open(address)),
        None => Ok(()),
    }
}

/// The engine that `config` asks for.
pub fn echo(config: &Config) -> Arc<dyn Engine> {
    Arc::new(EchoEngine::new(config.service.reply_prefix.clone()))
}

/// Connections at once to the operators' door.
const ADMIN_CONNECTIONS: usize = 64;
