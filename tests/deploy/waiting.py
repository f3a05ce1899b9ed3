"""Waits for events in other processes."""

import time


def until(condition, timeout: float):
    """Polls `condition` until it is true, and fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"the condition was not true within {timeout} s"
        time.sleep(0.02)
