"""A tokenecho under test: the binary itself, or a container of the image."""

import json
import os
import queue
import subprocess
import threading
from datetime import datetime
from pathlib import Path

BINARY = Path(os.environ.get("BINARY") or Path(__file__).parents[2] / "target/debug/tokenecho")
PATIENCE = 30


class Server:
    """Runs from construction until stop()."""

    def __init__(self, command: list, environment: dict[str, str]):
        self.log: list[str] = []
        self.is_leaving = False
        # Options in the environment of the test run must not reach the server.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOKENECHO_")}
        self.process = subprocess.Popen(
            command, env={**inherited, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        ready: queue.Queue[bool] = queue.Queue()
        # Read the pipe all the time: a full pipe would block the server.
        self.reader = threading.Thread(target=self._read, args=(ready,), daemon=True)
        self.reader.start()
        try:
            is_ready = ready.get(timeout=PATIENCE)
        except queue.Empty:
            is_ready = False
        if not is_ready:
            self.process.kill()
            self.process.wait()
            raise RuntimeError("the server did not start:\n" + "".join(self.log))

    def _read(self, ready: queue.Queue):
        for line in self.process.stderr:
            self.log.append(line)
            if " is ready" in line:
                ready.put(True)
        ready.put(False)

    @property
    def pid(self) -> int:
        return self.process.pid

    def ready_at(self) -> float:
        """When the server logged that it was ready, in seconds since 1970."""
        [line] = [line for line in self.log if " is ready" in line]
        return datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp()

    def terminate(self):
        """Sends SIGTERM, only once: a second one kills the server."""
        if not self.is_leaving:
            self.is_leaving = True
            self.process.terminate()

    def wait(self, timeout: float = PATIENCE) -> int:
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running {timeout} s after SIGTERM:\n" + "".join(self.log)) from None

    def stop(self):
        """Kills the server at once. A graceful shutdown takes the shutdown delay; separate tests cover it."""
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()
