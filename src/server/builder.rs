//! Builds a server in a program.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::{Server, StartError, echo};
use crate::auth::ApiKey;
use crate::config::{Config, Port};
use crate::engine::Engine;

/// Builds a server in a program: the echo on free ports of loopback, without delays, keys or an admin listener, unless
/// it is configured otherwise.
pub struct Builder {
    config: Config,
    engine: Option<Arc<dyn Engine>>,
    listener: Option<TcpListener>,
}

impl Builder {
    pub(super) fn new() -> Self {
        let mut config = Config::default();
        config.listeners.port = 0;
        config.listeners.grpc_port = Port::At(0);
        config.listeners.admin_port = Some(Port::Off);
        config.service.simulation.ttft = Duration::ZERO;
        config.service.simulation.itl = Duration::ZERO;
        Self { config, engine: None, listener: None }
    }

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

    /// Serves the API on a socket that is bound already, in place of one of its own; `--host` and `--port` do not count
    /// then. The second listener stays.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    /// let address = listener.local_addr()?;
    ///
    /// let server = tokenecho::Server::builder().listener(listener).start().await?;
    ///
    /// assert_eq!(server.addresses().api, address);
    /// # Ok(())
    /// # }
    /// ```
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
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
        Server::start_on(self.listener, self.config, engine).await
    }
}
