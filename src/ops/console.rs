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
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::request_log::TARGET;

/// The width of what was requested, of the model, and of the caller.
const WHAT: usize = 25;
const MODEL: usize = 14;
const CALLER: usize = 12;
/// The width of the model's, the tokens' and the TTFT's column together, where a failure's name stands instead.
const FAILURE: usize = MODEL + 2 + TOKENS + 2 + TTFT;
const TOKENS: usize = 10;
const TTFT: usize = 13;

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
    let (what, outcome) = (padded(&what(fields), WHAT), padded(&outcome(fields), FAILURE));
    let mut row = format!("  {what}  {outcome}  {duration:>7}  {caller}");
    // A row has no room for the request's id, except at debug level, where it is worth a longer line.
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
    let failure = match fields.text("error") {
        "" if fields.is_true("left") => "the client left",
        name => name,
    };
    if !failure.is_empty() {
        // Leaves room for the gap and one character of the parameter.
        let failure = clipped(failure, FAILURE - 3);
        let rest = FAILURE - 2 - failure.width();
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
    let model = padded(&clipped(fields.text("model"), MODEL), MODEL);
    format!("{model}  {tokens:>TOKENS$}  {ttft:TTFT$}")
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

/// The text in at most `width` columns; the middle is what it loses.
fn clipped(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let start = first(text.chars(), width / 2);
    let end: Vec<char> = first(text.chars().rev(), width - width / 2 - 1).chars().rev().collect();
    format!("{start}…{}", String::from_iter(end))
}

/// As many of the characters as fit into `width` columns.
fn first(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= width
        })
        .collect()
}

/// The text, filled up with spaces to `width` columns: formatting counts characters, of which some take two columns.
fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
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
        self.0.push((field.name(), printable(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), printable(&format!("{value:?}"))));
    }
}

/// The text with its control, direction and other invisible characters escaped: they could move the cursor or forge a line.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '\'' | '"') { printable.push(c) } else { printable.extend(c.escape_debug()) }
    }
    printable
}

#[cfg(test)]
mod tests {
    use tracing::{info, warn};

    use super::*;
    use crate::ops::logs::tests::Lines;

    struct Noon;

    impl FormatTime for Noon {
        fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
            writer.write_str("12:00:00.000")
        }
    }

    /// What `log` writes, with or without colour.
    fn written(colour: bool, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(colour)
            .with_writer(lines.writer())
            .event_format(Console(Noon))
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        lines.text()
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
    fn columns_stand_under_each_other_whatever_the_width_of_characters() {
        for model in
            ["gpt-4o", "模型模型模型模型模型", "🦙🦙🦙🦙🦙🦙", "한국어모델", "e\u{301}e\u{301}e\u{301}"]
        {
            let row = written(false, || {
                request!(
                    http_status = 200,
                    method = "POST",
                    path = "/v1",
                    model = model,
                    completion_tokens = 16
                );
            });

            let before = row.split(" 16 tok").next().expect("tokens");
            assert_eq!(
                before.width(),
                12 + 2 + 3 + 2 + WHAT + 2 + MODEL + 2 + TOKENS - " 16 tok".len(),
                "{row}"
            );
        }
    }

    #[test]
    fn text_of_callers_can_neither_move_the_cursor_nor_forge_a_line() {
        let text = written(true, || {
            request!(
                http_status = 200,
                method = "GET",
                path = "/a\u{1b}[2J\n12:00:00.000  200  forged",
                model = "\u{202e}x"
            );
            warn!(key = %"\u{1b}[31m\r\nforged", "'simulation' has \u{7}an unknown key");
        });

        assert_eq!(text.lines().count(), 2, "{text:?}");
        let plain = text.replace("\u{1b}[2m", "").replace("\u{1b}[0m", "").replace("\u{1b}[32m", "");
        let plain = plain.replace("\u{1b}[33m", "");
        assert!(plain.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{plain:?}");
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
