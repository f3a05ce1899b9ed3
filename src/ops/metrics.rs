//! Every metric's name and labels, once. Labels come from closed sets.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use super::exchange::{Closed, Observer};
use crate::route::{Protocol, Route};

/// What the server counts and measures; clones are the same metrics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    simulated_failures: IntCounterVec,
    streams_open_http: IntGauge,
    streams_open_grpc: IntGauge,
    /// Tokens of prompts.
    pub prompt_tokens: IntCounter,
    /// Tokens generated.
    pub completion_tokens: IntCounter,
    ttft: Histogram,
    /// Seconds between the tokens of a choice, of tokens that have a delay.
    pub itl: Histogram,
    /// Seconds that a token left after it was due, of tokens that have a delay.
    pub lateness: Histogram,
    /// Connections open on all listeners.
    pub connections_open: IntGauge,
    /// Minutes that connections had to wait for another to end.
    pub connections_full: IntCounter,
    /// The same on the admin listener.
    pub admin_connections_full: IntCounter,
    /// Times that a connection came to its limit of HTTP/2 streams.
    pub connections_at_stream_limit: IntCounter,
    /// Times that changed key files could not be read and the old keys stayed.
    pub key_reload_failures: IntCounter,
    auth_failures: IntCounterVec,
}

/// The content type of [`Metrics::render`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The labels of a request's answer.
const ANSWER: &[&str] = &["protocol", "endpoint", "status"];

const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const LATENESS: &[f64] = &[0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero, in a registry of their own.
    pub(crate) fn new() -> Self {
        let all = Registry::new();
        let tokens = counters(&all, "tokenecho_tokens_total", "Tokens, by direction.", &["direction"]);
        let streams_open = gauges(
            &all,
            "tokenecho_streams_open",
            "Generations open, streamed or not, by protocol.",
            &["protocol"],
        );
        Self {
            requests: counters(
                &all,
                "tokenecho_requests_total",
                "Requests ended, by protocol, endpoint and HTTP status or gRPC code; without simulated failures.",
                ANSWER,
            ),
            simulated_failures: counters(
                &all,
                "tokenecho_simulated_failures_total",
                "Requests that failed as they asked to, by protocol, endpoint and HTTP status or gRPC code.",
                ANSWER,
            ),
            // Both series are there from the start, as autoscalers want them.
            streams_open_http: streams_open.with_label_values(&[Protocol::Http.as_str()]),
            streams_open_grpc: streams_open.with_label_values(&[Protocol::Grpc.as_str()]),
            prompt_tokens: tokens.with_label_values(&["prompt"]),
            completion_tokens: tokens.with_label_values(&["completion"]),
            ttft: histogram(
                &all,
                "tokenecho_ttft_seconds",
                "From a request's arrival to its first token.",
                SECONDS,
            ),
            itl: histogram(
                &all,
                "tokenecho_itl_seconds",
                "Between the tokens of a choice, where a delay is asked for.",
                SECONDS,
            ),
            lateness: histogram(
                &all,
                "tokenecho_lateness_seconds",
                "From the time a token was due to its leaving, where a delay is asked for.",
                LATENESS,
            ),
            connections_open: gauge(&all, "tokenecho_connections_open", "Connections open on all listeners."),
            connections_full: counter(
                &all,
                "tokenecho_connections_full_total",
                "Minutes, begun ones included, that connections had to wait because --max-connections were open.",
            ),
            admin_connections_full: counter(
                &all,
                "tokenecho_admin_connections_full_total",
                "Minutes, begun ones included, that connections to the admin listener had to wait for another to end.",
            ),
            connections_at_stream_limit: counter(
                &all,
                "tokenecho_connections_at_stream_limit_total",
                "Times that a connection came to its limit of HTTP/2 streams.",
            ),
            key_reload_failures: counter(
                &all,
                "tokenecho_key_reload_failures_total",
                "Times that changed key files could not be read and the old keys stayed.",
            ),
            auth_failures: counters(
                &all,
                "tokenecho_auth_failures_total",
                "Requests without an accepted key, by reason.",
                &["reason"],
            ),
            registry: all,
        }
    }

    /// Counts a request without an accepted key: `missing` or `wrong`.
    pub(crate) fn auth_failure(&self, reason: &'static str) {
        self.auth_failures.with_label_values(&[reason]).inc();
    }

    /// The gauge of open generations.
    pub(crate) fn streams_open(&self, protocol: Protocol) -> &IntGauge {
        match protocol {
            Protocol::Http => &self.streams_open_http,
            Protocol::Grpc => &self.streams_open_grpc,
        }
    }

    /// How many generations are open.
    pub(crate) fn all_streams_open(&self) -> i64 {
        self.streams_open_http.get() + self.streams_open_grpc.get()
    }

    /// Notes the seconds to a request's first token.
    pub(crate) fn first_token(&self, seconds: f64) {
        self.ttft.observe(seconds);
    }

    /// Everything, in Prometheus' text format 0.0.4.
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("gathered metrics have names and values, and a Vec takes all bytes");
        text
    }
}

impl Observer for Metrics {
    fn closed(&self, closed: &Closed<'_>) {
        let Route { protocol, endpoint, .. } = closed.exchange.route();
        let counter = if closed.is_simulated() { &self.simulated_failures } else { &self.requests };
        counter.with_label_values(&[protocol.as_str(), endpoint.as_str(), closed.status.as_str()]).inc();
    }
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::new(name, help))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name, help))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    register(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
}

fn register<M>(registry: &Registry, metric: prometheus::Result<M>) -> M
where
    M: prometheus::core::Collector + Clone + 'static,
{
    let metric = metric.expect("a metric's name and labels are well-formed");
    registry.register(Box::new(metric.clone())).expect("each metric is registered once");
    metric
}
