"""The manifests as kustomize renders them, and helpers to query them."""

import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = ["dev", "production", "loadtest"]
# The base with all components, a combination that no overlay has.
EVERYTHING = "everything"
JOB = DEPLOY / "examples/client-job.yaml"


class Manifests(list):
    """The objects of one overlay."""

    def of(self, *kinds: str) -> list[dict]:
        return [object for object in self if object["kind"] in kinds]

    def one(self, kind: str, name: str = "tokenecho") -> dict:
        [object] = [object for object in self.of(kind) if object["metadata"]["name"] == name]
        return object

    @property
    def deployment(self) -> dict:
        return self.one("Deployment")["spec"]

    @property
    def pod(self) -> dict:
        return self.deployment["template"]["spec"]

    @property
    def container(self) -> dict:
        [container] = self.pod["containers"]
        return container

    @property
    def config_map(self) -> dict:
        [config_map] = self.of("ConfigMap")
        return config_map

    @property
    def config_file(self) -> str:
        return self.config_map["data"]["config.yaml"]

    @property
    def config(self) -> dict:
        return yaml.safe_load(self.config_file)

    @property
    def limits(self) -> dict:
        return self.config["limits"]


@functools.cache
def render(overlay: str) -> Manifests:
    if overlay != EVERYTHING:
        return kustomize(DEPLOY / "overlays" / overlay)
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory).resolve()
        deploy = os.path.relpath(DEPLOY, here)
        kustomization = {
            "resources": [f"{deploy}/base"],
            "components": [f"{deploy}/components/{path.name}" for path in sorted((DEPLOY / "components").iterdir())],
        }
        (here / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return kustomize(here)


def kustomize(directory: Path) -> Manifests:
    command = ["kubectl", "kustomize"] if shutil.which("kubectl") else ["kustomize", "build"]
    rendered = subprocess.run([*command, directory], capture_output=True, text=True)
    assert rendered.returncode == 0, rendered.stderr
    assert not rendered.stderr, f"warnings: {rendered.stderr}"
    return Manifests(object for object in yaml.safe_load_all(rendered.stdout) if object)


def seconds(duration: str) -> float:
    """Parses a duration of the config file or the Gateway API: 200ms, 5s, 10m."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()
    return int(number) * units[unit]


def size(text: str) -> int:
    """Parses a size of Kubernetes (256Mi) or the config file (8MiB)."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    number, unit = re.fullmatch(r"(\d+)(Ki|Mi|Gi)B?", text).groups()
    return int(number) * units[unit]
