"""Tests the headers of the answers."""

import pytest

from test_chat import REPLY, SAY_HI, text


def test_a_raw_response_has_the_apis_headers(client):
    raw = client.chat.completions.with_raw_response.create(**SAY_HI)

    assert raw.headers["openai-version"] == "2020-10-01"
    assert int(raw.headers["openai-processing-ms"]) >= 15
    assert raw.headers["x-request-id"] == raw.request_id == raw.parse()._request_id
    assert raw.parse().choices[0].message.content == REPLY


def test_a_raw_response_of_a_stream_has_the_apis_headers(client):
    raw = client.chat.completions.with_raw_response.create(**SAY_HI, stream=True)

    assert raw.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert raw.headers["cache-control"] == "no-cache"
    assert raw.headers["openai-version"] == "2020-10-01"
    assert raw.headers["x-request-id"]
    assert int(raw.headers["openai-processing-ms"]) >= 0
    assert text(raw.parse()) == REPLY


def test_the_callers_request_id_is_kept(client):
    headers = {"x-request-id": "mine-1"}

    completion = client.chat.completions.create(**SAY_HI, extra_headers=headers)

    assert completion._request_id == "mine-1"


def test_a_streaming_response_shows_the_events_themselves(client):
    with client.chat.completions.with_streaming_response.create(**SAY_HI, stream=True) as response:
        lines = [line for line in response.iter_lines() if line]

    assert response.headers["content-type"].startswith("text/event-stream")
    assert all(line.startswith("data: {") for line in lines[:-1])
    assert lines[-1] == "data: [DONE]"


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_simulated_is_told(client, stream):
    create = client.chat.completions.with_raw_response.create
    steered = create(**SAY_HI, stream=stream, extra_headers={"x-mock-ttft": "5ms", "x-mock-itl": "0"})
    plain = create(**SAY_HI, stream=stream)

    for directive in ["ttft=5ms", "itl=0"]:
        assert directive in steered.headers["x-mock-applied"]
    assert "x-mock-applied" not in plain.headers


def test_a_body_may_steer_the_simulation_too(client):
    raw = client.chat.completions.with_raw_response.create(**SAY_HI, extra_body={"simulation": {"itl": "2ms"}})

    assert raw.headers["x-mock-applied"] == "itl=2ms"
    assert int(raw.headers["openai-processing-ms"]) >= 30
