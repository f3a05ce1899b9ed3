"""A server under test: the real binary, in a separate process."""

import json
import os
import queue
import subprocess
import threading
from pathlib import Path

BINARY = os.environ.get("BINARY") or Path(__file__).parents[3] / "target/debug/tokenecho"
KEY = "123"
PREFIX = "As a mock AI Assistant, I can only echo your last message: "


class Server:
    """Runs from construction until stop(). Accepts the key 123 and sends one token per millisecond."""

    def __init__(self, *options: str):
        self.log: list[str] = []
        self.is_leaving = False
        fixed = "--port 0 --grpc-port 0 --admin-port off --log-format json --api-key alice:123 --itl 1ms"
        self.process = subprocess.Popen(
            [BINARY, *fixed.split(), *options],
            # Options in the environment of the test run must not reach the server.
            env={name: value for name, value in os.environ.items() if not name.startswith("TOKENECHO_")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        ready: queue.Queue[dict | None] = queue.Queue()
        # Read the pipe all the time: a full pipe would block the server.
        self.drain = threading.Thread(target=self._drain, args=(ready,), daemon=True)
        self.drain.start()
        try:
            start = ready.get(timeout=20)
        except queue.Empty:
            start = self.process.kill()
        if start is None:
            raise RuntimeError("the server did not start:\n" + "".join(self.log))
        self.api, self.grpc = start["api"], start["grpc"]

    def _drain(self, ready: queue.Queue):
        for line in self.process.stderr:
            self.log.append(line)
            if " is ready" in line:
                ready.put(json.loads(line))
        ready.put(None)

    @property
    def base_url(self) -> str:
        return f"http://{self.api}/v1"

    def terminate(self):
        """Sends SIGTERM and does not wait for the exit. Sends it only once: a second signal kills the server."""
        if not self.is_leaving:
            self.is_leaving = True
            self.process.terminate()

    def stop(self):
        """Sends SIGTERM, waits for the exit, and checks that the exit code is 0."""
        self.terminate()
        try:
            code = self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.drain.join()
        self.process.stderr.close()
        assert code == 0, "".join(self.log)
