"""Builds and runs the image: its content, its restrictions, both protocols, key rotation, shutdown and memory."""

import copy
import json
import os
import resource
import shutil
import socket
from pathlib import Path

import grpc
import pytest
import yaml

from clients import ADMIN, CHAT, HOST, HTTP, Grpc, Stream, client_job, get, probe
from conftest import require, skip
from manifests import DEPLOY, size
from podman import Container, Podman
from test_contract import VERSION
from waiting import until

IMAGE = f"localhost/tokenecho:{VERSION}"
# Makes a stream outlast any drain.
ENDLESS = {"x-mock-itl": "600s"}


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    require("the image", "buildah", "podman", "runc", "readelf")
    if Path("/proc/self/uid_map").read_text().split()[:2] != ["0", "0"]:
        skip("the image", "podman needs root here")
    podman = Podman(tmp_path_factory.mktemp("podman"))
    yield podman
    podman.clean()


@pytest.fixture(scope="module")
def binary() -> Path:
    """The static binary that run.sh built."""
    if "STATIC_BINARY" not in os.environ:
        skip("the image", "STATIC_BINARY is not set")
    return Path(os.environ["STATIC_BINARY"])


@pytest.fixture(scope="module")
def image(podman, binary) -> str:
    built = podman.call(DEPLOY / "build-image.sh", binary, IMAGE)
    assert built.returncode == 0, built.stderr
    return IMAGE


@pytest.fixture
def run(podman, image):
    """Runs a container in the foreground until the test ends."""
    containers = []

    def run(*arguments: str, options: tuple[str, ...] = ()) -> Container:
        containers.append(Container(podman, image, *arguments, options=options))
        return containers[-1]

    yield run
    for container in containers:
        container.stop()


def test_the_image_holds_one_file_and_says_how_to_run_it(podman, image):
    root = Path(podman("image", "mount", image))
    [inspected] = json.loads(podman("inspect", image))
    config = inspected["Config"]

    assert [path.name for path in root.iterdir()] == ["tokenecho"]
    assert config["User"] == "65532:65532"
    assert set(config["ExposedPorts"]) == {"8000/tcp", "50051/tcp", "9464/tcp"}
    assert config["Entrypoint"] == ["/tokenecho"]
    assert config["Labels"]["org.opencontainers.image.version"] == VERSION
    assert inspected["Healthcheck"]["Test"] == ["CMD", "/tokenecho", "healthcheck"]


def test_the_image_is_smaller_than_8_mb(podman, image, binary):
    if "dist" not in binary.parts:
        pytest.skip("the image's size: skipped because the binary was not built with the dist profile")
    [inspected] = json.loads(podman("inspect", image))

    assert inspected["Size"] < 8_000_000


def test_a_binary_that_needs_a_loader_is_refused(podman):
    built = podman.call(DEPLOY / "build-image.sh", shutil.which("env"), "localhost/refused")

    assert built.returncode == 1
    assert "linked dynamically" in built.stderr


def test_without_a_key_it_leaves_and_says_how_to_give_one(podman, image):
    done = podman.call("podman", "run", "--rm", "--network=host", image)

    assert done.returncode == 1
    assert "--api-key" in done.stderr


