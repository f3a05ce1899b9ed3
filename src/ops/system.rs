//! What the system allows this process: memory and open files.

/// The memory that this process may use, in bytes, where its control group (v2, then v1) sets a limit.
pub(super) fn memory_limit() -> Option<u64> {
    // Version 1 writes the absence of a limit as a number next to 2^63.
    const UNLIMITED: u64 = 1 << 60;
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
        .filter(|limit| *limit < UNLIMITED)
}

/// Raises the soft limit of open files to the hard one; gives what it is then.
pub(super) fn raise_open_files() -> u64 {
    const ASSUMED: u64 = 1024;
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or(ASSUMED)
}
