"""Shared fixtures: rendered overlays, servers, checks for missing tools, and the closing line."""

import os
import shutil

# The tested servers are never behind a proxy.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

import pytest

from manifests import EVERYTHING, OVERLAYS, render
from server import BINARY, Server


def skip(step: str, reason: str):
    """Skips a step and reports it; in CI this is a failure."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{step}: skipped because {reason}")


def require(step: str, *tools: str):
    """Skips a step if any of its tools is missing, and reports which."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        skip(step, f"these tools are missing: {' and '.join(missing)}")


@pytest.fixture(scope="session")
def kustomize():
    if not shutil.which("kustomize"):
        require("rendering the overlays", "kubectl")


@pytest.fixture(params=[*OVERLAYS, EVERYTHING])
def manifests(request, kustomize):
    return render(request.param)


@pytest.fixture
def production(kustomize):
    return render("production")


@pytest.fixture
def everything(kustomize):
    return render(EVERYTHING)


@pytest.fixture
def keys(tmp_path):
    """The Secret's directory, with the key `sk-demo` under the key name `demo`."""
    directory = tmp_path / "keys"
    directory.mkdir()
    (directory / "demo").write_text("sk-demo\n")
    return directory


@pytest.fixture
def start(tmp_path, keys):
    """Starts the binary as an overlay's container does, with the image's environment."""
    servers = []

    def start(manifests, **environment: str) -> Server:
        config = tmp_path / "config.yaml"
        config.write_text(manifests.config_file.replace("/etc/tokenecho/keys", str(keys)))
        arguments = [
            argument.replace("/etc/tokenecho/config", str(tmp_path)) for argument in manifests.container["args"]
        ]
        image = {"TOKENECHO_HOST": "0.0.0.0", "TOKENECHO_ADMIN_HOST": "0.0.0.0"}
        servers.append(Server([BINARY, *arguments], {**image, **environment}))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def pytest_terminal_summary(terminalreporter):
    """Builds the closing line, which counts errors as failures."""
    count = {outcome: len(reports) for outcome, reports in terminalreporter.stats.items()}
    for reason in dict.fromkeys(report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(reason.removeprefix("Skipped: "))
    failed = count.get("failed", 0) + count.get("error", 0)
    line = f"{count.get('passed', 0)} passed, {failed} failed"
    if count.get("skipped"):
        line += f", {count['skipped']} skipped"
    terminalreporter.config.closing_line = line


def pytest_unconfigure(config):
    print(getattr(config, "closing_line", "0 passed, 1 failed"))
