//! The `tokenecho` binary: the allocator of static builds, and the library's command line.

use std::process::ExitCode;

// musl's own allocator takes one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tokenecho::cli::main()
}
