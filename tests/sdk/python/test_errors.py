"""Tests the errors that the official client raises."""

import time

import openai
import pytest

from test_chat import REPLY, SAY_HI


def failure(kind, call, **parameters):
    """Returns the error of the call, which must have this type."""
    with pytest.raises(kind) as raised:
        call(**parameters)
    assert type(raised.value) is kind
    return raised.value


@pytest.fixture
def retrying(server, connect):
    """A client that tries three times, and the list of the answers that it receives."""
    answers = []
    http = openai.DefaultHttpxClient(event_hooks={"response": [answers.append]})
    return connect(server, max_retries=2, http_client=http), answers


def test_a_wrong_key_is_an_authentication_error(server, connect):
    client = connect(server, api_key="wrong")

    error = failure(openai.AuthenticationError, client.chat.completions.create, **SAY_HI)

    assert (error.status_code, error.type, error.code) == (401, "invalid_request_error", "invalid_api_key")
    assert error.response.headers["www-authenticate"] == "Bearer"


def test_no_key_is_an_authentication_error(client):
    error = failure(
        openai.AuthenticationError,
        client.chat.completions.create,
        **SAY_HI,
        extra_headers={"Authorization": openai.omit},
    )

    assert "authorization" not in error.request.headers
    assert "You didn't provide an API key" in error.message


def test_an_unknown_model_is_a_not_found_error(start, connect):
    client = connect(start("--model", "only-this"))

    error = failure(openai.NotFoundError, client.chat.completions.create, **SAY_HI)
    known = client.chat.completions.create(**{**SAY_HI, "model": "only-this"})

    assert error.code == "model_not_found"
    assert "The model `gpt-5` does not exist" in error.message
    assert known.model == "only-this"


def test_an_unknown_path_is_a_not_found_error(client):
    error = failure(openai.NotFoundError, client.files.list)

    assert error.code is None
    assert "Invalid URL (GET /v1/files)" in error.message


@pytest.mark.parametrize(
    ("parameters", "param", "code"),
    [
        ({"temperature": 3}, "temperature", "decimal_above_max_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": "one"}, "n", "invalid_type"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{"role": "pope", "content": "Hi"}]}, "messages[0].role", "invalid_value"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "array_above_max_length"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, None, "invalid_parameter_combination"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_parameter_is_a_bad_request_error_that_names_it(client, parameters, param, code, stream):
    error = failure(
        openai.BadRequestError, client.chat.completions.create, **{**SAY_HI, **parameters, "stream": stream}
    )

    assert error.code == code
    assert param is None or error.param == param
    assert (error.status_code, error.type) == (400, "invalid_request_error")
    assert set(error.body) == {"message", "type", "param", "code"}


def test_a_429_is_tried_again_when_the_server_says_so(retrying):
    client, answers = retrying
    start = time.monotonic()

    error = failure(
        openai.RateLimitError,
        client.chat.completions.create,
        **SAY_HI,
        extra_headers={"x-mock-status": "429"},
    )

    waited = time.monotonic() - start
    assert [answer.status_code for answer in answers] == [429, 429, 429]
    assert [answer.request.headers["x-stainless-retry-count"] for answer in answers] == ["0", "1", "2"]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3
    assert (error.type, error.code) == ("requests", "rate_limit_exceeded")
    asked_for = [int(answer.headers["retry-after-ms"]) / 1000 for answer in answers]
    assert waited >= sum(asked_for[:2]) > 0


def test_a_500_is_tried_again_and_is_an_internal_server_error(retrying):
    client, answers = retrying

    error = failure(
        openai.InternalServerError,
        client.with_options(max_retries=1).chat.completions.create,
        **SAY_HI,
        stream=True,
        extra_headers={"x-mock-status": "500"},
    )

    assert [answer.status_code for answer in answers] == [500, 500]
    assert (error.type, error.code) == ("server_error", "internal_error")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
    ],
)
def test_other_failures_are_not_tried_again(retrying, status, kind):
    client, answers = retrying

    failure(kind, client.chat.completions.create, **SAY_HI, extra_headers={"x-mock-status": str(status)})

    assert [answer.status_code for answer in answers] == [status]


def test_a_late_first_token_is_a_timeout_of_the_client(client):
    failure(
        openai.APITimeoutError,
        client.chat.completions.create,
        **SAY_HI,
        extra_headers={"x-mock-ttft": "60s"},
        timeout=0.2,
    )


def test_a_server_that_leaves_ends_its_streams_with_an_error(start, connect):
    server = start("--shutdown-timeout", "100ms")
    client = connect(server)
    stream = client.chat.completions.create(**SAY_HI, stream=True, extra_headers={"x-mock-itl": "60s"})
    assert next(stream).choices[0].delta.role == "assistant"

    server.terminate()
    with pytest.raises(openai.APIError) as raised:
        list(stream)

    assert (raised.value.type, raised.value.code) == ("server_error", "shutting_down")


def test_a_server_that_leaves_lets_its_streams_end(start, connect):
    server = start()
    client = connect(server)
    stream = client.chat.completions.create(**SAY_HI, stream=True, extra_headers={"x-mock-itl": "20ms"})
    next(stream)

    server.terminate()

    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == REPLY
