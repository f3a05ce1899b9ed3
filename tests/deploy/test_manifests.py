"""Checks each overlay as a cluster would: schemas, the restricted Pod Security Standard, references between objects."""

import copy
import json
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from conftest import require
from manifests import DEPLOY, JOB, OVERLAYS, render

CUSTOM = ("GRPCRoute", "HTTPRoute", "PrometheusRule", "ServiceMonitor")
LABELS = {"app.kubernetes.io/name": "tokenecho"}


@pytest.fixture
def pods(manifests) -> list[dict]:
    """The specs of all pods, including the example Job's."""
    return [manifests.pod, yaml.safe_load(JOB.read_text())["spec"]["template"]["spec"]]


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_objects_obey_kubernetes_schemas(manifests, version):
    for object in [*manifests, yaml.safe_load(JOB.read_text())]:
        if object["kind"] not in CUSTOM:
            kubernetes_validate.validate(object, version, strict=True)


def test_a_misspelt_field_would_be_noticed(production):
    service = copy.deepcopy(production.one("Service"))
    service["spec"]["port"] = service["spec"].pop("ports")

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, "1.30", strict=True)


def custom_resource_faults(objects: list[dict]) -> str:
    require("custom resources against their schemas", "node")
    script = Path(__file__).parent / "crds/validate.js"
    checked = subprocess.run(["node", script], input=json.dumps(objects), capture_output=True, text=True, check=True)
    return checked.stdout


def test_custom_resources_obey_their_published_schemas(everything):
    assert len(everything.of(*CUSTOM)) == len(CUSTOM)
    assert custom_resource_faults(everything.of(*CUSTOM)) == ""


def test_a_misspelt_field_or_value_of_a_custom_resource_would_be_noticed(everything):
    monitor, route = copy.deepcopy([everything.one("ServiceMonitor"), everything.one("HTTPRoute")])
    monitor["spec"]["endpoints"][0]["intervall"] = "15s"
    route["spec"]["rules"][0]["timeouts"]["request"] = "never"

    faults = custom_resource_faults([monitor, route])

    assert "spec.endpoints.0.intervall is not a field" in faults
    assert "spec/rules/0/timeouts/request must match" in faults


def test_pods_meet_the_restricted_standard(pods):
    for pod in pods:
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["runAsGroup"] == 65532
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"sysctls", "windowsOptions", "appArmorProfile", "seLinuxOptions"} & set(security)
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"} & set(pod)
        for volume in pod.get("volumes", []):
            assert set(volume) - {"name"} <= {"configMap", "secret"}, volume
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_namespaces_that_are_ours_enforce_the_restricted_standard(manifests):
    for namespace in manifests.of("Namespace"):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_pods_hold_no_credentials_and_no_service_links(manifests, pods):
    assert manifests.one("ServiceAccount")["automountServiceAccountToken"] is False
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False


def test_nothing_in_a_pod_is_writable(manifests):
    assert all(mount["readOnly"] for mount in manifests.container["volumeMounts"])


def test_resources_are_asked_for_and_memory_is_bounded_but_not_cpu(manifests, pods):
    for pod in pods:
        for container in pod["containers"]:
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert set(container["resources"]["limits"]) == {"memory"}
    resources = manifests.container["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]


def test_a_rollout_adds_a_pod_before_it_takes_one(manifests):
    assert manifests.deployment["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }


def test_pods_are_spread_over_zones_and_hosts(manifests):
    constraints = manifests.pod["topologySpreadConstraints"]

    assert [constraint["topologyKey"] for constraint in constraints] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    assert all(constraint["labelSelector"]["matchLabels"] == LABELS for constraint in constraints)


def test_disruptions_take_one_pod_at_a_time_and_a_broken_one_at_any(manifests):
    budget = manifests.one("PodDisruptionBudget")["spec"]

    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_every_selector_finds_the_pods(manifests):
    labels = manifests.deployment["template"]["metadata"]["labels"]
    selectors = [manifests.deployment["selector"]["matchLabels"]]
    selectors += [service["spec"]["selector"] for service in manifests.of("Service")]
    selectors += [budget["spec"]["selector"]["matchLabels"] for budget in manifests.of("PodDisruptionBudget")]
    selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in manifests.of("NetworkPolicy")]

    assert labels == LABELS
    assert all(selector == LABELS for selector in selectors)


def test_liveness_uses_the_admin_port_and_readiness_an_api_port(manifests):
    container = manifests.container
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    for name in ("startupProbe", "livenessProbe"):
        assert container[name]["httpGet"] == {"path": "/livez", "port": "metrics"}
    # Only a port that is configured must be free: the server starts without an admin listener on the default port.
    assert manifests.config["admin-port"] == ports["metrics"]
    assert container["readinessProbe"]["grpc"]["port"] == ports["grpc"]


def test_each_service_port_names_its_protocol(manifests):
    for name in ("tokenecho", "tokenecho-headless"):
        ports = {port["name"]: port for port in manifests.one("Service", name)["spec"]["ports"]}
        assert ports["http"]["appProtocol"] == "http"
        assert ports["grpc"]["appProtocol"] == "kubernetes.io/h2c"
    assert manifests.one("Service", "tokenecho-headless")["spec"]["clusterIP"] == "None"


def test_the_network_lets_the_api_in_and_nothing_out(manifests):
    policy = manifests.one("NetworkPolicy")["spec"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"ports": [{"port": 8000}, {"port": 50051}]}]
    assert policy["egress"] == []


