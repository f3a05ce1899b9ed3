//! Rules that many fields share, with their errors in the API's words.

use std::fmt::Display;

use super::Read;
use crate::error::{InvalidRequest, shown};

/// More items than any field's limit allows, so that errors name that limit; further items are only counted.
pub(crate) const MANY: usize = 4096;

/// Rejects an integer outside its range.
///
/// # Errors
/// `integer_above_max_value`, `integer_below_min_value`.
pub(crate) fn integer(param: &str, value: Option<&i64>, low: i64, high: i64) -> Read<()> {
    match value {
        Some(value) if *value > high => {
            Err(above(param, ("integer", "integer_above_max_value"), high, value))
        }
        Some(value) if *value < low => Err(below(param, ("integer", "integer_below_min_value"), low, value)),
        _ => Ok(()),
    }
}

/// Rejects a number outside its range, and NaN.
///
/// # Errors
/// `decimal_above_max_value`, `decimal_below_min_value`.
pub(crate) fn decimal(param: &str, value: Option<&f64>, low: f64, high: f64) -> Read<()> {
    match value {
        None => Ok(()),
        Some(value) if *value > high => {
            Err(above(param, ("decimal", "decimal_above_max_value"), high, value))
        }
        Some(value) if *value >= low => Ok(()),
        // NaN ends here as well: every comparison with it is false.
        Some(value) => Err(below(param, ("decimal", "decimal_below_min_value"), low, value)),
    }
}

/// Converts a count that has passed [`integer`] with a lower bound of 0 or more.
pub(crate) fn count(value: Option<i64>) -> Option<usize> {
    value.and_then(|value| usize::try_from(value).ok())
}

fn above(
    param: &str,
    (kind, code): (&str, &'static str),
    high: impl Display,
    got: impl Display,
) -> InvalidRequest {
    let what = format!("{kind} above maximum value. Expected a value <= {high}, but got {got} instead.");
    InvalidRequest::invalid(param, code, what)
}

fn below(
    param: &str,
    (kind, code): (&str, &'static str),
    low: impl Display,
    got: impl Display,
) -> InvalidRequest {
    let what = format!("{kind} below minimum value. Expected a value >= {low}, but got {got} instead.");
    InvalidRequest::invalid(param, code, what)
}

/// Rejects a text that is too long, and an empty one if `low` is not 0.
///
/// # Errors
/// `string_above_max_length`, `empty_string`.
pub(crate) fn length(
    param: impl Into<String>,
    text: Option<&(impl AsRef<str> + ?Sized)>,
    low: usize,
    high: usize,
) -> Read<()> {
    let Some(text) = text.map(AsRef::as_ref) else { return Ok(()) };
    if text.is_empty() && low > 0 {
        return Err(empty_string(param));
    }
    // A character has at least one byte, so most texts do not need counting.
    if text.len() > high && text.chars().count() > high {
        let what = format!(
            "string too long. Expected a string with maximum length {high}, but got a string with length {} \
             instead.",
            text.chars().count()
        );
        return Err(InvalidRequest::invalid(param, "string_above_max_length", what));
    }
    Ok(())
}

/// Rejects a word that is not in `allowed`.
///
/// # Errors
/// `invalid_value`, listing the allowed words.
pub(crate) fn one_of(
    param: impl Into<String>,
    value: Option<&(impl AsRef<str> + ?Sized)>,
    allowed: &[&str],
) -> Read<()> {
    match value.map(AsRef::as_ref) {
        Some(value) if !allowed.contains(&value) => Err(unsupported_value(param, value, allowed)),
        _ => Ok(()),
    }
}

/// The error for a word that is not in `allowed`.
pub(crate) fn unsupported_value(param: impl Into<String>, value: &str, allowed: &[&str]) -> InvalidRequest {
    let allowed: Vec<_> = allowed.iter().map(|word| format!("'{word}'")).collect();
    let value = shown(value);
    let message = match allowed.as_slice() {
        [] => format!("Invalid value: '{value}'. No value is supported here."),
        [only] => format!("Invalid value: '{value}'. Supported values are: {only}."),
        [first @ .., last] => {
            format!("Invalid value: '{value}'. Supported values are: {}, and {last}.", first.join(", "))
        }
    };
    InvalidRequest::value(param, message)
}

/// The error for an empty text where text is required.
pub(crate) fn empty_string(param: impl Into<String>) -> InvalidRequest {
    let what = "empty string. Expected a string with minimum length 1, but got an empty string instead.";
    InvalidRequest::invalid(param, "empty_string", what)
}

/// The error for an empty array where an item is required.
pub(crate) fn empty_array(param: impl Into<String>) -> InvalidRequest {
    let what = "empty array. Expected an array with minimum length 1, but got an empty array instead.";
    InvalidRequest::invalid(param, "empty_array", what)
}

/// Rejects an array of more than `most` items.
///
/// # Errors
/// `array_above_max_length`, with both lengths.
pub(crate) fn at_most(param: impl Into<String>, items: usize, most: usize) -> Read<()> {
    if items <= most {
        return Ok(());
    }
    let what = format!(
        "array too long. Expected an array with maximum length {most}, but got an array with length {items} \
         instead."
    );
    Err(InvalidRequest::invalid(param, "array_above_max_length", what))
}
