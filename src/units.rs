//! Durations and sizes with their units: `50ms`, `2s`, `32MiB`; a bare `0` needs no unit.

use std::time::Duration;

/// The longest delay or limit; it also keeps every deadline within a clock's range.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a duration with its unit.
///
/// # Errors
/// A sentence with what was expected.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = any_duration(text)?;
    if duration > LONGEST {
        return Err(format!("`{text}` is longer than a day"));
    }
    Ok(duration)
}

/// Reads a duration with its unit, however long it is.
///
/// # Errors
/// A sentence with what was expected.
pub(crate) fn any_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is not a duration with a unit, such as 50ms or 2s"))
}

/// Reads a time to wait for something, which must not be zero.
///
/// # Errors
/// A sentence with what was expected.
pub(crate) fn patience(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than zero".into()),
        patience => Ok(patience),
    }
}

/// Writes a duration with its units, as [`duration`] reads it.
pub(crate) fn shown(duration: Duration) -> impl std::fmt::Display {
    humantime::format_duration(duration)
}

/// Writes a duration for people, with a space before each unit: `20 ms`, `1 s 500 ms`.
pub(crate) fn spaced(duration: Duration) -> String {
    let (mut spaced, mut before) = (String::new(), ' ');
    for c in shown(duration).to_string().chars() {
        if before.is_ascii_digit() && c.is_alphabetic() {
            spaced.push(' ');
        }
        spaced.push(c);
        before = c;
    }
    spaced
}

/// Writes a size in bytes with its largest binary unit that leaves a whole number: `512 MiB`.
pub(crate) fn shown_size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, "bytes"));
    format!("{} {name}", bytes / unit)
}

/// Reads a size in bytes with its unit, binary (`KiB`, `MiB`, `GiB`) or decimal (`kB`, `MB`, `GB`).
///
/// # Errors
/// A sentence with what was expected.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let invalid = || format!("`{text}` is not a size with a unit, such as 512KiB or 32MiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| invalid())?;
    let unit = match text[digits..].trim_start().to_ascii_lowercase().as_str() {
        "" if number == 0 => 1,
        "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(invalid()),
    };
    number.checked_mul(unit).ok_or_else(invalid)
}

/// Reads a size that limits something, which must not be zero.
///
/// # Errors
/// A sentence with what was expected.
pub(crate) fn some_size(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err("must be larger than zero".into()),
        size => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_zero_needs_no_unit_and_anything_else_does() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(duration("50").is_err());
        assert!(duration("-1s").is_err());
        assert!(duration("1000y").is_err());
        assert_eq!(size("0"), Ok(0));
        assert!(size("32").is_err());
    }

    #[test]
    fn durations_and_sizes_are_written_for_people() {
        assert_eq!(spaced(Duration::from_millis(20)), "20 ms");
        assert_eq!(spaced(Duration::from_millis(61_500)), "1 m 1 s 500 ms");
        assert_eq!(spaced(Duration::ZERO), "0 s");
        assert_eq!(shown_size(512 << 20), "512 MiB");
        assert_eq!(shown_size(1500), "1500 bytes");
    }

    #[test]
    fn sizes_are_binary_or_decimal_by_their_unit() {
        assert_eq!(size("32MiB"), Ok(32 << 20));
        assert_eq!(size("5 kB"), Ok(5_000));
        assert!(size("99999999999GiB").is_err());
    }
}