def test_metrics_are_open_to_the_monitoring_namespace_alone(manifests):
    openings = [
        opening
        for policy in manifests.of("NetworkPolicy")
        for opening in policy["spec"].get("ingress", [])
        if {"port": 9464} in opening["ports"]
    ]

    if manifests.of("ServiceMonitor"):
        [opening] = openings
        [peer] = opening["from"]
        assert peer == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    else:
        assert not openings


def test_each_pod_is_scraped_once(everything):
    [endpoint] = everything.one("ServiceMonitor")["spec"]["endpoints"]
    services = [
        service["metadata"]["name"]
        for service in everything.of("Service")
        if any(port["name"] == endpoint["port"] for port in service["spec"]["ports"])
    ]

    assert services == ["tokenecho-headless"]


def test_keys_come_as_a_directory_that_only_the_pod_s_group_may_read(manifests):
    volumes = {volume["name"]: volume for volume in manifests.pod["volumes"]}
    if manifests.config.get("any-key"):
        assert "keys" not in volumes
        return

    [mount] = [mount for mount in manifests.container["volumeMounts"] if mount["name"] == "keys"]

    assert mount["mountPath"] == manifests.config["api-key-file"]
    assert "subPath" not in mount
    assert volumes["keys"]["secret"] == {"secretName": "tokenecho-keys", "defaultMode": 0o440}
    assert manifests.pod["securityContext"]["fsGroup"] == 65532
    assert not {"env", "envFrom"} & set(manifests.container)


def test_the_demo_key_is_the_only_one_and_stands_in_dev_alone(kustomize):
    secrets = {overlay: render(overlay).of("Secret") for overlay in OVERLAYS}

    assert [secret["metadata"]["name"] for secret in secrets["dev"]] == ["tokenecho-keys"]
    assert not secrets["production"] and not secrets["loadtest"]
    holders = [path.name for path in DEPLOY.rglob("*.yaml") if "sk-demo" in path.read_text()]
    assert holders == ["kustomization.yaml"]


def test_a_changed_setting_rolls_out_as_new_pods(manifests):
    [volume] = [volume for volume in manifests.pod["volumes"] if volume["name"] == "config"]
    name = manifests.config_map["metadata"]["name"]

    assert re.fullmatch(r"tokenecho-config-[a-z0-9]{10}", name)
    assert volume["configMap"]["name"] == name


def test_one_autoscaler_or_a_number_of_replicas_but_not_both(manifests):
    autoscalers = [
        autoscaler["spec"]["scaleTargetRef"]["name"] for autoscaler in manifests.of("HorizontalPodAutoscaler")
    ]

    assert autoscalers in ([], ["tokenecho"])
    assert bool(autoscalers) != ("replicas" in manifests.deployment)


def test_routes_leave_streams_their_time_and_name_existing_ports(everything):
    http, grpc = everything.one("HTTPRoute")["spec"], everything.one("GRPCRoute")["spec"]

    assert [rule["timeouts"]["request"] for rule in http["rules"]] == ["0s"]
    # On one listener, a host name can have only one kind of route: the older route wins, the newer one is rejected.
    assert not set(http["hostnames"]) & set(grpc["hostnames"])
    service = {port["name"]: port["port"] for port in everything.one("Service")["spec"]["ports"]}
    for route, name in ((http, "http"), (grpc, "grpc")):
        for rule in route["rules"]:
            assert rule["backendRefs"] == [{"name": "tokenecho", "port": service[name]}]


def test_overlays_live_in_namespaces_of_their_own(kustomize):
    namespaces = [
        {object["metadata"].get("namespace") for object in render(overlay) if object["kind"] != "Namespace"}
        for overlay in OVERLAYS
    ]

    assert namespaces == [{"tokenecho-dev"}, {"tokenecho"}, {"tokenecho-loadtest"}]


def test_scripts_parse():
    for script in [*DEPLOY.rglob("*.sh"), *Path(__file__).parent.glob("*.sh")]:
        subprocess.run(["bash", "-n", script], check=True)
