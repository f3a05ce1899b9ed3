//! The running version, as `--version` and `GET /version` report it.

/// The crate's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from, `unknown` outside a checkout.
pub(crate) const COMMIT: &str = env!("TOKENECHO_BUILD_COMMIT");
/// The compiler that built it.
pub(crate) const RUSTC: &str = env!("TOKENECHO_BUILD_RUSTC");
/// Version, commit and compiler in one line, for `--version`.
pub(crate) const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("TOKENECHO_BUILD_COMMIT"),
    ", ",
    env!("TOKENECHO_BUILD_RUSTC"),
    ")"
);
