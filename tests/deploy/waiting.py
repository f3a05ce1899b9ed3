"""Waiting for what happens elsewhere."""

import time


def until(condition, timeout: float):
    """Asks `condition` again and again, and fails when `timeout` seconds have passed without its coming true."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not so within {timeout} s"
        time.sleep(0.02)
