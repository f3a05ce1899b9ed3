//! Finds a request's row of the route table, once, and hands the request to the router of its protocol.
//!
//! Classification and both routers are made from the same rows, in the same pattern language: axum routes by
//! `matchit` too. The routers cannot be merged, as each brings its own "not found".

use axum::Router;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Request, Response, Version, header};
use tonic::codegen::Service as _;

use crate::config::{ListenerOptions, Reflection};
use crate::route::{Access, Endpoint, Protocol, Route, Row};
use crate::service::Service;
use crate::{admin, grpc, http};

/// What a listener serves.
pub(super) struct Routes {
    http_rows: Table,
    grpc_rows: Table,
    http: Router,
    /// The admin listener has none.
    grpc: Option<Router>,
}

impl Routes {
    /// The API, and what every listener serves.
    pub(super) fn api(service: &Service, options: &ListenerOptions) -> Self {
        let metrics = if options.api_metrics { admin::METRICS } else { &[] };
        let rows = || http::ROUTES.iter().chain(admin::PROBES).chain(metrics);
        let reflection = match options.reflection {
            Reflection::Open => Some(Access::Open),
            Reflection::Keyed => Some(Access::Key),
            Reflection::Off => None,
        };
        let reflection_rows = reflection.into_iter().flat_map(|access| {
            let route = Route::grpc(Endpoint::Reflection, access);
            grpc::REFLECTION.into_iter().map(move |path| Row { path, route, handler: () })
        });
        Self {
            http_rows: Table::new(rows().copied(), Route::unknown(Protocol::Http, Access::Key)),
            grpc_rows: Table::new(
                grpc::ROUTES.iter().copied().chain(reflection_rows),
                Route::unknown(Protocol::Grpc, Access::Key),
            ),
            http: http::router(rows(), service.clone()),
            grpc: Some(grpc::router(service.clone(), reflection.is_some())),
        }
    }

    /// What the admin listener serves; nothing there needs a key.
    pub(super) fn admin(service: &Service) -> Self {
        let rows = || admin::PROBES.iter().chain(admin::METRICS);
        Self {
            http_rows: Table::new(rows().copied(), Route::unknown(Protocol::Http, Access::Open)),
            grpc_rows: Table::new(
                std::iter::empty::<Row<()>>(),
                Route::unknown(Protocol::Grpc, Access::Open),
            ),
            http: http::router(rows(), service.clone()),
            grpc: None,
        }
    }

    /// The row of the request with this head.
    pub(super) fn classify(&self, head: &Parts) -> Route {
        let rows = match protocol(head) {
            Protocol::Grpc if self.grpc.is_some() => &self.grpc_rows,
            Protocol::Grpc | Protocol::Http => &self.http_rows,
        };
        rows.find(head.uri.path())
    }

    /// The answer of the protocol's router.
    pub(super) async fn dispatch(&self, protocol: Protocol, request: Request<Body>) -> Response<Body> {
        let router = match protocol {
            Protocol::Grpc => self.grpc.as_ref().unwrap_or(&self.http),
            Protocol::Http => &self.http,
        };
        // axum's routers are always ready.
        router.clone().call(request).await.unwrap_or_else(|never| match never {})
    }
}

/// gRPC is HTTP/2 with a content type of its family; everything else is HTTP.
fn protocol(head: &Parts) -> Protocol {
    let is_grpc = head.version == Version::HTTP_2
        && head.headers.get(header::CONTENT_TYPE).is_some_and(|value| grpc::is_grpc(value.as_bytes()));
    if is_grpc { Protocol::Grpc } else { Protocol::Http }
}

/// The rows of one protocol.
struct Table {
    rows: matchit::Router<Route>,
    /// What a path without a row gets.
    unknown: Route,
}

impl Table {
    fn new<H>(rows: impl IntoIterator<Item = Row<H>>, unknown: Route) -> Self {
        let mut table = matchit::Router::new();
        for row in rows {
            table.insert(row.path, row.route).expect("no two rows have the same path");
        }
        Self { rows: table, unknown }
    }

    fn find(&self, path: &str) -> Route {
        self.rows.at(path).map_or(self.unknown, |found| *found.value)
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;

    /// The answer's HTTP status, and its gRPC status if it has one.
    async fn ask(url: &str, protocol: Protocol) -> (u16, Option<String>) {
        let client = reqwest::Client::builder();
        let request = match protocol {
            Protocol::Http => client.build().expect("a client").get(url),
            Protocol::Grpc => {
                let client = client.http2_prior_knowledge().build().expect("a client");
                client.post(url).header("content-type", "application/grpc").body(&b"\0\0\0\0\0"[..])
            }
        };
        let response = request.send().await.expect("an answer");
        let status = response.headers().get("grpc-status");
        (response.status().as_u16(), status.map(|status| status.to_str().expect("digits").to_owned()))
    }

    #[tokio::test]
    async fn whatever_has_no_open_row_needs_a_key_on_every_listener_and_so_do_unknown_paths() {
        for reflection in [Reflection::Open, Reflection::Keyed, Reflection::Off] {
            let builder = crate::Server::builder().api_key("123").expect("a key");
            let server = builder.configure(|config| config.listeners.reflection = reflection).start().await;
            let server = server.expect("loopback has free ports");
            let routes = Routes::api(&server.service, &server.config.listeners);
            let rows = http::ROUTES.iter().chain(admin::PROBES).chain(admin::METRICS);
            let paths = rows.map(|row| (Protocol::Http, row.path.replace("{*model}", "gpt-4o")));
            let methods = grpc::ROUTES.iter().map(|row| row.path).chain(grpc::REFLECTION);
            let methods = methods.map(|path| (Protocol::Grpc, path.to_owned()));
            let unknown = ["/", "/v1", "/v1/nothing", "/livez/", "/tokenecho.v1.ChatService/Nothing"];
            let unknown = unknown.iter().flat_map(|path| {
                [Protocol::Http, Protocol::Grpc].map(|protocol| (protocol, (*path).to_owned()))
            });

            for (protocol, path) in paths.chain(methods).chain(unknown) {
                let table = if protocol == Protocol::Http { &routes.http_rows } else { &routes.grpc_rows };
                for listener in [server.addresses().api, server.addresses().grpc.expect("a second listener")]
                {
                    let (status, grpc_status) = ask(&format!("http://{listener}{path}"), protocol).await;
                    let is_refused = status == 401 || grpc_status.as_deref() == Some("16");
                    assert_eq!(is_refused, table.find(&path).access == Access::Key, "{path} {reflection:?}");
                }
            }
        }
    }

    #[test]
    fn every_rpc_of_the_contract_has_a_row_and_every_row_its_rpc() {
        let pool = DescriptorPool::decode(crate::pb::FILE_DESCRIPTOR_SET).expect("made by the build");
        let rpcs = pool.services().flat_map(|service| {
            let methods: Vec<_> =
                service.methods().map(|rpc| format!("/{}/{}", service.full_name(), rpc.name())).collect();
            methods
        });
        let mut rpcs: Vec<_> = rpcs.collect();
        let mut rows: Vec<_> = grpc::ROUTES.iter().map(|row| row.path.to_owned()).collect();
        rpcs.sort();
        rows.sort();

        assert_eq!(rows, rpcs);
    }
}