def test_it_runs_as_nobody_without_capabilities_on_a_root_that_is_read_only(run):
    container = run("--any-key")
    process = Path(f"/proc/{container.pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    mounts = [line.split() for line in (process / "mounts").read_text().splitlines()]

    assert status["Uid"].split() == status["Gid"].split() == ["65532"] * 4
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    [root] = [options for _, target, _, options, *_ in mounts if target == "/"]
    assert "ro" in root.split(",")


def test_both_protocols_answer(run):
    run("--api-key=demo:sk-demo")

    job = client_job("sk-demo")

    assert job.returncode == 0, job.stdout + job.stderr


def test_healthcheck_follows_readiness(podman, run):
    container = run("--any-key", "--shutdown-delay=5s")
    assert podman.healthcheck(container.NAME) == 0
    assert podman.healthcheck(container.NAME, "--grpc") == 0
    assert podman.call("podman", "healthcheck", "run", container.NAME).returncode == 0

    container.terminate()

    until(lambda: podman.healthcheck(container.NAME) == 1, timeout=4)
    assert podman.healthcheck(container.NAME, "--grpc") == 1


class MountedSecret:
    """A directory that changes like a mounted Secret: the kubelet replaces all files at once, by renaming one link."""

    def __init__(self, path: Path):
        self.path = path
        self.path.chmod(0o755)
        self.version = 0

    def write(self, keys: dict[str, str]):
        self.version += 1
        content = self.path / f"..{self.version}"
        content.mkdir()
        for name, key in keys.items():
            file = content / name
            file.write_text(key)
            # The effect of `defaultMode: 0440` and `fsGroup: 65532`.
            os.chown(file, 0, 65532)
            file.chmod(0o440)
        (self.path / "..data_tmp").symlink_to(content.name)
        (self.path / "..data_tmp").rename(self.path / "..data")
        for name in keys:
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        for link in self.path.iterdir():
            if not link.exists():
                link.unlink()
        if self.version > 1:
            shutil.rmtree(self.path / f"..{self.version - 1}")


def test_keys_rotate_without_a_restart_and_without_a_gap(run, tmp_path):
    secret = MountedSecret(tmp_path)
    secret.write({"alice": "old"})
    container = run("--api-key-file=/etc/tokenecho/keys", options=(f"--volume={tmp_path}:/etc/tokenecho/keys:ro",))
    pid = container.pid

    def accepts(key: str) -> bool:
        return get(HTTP, "/v1/models", key)[0] == 200

    assert accepts("old") and not accepts("new")
    open_stream = Stream("old", headers={"x-mock-itl": "800ms"})

    # Overlap: both keys are accepted while callers change over.
    secret.write({"alice": "old", "alice-next": "new"})
    until(lambda: accepts("new"), timeout=10)
    assert accepts("old")

    # Removal: the old key is rejected, and a stream that was opened with it continues.
    secret.write({"alice-next": "new"})
    until(lambda: not accepts("old"), timeout=10)
    assert accepts("new")
    assert list(open_stream)[-1] == "[DONE]"
    assert container.pid == pid


def test_at_sigterm_streams_end_by_themselves_or_in_form_and_the_exit_code_is_0(run):
    container = run("--any-key", "--shutdown-delay=100ms", "--shutdown-timeout=2s")
    clients = [Grpc() for _ in range(3)]
    short = [Stream("any", "a few words") for _ in range(3)]
    endless = [Stream("any", headers=ENDLESS) for _ in range(3)]
    short_calls = [client.stream("any", "a few words") for client in clients]
    endless_calls = [client.stream("any", headers=ENDLESS) for client in clients]
    for call in [*short_calls, *endless_calls]:
        next(call)

    container.terminate()

    assert all(list(stream)[-1] == "[DONE]" for stream in short)
    for stream in endless:
        assert json.loads(list(stream)[-1])["error"]["code"] == "shutting_down"
    for call in short_calls:
        list(call)
        assert call.code() is grpc.StatusCode.OK
    for call in endless_calls:
        with pytest.raises(grpc.RpcError):
            list(call)
        assert call.code() is grpc.StatusCode.UNAVAILABLE
    assert container.wait(timeout=10) == 0


STREAMS = 1000
PROMPT = "word " * 400


def http_streams() -> list:
    """Opens one stream per connection, as HTTP/1 clients do: the most expensive kind. Returns their close functions."""
    body = json.dumps({"stream": True, "messages": [{"role": "user", "content": PROMPT}]})
    head = f"host: {HOST}\r\nauthorization: Bearer any\r\ncontent-type: application/json\r\nx-mock-itl: 600s"
    request = f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sockets = []
    for _ in range(STREAMS):
        sockets.append(socket.create_connection((HOST, HTTP), timeout=20))
        sockets[-1].sendall(request)
        assert b"200 OK" in sockets[-1].recv(4096)
    return [each.close for each in sockets]


def grpc_streams() -> list:
    """Opens all streams over one connection. Returns functions to close them."""
    client = Grpc()
    calls = [client.stream("any", PROMPT, headers=ENDLESS) for _ in range(STREAMS)]
    for call in calls:
        next(call)
    return [call.cancel for call in calls] + [client.close]


@pytest.fixture(scope="module")
def cost(podman, image) -> dict[str, float]:
    """Bytes that the kernel counts against the memory limit: `idle`, and per stream over each protocol."""
    cost = {}
    for protocol, opened in (("http", http_streams), ("grpc", grpc_streams)):
        container = Container(podman, image, "--any-key")
        client_job("any")
        cost["idle"] = podman.memory(container.NAME)
        close = opened()
        assert f'tokenecho_streams_open{{protocol="{protocol}"}} {STREAMS}\n' in get(ADMIN, "/metrics")[1]
        cost[protocol] = (podman.memory(container.NAME) - cost["idle"]) / STREAMS
        for each in close:
            each()
        container.stop()
    return cost


def test_the_memory_limit_holds_the_streams_and_the_bodies(manifests, cost):
    memory = size(manifests.container["resources"]["limits"]["memory"])
    limits = manifests.limits
    bodies = size(limits["max-inflight-body"]) if "max-inflight-body" in limits else memory / 4

    streams = limits["max-generations"] * max(cost["http"], cost["grpc"])

    measured = ", ".join(f"{name} {bytes / 1024:.1f} KiB" for name, bytes in cost.items())
    assert cost["idle"] + streams + bodies <= memory, measured


@pytest.fixture
def pod(podman, image, production, keys, tmp_path):
    """The production overlay's Deployment and ConfigMap, run by `podman play kube`."""
    production = copy.deepcopy(production)
    deployment, config_map = production.one("Deployment"), production.config_map
    spec = deployment["spec"]["template"]["spec"]
    spec["containers"][0]["image"] = image
    # The tests have their own network, where podman maps no ports. And this podman does not support Secrets.
    spec["hostNetwork"] = True
    # A restarted container would never report its exit code.
    spec["restartPolicy"] = "Never"
    del spec["containers"][0]["ports"]
    [volume] = [volume for volume in spec["volumes"] if "secret" in volume]
    del volume["secret"]
    volume["hostPath"] = {"path": str(keys), "type": "Directory"}
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump_all([config_map, deployment]))
    podman("play", "kube", file)
    yield "tokenecho-pod-0-tokenecho"
    podman("play", "kube", "--down", file)


