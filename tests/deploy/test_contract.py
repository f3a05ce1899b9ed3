"""Checks the manifests against the real binary."""

import copy
import re
import subprocess
import tomllib

import pytest
import yaml

from clients import ADMIN, CHAT, GRPC, HTTP, Grpc, Stream, client_job, get, probe
from manifests import DEPLOY, ROOT, render
from server import BINARY
from waiting import until

VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def value(metric: str) -> int:
    """The value of a metric that has no labels."""
    [value] = re.findall(rf"^{metric} (\d+)$", get(ADMIN, "/metrics")[1], re.M)
    return int(value)


def statuses(counter: str) -> set[str]:
    """The values of the label `status` under which a counter counts."""
    return set(re.findall(rf'^{counter}\{{.*status="(\w+)"', get(ADMIN, "/metrics")[1], re.M))


def alerted_statuses(manifests, alert: str) -> set[str]:
    """The statuses that an alert looks for."""
    groups = manifests.one("PrometheusRule")["spec"]["groups"]
    [expression] = [rule["expr"] for group in groups for rule in group["rules"] if rule["alert"] == alert]
    return set(re.search(r'status=~"([^"]+)"', expression).group(1).split("|"))


def listening() -> set[int]:
    """All ports with a listener in this network namespace, which belongs to the tests."""
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as lines:
            for line in list(lines)[1:]:
                _, local, _, state, *_ = line.split()
                if state == "0A":
                    ports.add(int(local.rsplit(":")[-1], 16))
    return ports


def test_a_pod_s_command_and_settings_start_the_server_on_the_ports_named(manifests, start):
    start(manifests)

    assert listening() == {port["containerPort"] for port in manifests.container["ports"]} == {HTTP, GRPC, ADMIN}
    assert all(probe(manifests.container, name) for name in PROBES)


def test_a_setting_that_the_server_does_not_know_would_be_noticed(production, start):
    production = copy.deepcopy(production)
    production.config_map["data"]["config.yaml"] += "  max-genrations: 5\n"

    with pytest.raises(RuntimeError, match="max-genrations"):
        start(production)


def test_the_services_that_probes_and_routes_name_are_those_of_the_proto_files(everything, start):
    start(everything)
    protos = (ROOT / "proto/tokenecho/v1").glob("*.proto")
    written = {
        f"tokenecho.v1.{name}" for proto in protos for name in re.findall(r"^service (\w+)", proto.read_text(), re.M)
    }
    rules = everything.one("GRPCRoute")["spec"]["rules"]
    routed = {match["method"]["service"] for rule in rules for match in rule["matches"]}

    client = Grpc()
    served = {service for service in client.services() if not service.startswith("grpc.reflection.")}

    assert served == routed == written | {"grpc.health.v1.Health"}
    assert everything.container["readinessProbe"]["grpc"]["service"] == CHAT
    assert {client.health(service) for service in written} == {"SERVING"}
    client.close()


def test_at_sigterm_a_pod_turns_unready_at_once_and_still_serves_and_lives(production, start):
    server = start(production)

    server.terminate()

    until(lambda: not probe(production.container, "readinessProbe"), timeout=2)
    assert probe(production.container, "livenessProbe")
    assert list(Stream("sk-demo"))[-1] == "[DONE]"
    assert server.wait() == 0


def test_a_draining_pod_is_alive_until_its_last_stream_has_ended(production, start):
    server = start(production, TOKENECHO_SHUTDOWN_DELAY="100ms")
    stream = Stream("sk-demo", headers={"x-mock-itl": "200ms"})

    server.terminate()

    until(lambda: not {HTTP, GRPC} & listening(), timeout=2)
    assert probe(production.container, "livenessProbe")
    assert get(ADMIN, "/metrics")[0] == 200
    assert list(stream)[-1] == "[DONE]"
    assert server.wait() == 0


def test_a_pod_whose_connections_are_all_taken_is_alive_but_not_ready(production, start):
    start(production, TOKENECHO_MAX_CONNECTIONS="2")
    assert value("tokenecho_connections_full_total") == 0
    streams = [Stream("sk-demo", headers={"x-mock-itl": "10s"}) for _ in range(2)]

    assert not probe(production.container, "readinessProbe")
    assert probe(production.container, "startupProbe")
    assert probe(production.container, "livenessProbe")
    assert value("tokenecho_connections_full_total") > 0

    for stream in streams:
        stream.close()
    until(lambda: probe(production.container, "readinessProbe"), timeout=10)


