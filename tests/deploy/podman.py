"""Runs containers of the image, in a separate storage for the tests."""

import os
import subprocess
from pathlib import Path

from server import Server

# As strict as Kubernetes' restricted standard; the image sets the user. "host" is the network namespace of the tests.
FENCE = [
    "--network=host",
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
]


class Podman:
    def __init__(self, directory: Path):
        storage = directory / "storage.conf"
        storage.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{directory}/root"\nrunroot = "{directory}/run"\n'
        )
        self.environment = {
            **os.environ,
            "BUILDER": "buildah",
            "CONTAINERS_CONF": str(Path(__file__).with_name("containers.conf")),
            "CONTAINERS_STORAGE_CONF": str(storage),
        }

    def call(self, *command) -> subprocess.CompletedProcess:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)

    def __call__(self, *arguments) -> str:
        done = self.call("podman", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def healthcheck(self, container: str, *arguments: str) -> int:
        return self.call("podman", "exec", container, "/tokenecho", "healthcheck", *arguments).returncode

    def pid(self, container: str) -> int:
        return int(self("inspect", "--format", "{{.State.Pid}}", container))

    def memory(self, container: str) -> int:
        """Returns the bytes that the kernel counts against a container's memory limit."""
        for line in Path(f"/proc/{self.pid(container)}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                return int(Path(f"/sys/fs/cgroup/memory{path}/memory.usage_in_bytes").read_text())
            if not controllers and Path(f"/sys/fs/cgroup{path}/memory.current").exists():
                return int(Path(f"/sys/fs/cgroup{path}/memory.current").read_text())
        raise AssertionError("the container has no memory controller")

    def clean(self):
        self.call("podman", "pod", "rm", "--all", "--force", "--time=0")
        self.call("podman", "rm", "--all", "--force", "--time=0")
        self.call("podman", "image", "unmount", "--all")


class Container(Server):
    """A container in the foreground: podman forwards its log, its exit code, and the signals sent to it."""

    NAME = "tokenecho"

    def __init__(self, podman: Podman, image: str, *arguments: str, options: tuple[str, ...] = ()):
        self.podman = podman
        run = ["podman", "run", "--rm", "--replace", f"--name={self.NAME}", *FENCE, *options, image, *arguments]
        super().__init__(run, podman.environment)

    @property
    def pid(self) -> int:
        return self.podman.pid(self.NAME)

    def stop(self):
        self.podman.call("podman", "rm", "--force", "--time=0", self.NAME)
        super().stop()
