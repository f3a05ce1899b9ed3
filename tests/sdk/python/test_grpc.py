"""Tests the gRPC API with grpcio and the message types from the server's reflection service."""

import grpc
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from reflected import AUTHORIZED, Reflected
from server import PREFIX

SAY_HI = {"model": "gpt-5", "messages": [{"role": "ROLE_USER", "text": "Hi you"}]}
REPLY = PREFIX + "Hi you"


def as_dict(message) -> dict:
    return MessageToDict(message, preserving_proto_field_name=True)


def text(items) -> str:
    return "".join(choice.delta.content for item in items for choice in item.choices)


def failure(call, *arguments, **options) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as raised:
        list(call(*arguments, **options))
    return raised.value


def details(error: grpc.RpcError) -> dict:
    """The details of an error, by type name."""
    known = {
        f"google.rpc.{name}": getattr(error_details_pb2, name)
        for name in ["BadRequest", "ErrorInfo", "ResourceInfo", "RetryInfo"]
    }
    status = rpc_status.from_call(error)
    assert status.code == error.code().value[0]
    found = {}
    for detail in status.details:
        name = detail.TypeName()
        found[name.removeprefix("google.rpc.")] = message = known[name]()
        assert detail.Unpack(message)
    return found


def test_an_rpc_echoes_the_last_message(api):
    response = api.create(SAY_HI)

    assert response.id.startswith("chatcmpl-")
    assert response.model == "gpt-5"
    assert as_dict(response)["choices"] == [
        {
            "message": {"role": "ROLE_ASSISTANT", "content": REPLY},
            "finish_reason": "FINISH_REASON_STOP",
        }
    ]
    usage = response.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (8, 16, 24)


def test_a_streaming_rpc_says_it_token_by_token(api):
    call = api.stream({**SAY_HI, "stream_options": {"include_usage": True}})

    first, *items, finish, usage = call

    assert as_dict(first)["choices"] == [{"delta": {"role": "ROLE_ASSISTANT", "content": ""}}]
    assert text(items) == REPLY
    assert as_dict(finish)["choices"] == [{"delta": {}, "finish_reason": "FINISH_REASON_STOP"}]
    assert (len(usage.choices), usage.usage.completion_tokens) == (0, len(items))
    assert len({(item.id, item.created) for item in [first, *items, finish, usage]}) == 1
    assert call.code() == grpc.StatusCode.OK


def test_options_are_those_of_the_http_api(api):
    stopped = api.create({**SAY_HI, "stop": ["your last"], "n": 2})
    cut = api.create({**SAY_HI, "max_completion_tokens": 3})

    assert [choice.message.content for choice in stopped.choices] == [REPLY.split("your last")[0]] * 2
    assert as_dict(cut.choices[0])["finish_reason"] == "FINISH_REASON_LENGTH"


def test_the_request_id_of_the_metadata_comes_back(api):
    call = api.stream(SAY_HI, metadata=(*AUTHORIZED, ("x-request-id", "mine-1")))

    assert text(call) == REPLY
    assert dict(call.initial_metadata())["x-request-id"] == "mine-1"


def test_the_api_port_serves_grpc_too(server):
    with grpc.insecure_channel(server.api) as channel:
        assert text(Reflected(channel).stream(SAY_HI)) == REPLY


@pytest.mark.anyio
async def test_the_asyncio_client_streams(server, api):
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        call, request = api.rpc("ChatService", "StreamChatCompletion", channel)
        items = [item async for item in call(ParseDict(SAY_HI, request()), metadata=AUTHORIZED, timeout=20)]

    assert text(items) == REPLY


def test_models_are_listed_and_told_of(api):
    listed = api.call("ModelService", "ListModels", {})
    told = api.call("ModelService", "GetModel", {"model": "meta-llama/Llama-3"})

    assert [model.id for model in listed.data] == ["mock-gpt-model"]
    assert told.model.id == "meta-llama/Llama-3"


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [((), "INVALID_REQUEST_ERROR"), ((("authorization", "Bearer wrong"),), "INVALID_API_KEY")],
)
def test_without_a_right_key_a_call_is_unauthenticated(api, metadata, reason):
    error = failure(api.stream, SAY_HI, metadata=metadata)

    assert error.code() == grpc.StatusCode.UNAUTHENTICATED
    assert details(error)["ErrorInfo"].reason == reason


