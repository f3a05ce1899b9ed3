"""Checks and runs the alerts with Prometheus' own rule checker."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from conftest import require


@pytest.fixture
def rules(everything, tmp_path) -> Path:
    require("alerts", "promtool")
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(everything.one("PrometheusRule")["spec"]))
    return file


def promtool(*arguments) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_alerts_are_well_formed(rules):
    assert "7 rules found" in promtool("check", "rules", rules)


def test_alerts_fire_when_they_should_and_only_then(rules):
    cases = shutil.copy(Path(__file__).with_name("alerts.yaml"), rules.parent)

    promtool("test", "rules", cases)
