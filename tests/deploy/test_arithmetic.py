"""Checks that the durations of drain, streams and autoscaler fit together. test_image.py checks the memory."""

from manifests import Manifests, seconds


def longest_stream(manifests: Manifests) -> float:
    """The longest stream in seconds. If a caller asks for slower tokens, its stream may end with a proper error."""
    config, limits = manifests.config, manifests.limits
    tokens = limits.get("max-generation-tokens", 100_000)
    return seconds(config["ttft"]) + tokens * seconds(config["itl"])


def test_the_kubelet_waits_for_the_whole_drain(manifests):
    delay, timeout = (seconds(manifests.config[key]) for key in ("shutdown-delay", "shutdown-timeout"))

    assert manifests.pod["terminationGracePeriodSeconds"] >= delay + timeout + 5


def test_readiness_turns_while_requests_are_still_served_so_there_is_no_pre_stop(manifests):
    assert seconds(manifests.config["shutdown-delay"]) >= 5
    assert "lifecycle" not in manifests.container


def test_a_rollout_cuts_no_stream(manifests):
    assert seconds(manifests.config["shutdown-timeout"]) >= longest_stream(manifests)


def test_the_autoscaler_sees_out_the_longest_stream_before_it_takes_pods(everything):
    behavior = everything.one("HorizontalPodAutoscaler")["spec"]["behavior"]

    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= longest_stream(everything)


def test_the_autoscaler_adds_pods_before_one_is_full(everything):
    metrics = everything.one("HorizontalPodAutoscaler")["spec"]["metrics"]
    [target] = [metric["pods"]["target"] for metric in metrics if metric["type"] == "Pods"]

    assert int(target["averageValue"]) <= everything.limits["max-generations"] / 2


def test_there_are_connections_for_all_streams_where_each_has_its_own(production):
    assert production.limits["max-connections"] > production.limits["max-generations"]
