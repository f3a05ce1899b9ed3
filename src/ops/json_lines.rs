//! Logs as JSON for machines: one object a line, with the event's fields beside its time, level and message.
//!
//! Not tracing-subscriber's own format: it hands every key and value through serde and a formatter, which made the line of a
//! request a sixth of what the request costs.

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format of logs for machines.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // A request's line is about 500 bytes.
        let mut line = String::with_capacity(768);
        line.push_str("{\"timestamp\":\"");
        write!(line, "{}", humantime::format_rfc3339_micros(SystemTime::now()))?;
        line.push_str("\",\"level\":\"");
        line.push_str(event.metadata().level().as_str());
        line.push('"');
        event.record(&mut Fields(&mut line));
        line.push_str("}\n");
        writer.write_str(&line)
    }
}

/// Writes fields as they are visited, each behind a comma.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    fn name(&mut self, field: &Field) {
        self.0.push_str(",\"");
        self.0.push_str(field.name());
        self.0.push_str("\":");
    }

    fn text(&mut self, text: &str) {
        let is_plain = text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
        if is_plain {
            self.0.push('"');
            self.0.push_str(text);
            self.0.push('"');
        } else {
            self.0.push_str(&serde_json::Value::from(text).to_string());
        }
    }

    fn shown(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        // A String takes all text.
        let _ = write!(self.0, "{value}");
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        self.text(value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        self.0.push_str(if value { "true" } else { "false" });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.shown(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.shown(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            // Debug: `2.0` stays a fraction.
            self.shown(field, format_args!("{value:?}"));
        } else {
            self.name(field);
            self.0.push_str("null");
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        let text = format!("{value:?}");
        self.text(&text);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tracing::info;

    use super::*;
    use crate::ops::logs::tests::Lines;

    #[test]
    fn a_line_is_an_object_with_every_field_by_its_type() {
        let lines = Lines::default();
        let subscriber =
            tracing_subscriber::fmt().with_writer(lines.writer()).event_format(JsonLines).finish();
        tracing::subscriber::with_default(subscriber, || {
            info!(
                text = "a\"b\\c\n\u{1b}é", some = Some("x"), none = None::<&str>, is = true, count = 3, less = -3,
                part = 0.25, whole = 2.0, none_at_all = f64::NAN, shown = %"d\te", "it is {}", "so"
            );
        });

        let text = lines.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        let mut line: Value = serde_json::from_str(&text).expect("JSON");
        let time = line["timestamp"].take();
        let time = time.as_str().expect("a time");
        assert!(
            humantime::parse_rfc3339(time).is_ok() && time.len() == "2026-11-27T07:42:51.147729Z".len(),
            "{time}"
        );
        assert_eq!(
            line,
            json!({
                "timestamp": null, "level": "INFO", "message": "it is so", "text": "a\"b\\c\n\u{1b}é", "some": "x",
                "is": true, "count": 3, "less": -3, "part": 0.25, "whole": 2.0, "none_at_all": null, "shown": "d\te"
            })
        );
    }
}
