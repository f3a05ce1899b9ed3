//! The output at startup: the server's addresses, and example calls to paste.

use tracing::info;

use crate::auth::ApiKeys;
use crate::server::{Addresses, Server};
use crate::units;

/// Logs the addresses and settings of `server`.
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
        "tokenecho {} is ready", crate::version::VERSION
    );
}

/// Example calls to paste. Configured keys are not shown.
pub(super) fn calls(server: &Server) -> String {
    let key = if matches!(server.keys(), ApiKeys::Only(_)) { "YOUR_KEY" } else { "any" };
    let base = server.base_url();
    let grpc = server.grpc_endpoint();
    let grpc = grpc.trim_start_matches("http://");
    format!(
        r#"
  export OPENAI_BASE_URL={base} OPENAI_API_KEY={key}

  curl -N $OPENAI_BASE_URL/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" \
    -H 'Content-Type: application/json' \
    -d '{{"model":"mock-gpt-model","stream":true,"messages":[{{"role":"user","content":"Hello there"}}]}}'

  grpcurl -plaintext -H "authorization: Bearer $OPENAI_API_KEY" \
    -d '{{"messages":[{{"role":"ROLE_USER","text":"Hello there"}}]}}' \
    {grpc} tokenecho.v1.ChatService/StreamChatCompletion

"#
    )
}
