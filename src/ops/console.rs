//! Logs as text for people: a row for each request, in columns that fit into 110, and a line for everything else.
//!
//! ```text
//! 03:06:07.880  200  POST /v1/chat/completions  gpt-4o              16 tok  ttft 0.1 ms     301 ms  alice
//! 03:06:08.335  404  POST /v1/responses         unknown path                                0.1 ms  alice
//! 03:06:09.001  stopping: 2 streams may go on for 25 s; Ctrl-C again ends them now
//! ```

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::request_log::TARGET;

/// The width of what was requested, of the model, and of the caller.
const WHAT: usize = 25;
const MODEL: usize = 14;
const CALLER: usize = 12;
/// The width of the model's, the tokens' and the TTFT's column together, where a failure's name stands instead.
const FAILURE: usize = MODEL + 2 + 10 + 2 + 13;

const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default();

/// The format of logs on a terminal, with the time as `T` writes it.
pub(super) struct Console<T>(pub T);

impl<S, N, T> FormatEvent<S, N> for Console<T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    T: FormatTime,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        self.0.format_time(&mut Writer::new(&mut time))?;
        write_styled(&mut writer, DIM, &time)?;
        writer.write_str("  ")?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        if metadata.target() == TARGET {
            return write_row(&mut writer, &fields);
        }
        write_message(&mut writer, *metadata.level(), metadata.target(), &fields)
    }
}

/// A request's row: its status in colour, the rest dim.
fn write_row(writer: &mut Writer<'_>, fields: &Fields) -> fmt::Result {
    let status = fields.text("http_status");
    let style = match status.as_bytes().first() {
        Some(b'5') => RED,
        Some(b'4') => YELLOW,
        _ if fields.is_true("left") => YELLOW,
        _ => GREEN,
    };
    write_styled(writer, style, status)?;
    let duration = shown_milliseconds(fields.text("duration_ms"));
    let caller = clipped(fields.text("caller"), CALLER);
    let mut row = format!("  {:WHAT$}  {:FAILURE$}  {duration:>7}  {caller}", what(fields), outcome(fields));
    // To look a request up takes its id, but a row of a terminal has no room for it.
    if LevelFilter::current() >= LevelFilter::DEBUG {
        write!(row, "  {}", fields.text("request_id"))?;
    }
    write_styled(writer, DIM, row.trim_end())?;
    writeln!(writer)
}

/// `POST /v1/models`, `gRPC ListModels`.
fn what(fields: &Fields) -> String {
    let path = fields.text("path");
    let what = match fields.text("protocol") {
        "grpc" => format!("gRPC {}", path.rsplit('/').next().unwrap_or_default()),
        _ => format!("{} {path}", fields.text("method")),
    };
    clipped(&what, WHAT)
}

/// The failure's name and its parameter; or the model, the tokens and the TTFT, as far as there are any.
fn outcome(fields: &Fields) -> String {
    let failure = match clipped(fields.text("error"), FAILURE) {
        none if none.is_empty() && fields.is_true("left") => "the client left".into(),
        failure => failure,
    };
    if !failure.is_empty() {
        let rest = FAILURE.saturating_sub(failure.chars().count() + 2).max(1);
        return format!("{failure}  {}", clipped(fields.text("param"), rest));
    }
    let tokens = match fields.text("completion_tokens") {
        "0" | "" => String::new(),
        tokens => format!("{tokens} tok"),
    };
    let ttft = match fields.text("ttft_ms") {
        "" => String::new(),
        ttft => format!("ttft {}", shown_milliseconds(ttft)),
    };
    let model = clipped(fields.text("model"), MODEL);
    format!("{model:MODEL$}  {tokens:>10}  {ttft:13}")
}

/// A line that is not a request's: its level where it matters, its message, and its fields.
fn write_message(writer: &mut Writer<'_>, level: Level, target: &str, fields: &Fields) -> fmt::Result {
    let message = fields.text("message");
    match level {
        Level::ERROR => write_styled(writer, RED, &format!("error: {message}"))?,
        Level::WARN => write_styled(writer, YELLOW, &format!("warning: {message}"))?,
        Level::INFO => writer.write_str(message)?,
        _ => write_styled(writer, DIM, &format!("{target}: {message}"))?,
    }
    let others = fields.0.iter().filter(|(name, _)| *name != "message");
    let others = others.fold(String::new(), |line, (name, value)| line + "  " + name + "=" + value);
    write_styled(writer, DIM, &others)?;
    writeln!(writer)
}

fn write_styled(writer: &mut Writer<'_>, style: Style, text: &str) -> fmt::Result {
    if writer.has_ansi_escapes() && !text.is_empty() {
        write!(writer, "{style}{text}{style:#}")
    } else {
        writer.write_str(text)
    }
}

/// `0.1 ms`, `301 ms`, `12.3 s`.
fn shown_milliseconds(milliseconds: &str) -> String {
    let milliseconds: f64 = milliseconds.parse().unwrap_or_default();
    match milliseconds {
        few if few < 9.95 => format!("{few:.1} ms"),
        some if some < 9999.5 => format!("{some:.0} ms"),
        many if many < 999_950.0 => format!("{:.1} s", many / 1000.0),
        most => format!("{:.0} s", most / 1000.0),
    }
}

