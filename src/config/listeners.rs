//! The listeners' options.

use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderValue, Uri};
use clap::builder::{BoolishValueParser, Resettable};

use crate::units::duration;

/// Where to listen and how to shut down.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Listeners")]
pub struct ListenerOptions {
    /// Address of the API; needs keys beyond loopback
    ///
    /// Example: --host 0.0.0.0
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1", help_heading = Resettable::Reset)]
    pub host: String,

    /// Port of the API, both protocols; 0 for a free one
    ///
    /// Example: --port 8080
    #[arg(long, value_name = "PORT", default_value_t = 8000, value_parser = port, help_heading = Resettable::Reset)]
    pub port: u16,

    /// A second such port; `off` for none
    ///
    /// Kubernetes and gateways expect one protocol per port. The same number as --port means one listener.
    /// Example: --grpc-port off
    #[arg(long, value_name = "PORT|off", default_value = "50051", help_heading = Resettable::Reset)]
    pub grpc_port: Port,

    /// Address of the admin listener
    ///
    /// Example: --admin-host 0.0.0.0
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1", hide_short_help = true)]
    pub admin_host: String,

    /// Port of the admin listener (probes, /metrics; no key); `off` for none [default: 9464]
    ///
    /// If the default port is in use, the server logs a warning and runs without it; a configured port must be free.
    /// Example: --admin-port 9000
    #[arg(long, value_name = "PORT|off", hide_short_help = true)]
    pub admin_port: Option<Port>,

    /// Serve /metrics on the API listeners too, without a key
    #[arg(long, default_value = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true,
        value_name = "BOOL", value_parser = BoolishValueParser::new(), hide_short_help = true, hide_default_value = true)]
    pub api_metrics: bool,

    /// Origin of web pages that may call the API (repeatable); `*` for any, `off` for none [default: any with keys, else loopback hosts]
    ///
    /// Sets the CORS headers that browsers ask for. Cookies are never allowed.
    /// Example: --allowed-origin `https://app.example.com`
    #[arg(long, value_name = "ORIGIN|*|off", hide_short_help = true)]
    pub allowed_origin: Vec<AllowedOrigin>,

    /// gRPC reflection: open to everyone, only with a key, or off
    ///
    /// Example: --reflection off
    #[arg(long, value_enum, value_name = "MODE", default_value = "open", hide_short_help = true)]
    pub reflection: Reflection,

    /// Time after SIGTERM in which requests are still served, while readiness already fails
    ///
    /// Example: --shutdown-delay 5s
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration, hide_short_help = true)]
    pub shutdown_delay: Duration,

    /// Time after that in which open streams may finish, before they end with an error
    ///
    /// Example: --shutdown-timeout 60s
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = duration, hide_short_help = true)]
    pub shutdown_timeout: Duration,
}

impl ListenerOptions {
    /// The default port of the admin listener.
    pub const ADMIN_PORT: u16 = 9464;
}

/// A port, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// This port; 0 for a free one.
    At(u16),
    /// Not listening.
    Off,
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            number => port(number).map(Self::At).map_err(|error| error + ", nor off"),
        }
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("`{text}` is not a port from 0 to 65535"))
}

/// A page that may call, by its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// Pages of this origin, as browsers write it: `https://app.example.com`.
    Origin(HeaderValue),
    /// All pages.
    Any,
    /// No page.
    Off,
}

impl AllowedOrigin {
    /// The origin, where it is a single one.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        match self {
            Self::Origin(origin) => Some(origin.clone()),
            Self::Any | Self::Off => None,
        }
    }
}

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "*" => return Ok(Self::Any),
            "off" => return Ok(Self::Off),
            _ => {}
        }
        let invalid = || {
            format!(
                "`{text}` is not an origin such as https://app.example.com or http://localhost:3000, nor * or off"
            )
        };
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.authority()) else { return Err(invalid()) };
        let origin = format!("{scheme}://{host}");
        let has_port = host.as_str().len() > host.host().len();
        let is_host = !host.as_str().contains(['@', '*']) && (!has_port || host.port_u16().is_some());
        if origin != text || !is_host {
            return Err(invalid());
        }
        // Browsers leave out the scheme's default port.
        let port = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => "",
        };
        let origin = origin.strip_suffix(port).unwrap_or(&origin).to_ascii_lowercase();
        HeaderValue::from_str(&origin).map(Self::Origin).map_err(|_| invalid())
    }
}

/// Who may use gRPC reflection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Reflection {
    /// Any caller.
    Open,
    /// Callers with a key.
    Keyed,
    /// Not served.
    Off,
}
