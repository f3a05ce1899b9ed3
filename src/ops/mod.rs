//! What operators set and see: limits, the memory budget, the phase of the server, logs and metrics.
//!
//! Each request is an [`exchange`]: facts that the layers note on its way, and observers that see them when it closes.

mod console;
pub(crate) mod exchange;
mod json_lines;
pub(crate) mod lifecycle;
pub(crate) mod limits;
pub(crate) mod logs;
pub(crate) mod memory;
pub(crate) mod metrics;
mod request_log;
mod system;

pub(crate) use request_log::RequestLog;