def test_the_rendered_deployment_runs_as_a_pod_and_drains(podman, pod, production):
    until(lambda: "is ready" in podman.call("podman", "logs", pod).stderr, timeout=10)
    [inspected] = json.loads(podman("inspect", pod))
    assert inspected["HostConfig"]["ReadonlyRootfs"] is True
    assert inspected["HostConfig"]["Memory"] == size(production.container["resources"]["limits"]["memory"])
    assert inspected["EffectiveCaps"] in (None, [])
    assert all(probe(production.container, name) for name in ("startupProbe", "livenessProbe", "readinessProbe"))
    assert client_job("sk-demo").returncode == 0
    client = Grpc()
    # Longer than the shutdown delay: these streams are open when the listeners close, and end later.
    streams = [Stream("sk-demo", headers={"x-mock-itl": "500ms"}) for _ in range(3)]
    calls = [client.stream("sk-demo", headers={"x-mock-itl": "500ms"}) for _ in range(3)]
    for call in calls:
        next(call)

    podman("kill", "--signal=TERM", pod)

    until(lambda: client.health(CHAT) == "NOT_SERVING", timeout=2)
    assert all(list(stream)[-1] == "[DONE]" for stream in streams)
    for call in calls:
        list(call)
        assert call.code() is grpc.StatusCode.OK
    assert podman("wait", pod) == "0"
