"""Tests the list of models with the official client."""

import openai
import pytest


def test_any_model_can_be_retrieved_where_none_was_named(client):
    assert [model.id for model in client.models.list()] == ["mock-gpt-model"]
    for name in ["gpt-5", "meta-llama/Llama-3.1-8B-Instruct", "ft:gpt-5:acme::x1"]:
        model = client.models.retrieve(name)
        assert (model.id, model.object) == (name, "model")


def test_named_models_are_listed_and_others_are_not_found(start, connect):
    client = connect(start("--model", "only-this", "--model", "and/that"))

    assert [model.id for model in client.models.list()] == ["only-this", "and/that"]
    assert client.models.retrieve("and/that").id == "and/that"
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("gpt-5")
    assert raised.value.code == "model_not_found"


def test_the_grpc_port_serves_the_openai_client_too(server, connect):
    client = connect(server, base_url=f"http://{server.grpc}/v1")

    assert [model.id for model in client.models.list()] == ["mock-gpt-model"]