@pytest.mark.parametrize("timeout", [None, 20])
def test_a_bad_field_is_named_in_the_details(api, timeout):
    error = failure(api.stream, {**SAY_HI, "temperature": 3}, timeout=timeout)

    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    found = details(error)
    info = found["ErrorInfo"]
    assert (info.domain, info.reason) == ("tokenecho", "DECIMAL_ABOVE_MAX_VALUE")
    assert dict(info.metadata) == {
        "type": "invalid_request_error",
        "code": "decimal_above_max_value",
        "param": "temperature",
        "http_status": "400",
    }
    [violation] = found["BadRequest"].field_violations
    assert violation.field == "temperature"
    assert violation.description == error.details()


def test_a_role_that_is_not_given_is_refused(api):
    error = failure(api.stream, {"messages": [{"text": "Hi"}]})

    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    [violation] = details(error)["BadRequest"].field_violations
    assert violation.field == "messages[0].role"


def test_an_unknown_model_is_not_found(start):
    with grpc.insecure_channel(start("--model", "only-this").grpc) as channel:
        error = failure(Reflected(channel).stream, SAY_HI)

    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert details(error)["ResourceInfo"].resource_name == "gpt-5"


def test_a_simulated_429_tells_when_to_try_again(api):
    error = failure(api.stream, SAY_HI, metadata=(*AUTHORIZED, ("x-mock-status", "429")))

    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details(error)["RetryInfo"].retry_delay.ToTimedelta().total_seconds() > 0


def test_a_deadline_ends_a_slow_stream(api):
    call = api.stream(SAY_HI, metadata=(*AUTHORIZED, ("x-mock-itl", "60s")), timeout=1)

    assert next(call).choices[0].delta.HasField("content")
    assert failure(lambda: call).code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_deadline_ends_a_slow_unary_call(api):
    with pytest.raises(grpc.RpcError) as raised:
        api.create({**SAY_HI, "simulation": {"ttft": "60s"}}, timeout=0.3)

    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_cancelled_stream_leaves_the_channel_usable(api):
    call = api.stream(SAY_HI, metadata=(*AUTHORIZED, ("x-mock-itl", "60s")))
    next(call)
    call.cancel()

    assert failure(lambda: call).code() == grpc.StatusCode.CANCELLED
    assert text(api.stream(SAY_HI)) == REPLY


def test_reflection_lists_the_services_without_a_key(api):
    services = set(api.database.get_services())

    assert {"tokenecho.v1.ChatService", "tokenecho.v1.ModelService", "grpc.health.v1.Health"} <= services


@pytest.mark.parametrize("service", ["", "tokenecho.v1.ChatService", "tokenecho.v1.ModelService"])
def test_health_is_serving_without_a_key(channel, service):
    health = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)

    checked = health.Check(request, timeout=20)
    watch = health.Watch(request, timeout=20)
    watched = next(watch)
    watch.cancel()

    assert checked.status == watched.status == health_pb2.HealthCheckResponse.SERVING


def test_the_health_of_an_unknown_service_is_not_found(channel):
    health = health_pb2_grpc.HealthStub(channel)

    with pytest.raises(grpc.RpcError) as raised:
        health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=20)

    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_watch_hears_that_the_server_leaves_and_ends(start):
    server = start("--shutdown-delay", "500ms")
    with grpc.insecure_channel(server.grpc) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING

        server.terminate()

        assert [answer.status for answer in watch] == [health_pb2.HealthCheckResponse.NOT_SERVING]


def test_a_server_that_leaves_ends_its_streams_as_unavailable(start):
    server = start("--shutdown-timeout", "100ms")
    with grpc.insecure_channel(server.grpc) as channel:
        call = Reflected(channel).stream(SAY_HI, metadata=(*AUTHORIZED, ("x-mock-itl", "60s")))
        next(call)

        server.terminate()
        error = failure(lambda: call)

    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert details(error)["ErrorInfo"].reason == "SHUTTING_DOWN"
