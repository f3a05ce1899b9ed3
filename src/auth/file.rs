//! Key files: a file of keys, or a directory with a file for each key name, such as a mounted Secret.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{ApiKey, AuthOptions};

/// The largest key file.
const MAX_BYTES: u64 = 1 << 20;

/// Why key files cannot be read; never contains a key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("key file {}: {reason}", place.display())]
pub struct KeyFileError {
    place: PathBuf,
    reason: String,
}

/// Reads the keys at `path`, in the order of lines and of file names.
///
/// # Errors
/// [`KeyFileError`], also without any key.
pub(super) fn read(path: &Path) -> Result<Vec<ApiKey>, KeyFileError> {
    if path.is_dir() { read_directory(path) } else { read_lines(path, str::parse) }
}

/// Each file's name is the name of its keys. Names that begin with `..` are skipped: Kubernetes swaps a Secret by them.
/// Anything that is neither a file nor a directory, such as a dangling link, is an error and does not revoke a key.
fn read_directory(path: &Path) -> Result<Vec<ApiKey>, KeyFileError> {
    let unreadable = |error: io::Error| invalid(path, error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if !file.is_dir() && !name_of(&file).starts_with("..") {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(invalid(path, NO_KEY));
    }
    files.sort();
    let keys = files.iter().map(|file| read_lines(file, |key| ApiKey::named(&name_of(file), key)));
    Ok(keys.collect::<Result<Vec<_>, _>>()?.concat())
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

const NO_KEY: &str = "it holds no key";

/// The keys of a file, one per line, at least one.
fn read_lines(
    path: &Path,
    parse: impl Fn(&str) -> Result<ApiKey, &'static str>,
) -> Result<Vec<ApiKey>, KeyFileError> {
    let unreadable = |error: io::Error| invalid(path, error);
    // Checked before it is opened: opening a pipe waits for a writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(invalid(path, "it is not a file"));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    let length = file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if length as u64 > MAX_BYTES {
        return Err(invalid(path, "it is larger than 1 MiB"));
    }
    let lines = text
        .trim_start_matches('\u{feff}')
        .lines()
        .map(str::trim)
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(|(index, line)| {
        parse(line).map_err(|reason| invalid(path, format!("line {}: {reason}", index + 1)))
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() { Err(invalid(path, NO_KEY)) } else { Ok(keys) }
}

impl KeyFileError {
    /// The error for key files that took too long to read.
    pub fn too_slow(options: &AuthOptions) -> Self {
        invalid(options.api_key_file.as_deref().unwrap_or(Path::new("")), "it cannot be read in time")
    }
}

fn invalid(place: &Path, reason: impl fmt::Display) -> KeyFileError {
    KeyFileError { place: place.to_owned(), reason: reason.to_string() }
}