def test_the_client_job_passes_with_a_key_and_fails_without(production, start):
    start(production)

    accepted, refused = client_job("sk-demo"), client_job("wrong")

    assert accepted.returncode == 0, accepted.stderr
    assert "data: [DONE]" in accepted.stdout and "grpc-status: 0" in accepted.stdout
    assert refused.returncode != 0


def test_the_loadtest_target_takes_any_key_but_asks_for_one(start, kustomize):
    start(render("loadtest"))

    assert client_job("whatever").returncode == 0
    assert get(HTTP, "/v1/models")[0] == 401


def test_metrics_are_on_the_operators_port_and_on_the_api_port_only_behind_an_inference_gateway(
    production, everything, start
):
    server = start(production)
    assert get(ADMIN, "/metrics")[0] == 200
    assert get(HTTP, "/metrics", key="sk-demo")[0] == 404
    server.stop()

    start(everything)
    assert get(HTTP, "/metrics")[0] == 200


def test_the_metrics_that_alerts_and_autoscalers_ask_for_are_the_server_s(everything, start):
    start(everything)
    asked = yaml.safe_dump([*everything.of("PrometheusRule", "HorizontalPodAutoscaler")])
    asked += (DEPLOY / "components/hpa/prometheus-adapter-rule.yaml").read_text()
    wanted = {re.sub("_bucket$", "", name) for name in re.findall(r"tokenecho_[a-z_]+", asked)}

    # A counter with labels appears only after its first increment.
    client_job("sk-demo")
    client_job("wrong")
    _, text = get(ADMIN, "/metrics")

    assert wanted <= set(re.findall(r"^# TYPE (\w+)", text, re.M))
    assert {'tokenecho_streams_open{protocol="grpc"} 0', 'tokenecho_streams_open{protocol="http"} 0'} <= set(
        text.splitlines()
    )


def test_the_statuses_that_alerts_look_for_are_spelt_as_the_server_counts_them(production, start):
    start(production, TOKENECHO_MAX_GENERATIONS="1")

    first = Stream("sk-demo", headers={"x-mock-itl": "10s"})
    assert Stream("sk-demo").status == 429
    client = Grpc()
    assert client.stream("sk-demo").code().name == "RESOURCE_EXHAUSTED"
    first.close()
    client.close()

    assert alerted_statuses(production, "TokenechoFull") <= statuses("tokenecho_requests_total")


def test_failures_that_a_caller_requests_reach_no_alert(production, start):
    start(production)
    alerted = alerted_statuses(production, "TokenechoFull") | alerted_statuses(production, "TokenechoFaults")

    client = Grpc()
    for status, code in ((429, "RESOURCE_EXHAUSTED"), (500, "INTERNAL")):
        headers = {"x-mock-status": str(status)}
        assert Stream("sk-demo", headers=headers).status == status
        assert client.stream("sk-demo", headers=headers).code().name == code
    client.close()

    # No real failure can be provoked for TokenechoFaults; both counters spell a status in the same way.
    until(lambda: statuses("tokenecho_simulated_failures_total") == alerted, timeout=2)
    assert not alerted & statuses("tokenecho_requests_total")


def test_every_version_named_is_the_crate_s(manifests):
    assert manifests.container["image"] == f"tokenecho:{VERSION}"
    named = {
        (path.name, version)
        for path in DEPLOY.rglob("*")
        if path.is_file()
        for version in re.findall(r"(?:tokenecho:|VERSION=|newTag: )(\d+\.\d+\.\d+)", path.read_text())
    }
    assert {"Dockerfile", "compose.yaml", "kustomization.yaml"} <= {name for name, _ in named}
    assert {version for _, version in named} == {VERSION}


def test_every_variable_that_image_and_compose_file_set_is_an_option():
    options = set(re.findall(r"--([a-z-]+)", subprocess.check_output([BINARY, "--help"], text=True)))
    text = (DEPLOY / "Dockerfile").read_text() + (DEPLOY / "compose.yaml").read_text()
    variables = set(re.findall(r"TOKENECHO_([A-Z_]+)", text)) - {"BUILD_COMMIT"}

    assert {"HOST", "ADMIN_HOST", "API_KEY"} <= variables
    assert {name.lower().replace("_", "-") for name in variables} <= options


def test_the_image_listens_on_all_addresses_because_probes_come_from_outside_the_pod():
    hosts = dict(re.findall(r"(TOKENECHO_\w*HOST)=(\S+)", (DEPLOY / "Dockerfile").read_text()))

    assert hosts == {"TOKENECHO_HOST": "0.0.0.0", "TOKENECHO_ADMIN_HOST": "0.0.0.0"}


def test_the_compose_file_fences_the_container_as_the_cluster_does():
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["tokenecho"]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["user"] == "65532:65532"
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
