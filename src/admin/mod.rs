//! What operators and their tools ask, on the admin listener and in part on the API listeners, never with a key.
//!
//! | path | where | answers |
//! |---|---|---|
//! | `/livez` | every listener | 200 as long as the process can answer |
//! | `/readyz`, `/health` | every listener | 200 while requests are to be sent here, else 503 |
//! | `/version` | every listener | version, commit, compiler |
//! | `/metrics` | admin; with `--api-metrics` everywhere | Prometheus' text format |

mod probes;

pub(crate) use probes::{METRICS, PROBES};