/// The text in at most `width` characters; the middle is what it loses.
fn clipped(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let (first, last) = (width / 2, width - width / 2 - 1);
    let start: String = text.chars().take(first).collect();
    let end: String = text.chars().skip(length - last).collect();
    format!("{start}…{end}")
}

/// The fields of an event, as text.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// The field of this name; empty without one.
    fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| *field == name).map_or("", |(_, value)| value)
    }

    fn is_true(&self, name: &str) -> bool {
        self.text(name) == "true"
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::{info, warn};

    use super::*;

    struct Noon;

    impl FormatTime for Noon {
        fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
            writer.write_str("12:00:00.000")
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `log` writes, with or without colour.
    fn written(colour: bool, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(colour)
            .with_writer(move || writer.clone())
            .event_format(Console(Noon))
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("UTF-8")
    }

    macro_rules! request {
        ($($field:tt)*) => { info!(target: TARGET, $($field)*) };
    }

    fn some_rows() {
        request!(
            http_status = 200,
            protocol = "http",
            method = "POST",
            path = "/v1/chat/completions",
            model = "gpt-4o",
            completion_tokens = 16,
            ttft_ms = 0.12,
            duration_ms = 301.4,
            caller = "alice",
            left = false
        );
        request!(
            http_status = 200,
            protocol = "grpc",
            path = "/tokenecho.v1.ChatService/StreamChatCompletion",
            model = "an-organisation/with-a-long-model-name",
            completion_tokens = 100_000,
            ttft_ms = 1234.0,
            duration_ms = 2_000_123.0,
            caller = "a-caller-with-a-long-name"
        );
        request!(
            http_status = 404,
            protocol = "http",
            method = "POST",
            path = "/v1/responses",
            error = "unknown path",
            duration_ms = 0.08,
            caller = "alice"
        );
        request!(
            http_status = 400,
            protocol = "http",
            method = "POST",
            path = "/v1/chat/completions",
            error = "invalid_value",
            param = "messages[0].content[0].image_url.detail",
            duration_ms = 0.2,
            caller = "alice"
        );
        request!(
            http_status = 500,
            protocol = "grpc",
            path = "/tokenecho.v1.ChatService/StreamChatCompletion",
            error = "asked for: status=500",
            duration_ms = 12.0,
            caller = "alice"
        );
        request!(
            http_status = 200,
            protocol = "http",
            method = "GET",
            path = "/v1/models",
            duration_ms = 0.1,
            caller = "anonymous"
        );
        request!(
            http_status = 200,
            protocol = "http",
            method = "POST",
            path = "/v1/chat/completions",
            model = "gpt-4o",
            completion_tokens = 3,
            ttft_ms = 0.1,
            duration_ms = 62.0,
            caller = "bob",
            left = true
        );
        info!("stopping: 2 streams may go on for 25 s; Ctrl-C again ends them now");
        warn!(lines = 3, "log lines were left out");
    }

    #[test]
    fn a_request_is_a_row_in_columns_and_anything_else_a_line() {
        let text = written(false, some_rows);

        insta::assert_snapshot!(text, @r"
        12:00:00.000  200  POST /v1/chat/completions  gpt-4o              16 tok  ttft 0.1 ms     301 ms  alice
        12:00:00.000  200  gRPC StreamChatCompletion  an-orga…l-name  100000 tok  ttft 1234 ms    2000 s  a-call…-name
        12:00:00.000  404  POST /v1/responses         unknown path                                0.1 ms  alice
        12:00:00.000  400  POST /v1/chat/completions  invalid_value  messages[0].c…e_url.detail   0.2 ms  alice
        12:00:00.000  500  gRPC StreamChatCompletion  asked for: status=500                        12 ms  alice
        12:00:00.000  200  GET /v1/models                                                         0.1 ms  anonymous
        12:00:00.000  200  POST /v1/chat/completions  the client left                              62 ms  bob
        12:00:00.000  stopping: 2 streams may go on for 25 s; Ctrl-C again ends them now
        12:00:00.000  warning: log lines were left out  lines=3
        ");
        assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
    }

    #[test]
    fn the_status_has_a_colour_and_the_rest_is_dim() {
        let text = written(true, some_rows);

        let rows: Vec<_> = text.lines().map(|row| row.replace('\u{1b}', "ESC")).collect();
        assert!(rows[0].starts_with("ESC[2m12:00:00.000ESC[0m  ESC[32m200ESC[0mESC[2m  POST"), "{}", rows[0]);
        assert!(rows[2].contains("ESC[33m404ESC[0m"), "{}", rows[2]);
        assert!(rows[4].contains("ESC[31m500ESC[0m"), "{}", rows[4]);
        assert!(rows[6].contains("ESC[33m200ESC[0m"), "the client left: {}", rows[6]);
        assert!(rows[8].contains("ESC[33mwarning: log lines were left outESC[0m"), "{}", rows[8]);
    }
}
