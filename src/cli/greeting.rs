//! The output at startup: the server's addresses and settings, and example calls to paste.

use tracing::info;

use crate::auth::ApiKeys;
use crate::config::{Config, Reflection};
use crate::server::{Addresses, Server};
use crate::units;
use crate::version::VERSION;

/// Logs the addresses and settings of `server`, as one record for machines.
pub(super) fn log(server: &Server) {
    let config = server.config();
    let Addresses { api, grpc, admin } = server.addresses();
    let address = |address: Option<std::net::SocketAddr>| address.map(|address| address.to_string());
    let keys = server.keys();
    let accepted = match keys {
        ApiKeys::Only(_) => format!("{} configured", keys.count()),
        ApiKeys::Any => "any key".into(),
        ApiKeys::Open => "none required".into(),
    };
    let models = match config.service.models.model.as_slice() {
        [] => "any".into(),
        models => models.join(","),
    };
    info!(
        api = %api,
        grpc = address(grpc),
        admin = address(admin),
        keys = accepted,
        models,
        ttft = %units::shown(config.service.simulation.ttft),
        itl = %units::shown(config.service.simulation.itl),
        "tokenecho {VERSION} is ready"
    );
}

/// The same for people: two lines, then example calls to paste. Configured keys are not shown.
pub(super) fn text(server: &Server) -> String {
    let name = format!("tokenecho {VERSION}");
    let addresses = [
        Some(server.base_url()),
        server.addresses().grpc.map(|grpc| format!("gRPC {grpc}")),
        server.admin_url().map(|admin| format!("metrics {admin}/metrics")),
    ];
    let config = server.config();
    let settings = [keys(server.keys()), models(config), pacing(config)];
    let addresses = addresses.into_iter().flatten().collect::<Vec<_>>().join(GAP);
    let indent = " ".repeat(name.len());
    format!("{name}{GAP}{addresses}\n{indent}{GAP}{}\n{}\n", settings.join(GAP), calls(server))
}

const GAP: &str = "   ";

fn keys(keys: &ApiKeys) -> String {
    match (keys, keys.count()) {
        (ApiKeys::Only(_), 1) => "1 key".into(),
        (ApiKeys::Only(_), count) => format!("{count} keys"),
        (ApiKeys::Any, _) => "any key".into(),
        (ApiKeys::Open, _) => "no key needed".into(),
    }
}

fn models(config: &Config) -> String {
    match config.service.models.model.as_slice() {
        [] => "any model".into(),
        [model] => format!("model {model}"),
        models => format!("models {}", models.join(", ")),
    }
}

fn pacing(config: &Config) -> String {
    let (ttft, itl) = (config.service.simulation.ttft, config.service.simulation.itl);
    let first = if ttft.is_zero() { "at once".into() } else { format!("after {}", units::spaced(ttft)) };
    if itl.is_zero() {
        format!("all tokens {first}")
    } else {
        format!("first token {first}, then every {}", units::spaced(itl))
    }
}

/// Example calls, which work as they are where no key is configured. A key that the shell already has stays.
fn calls(server: &Server) -> String {
    let key = if matches!(server.keys(), ApiKeys::Only(_)) { "YOUR_KEY" } else { "any" };
    let base = server.base_url();
    let grpc = server.grpc_endpoint();
    let grpc = grpc.trim_start_matches("http://");
    let model = serde_json::Value::from(server.default_model()).to_string().replace('\'', r"'\''");
    let curl = format!(
        r#"
  export OPENAI_BASE_URL={base} OPENAI_API_KEY="${{OPENAI_API_KEY:-{key}}}"

  curl -N $OPENAI_BASE_URL/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" \
    -H 'Content-Type: application/json' \
    -d '{{"model":{model},"stream":true,"messages":[{{"role":"user","content":"Hello there"}}]}}'
"#
    );
    if server.config().listeners.reflection == Reflection::Off {
        // grpcurl learns the contract from there.
        return curl;
    }
    format!(
        r#"{curl}
  grpcurl -plaintext -H "authorization: Bearer $OPENAI_API_KEY" \
    -d '{{"model":{model},"messages":[{{"role":"ROLE_USER","text":"Hello there"}}]}}' \
    {grpc} tokenecho.v1.ChatService/StreamChatCompletion
"#
    )
}
