"""Every value of a closed set that the pinned client types is taken, and no other is."""

import typing

import openai
import pytest
from openai.types.chat import (
    chat_completion_content_part_image_param as image,
    chat_completion_content_part_input_audio_param as audio,
    completion_create_params as request,
)

FIELDS = typing.get_type_hints(request.CompletionCreateParamsBase)


def literals(hint) -> list[str]:
    """The words of a Literal, inside of any Optional or List."""
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    return [word for inner in typing.get_args(hint) for word in literals(inner)]


def with_part(part: dict) -> dict:
    return {"messages": [{"role": "user", "content": [part]}]}


def image_detail(word: str) -> dict:
    return with_part({"type": "image_url", "image_url": {"url": "x", "detail": word}})


def audio_format(word: str) -> dict:
    return with_part({"type": "input_audio", "input_audio": {"data": "AA==", "format": word}})


SETS = {
    "image_detail": (literals(typing.get_type_hints(image.ImageURL)["detail"]), image_detail),
    "audio_format": (literals(typing.get_type_hints(audio.InputAudio)["format"]), audio_format),
    **{
        field: (literals(FIELDS[field]), lambda word, field=field: {field: [word] if field == "modalities" else word})
        for field in ("service_tier", "reasoning_effort", "verbosity", "modalities", "prompt_cache_retention")
    },
}


@pytest.mark.parametrize("name", SETS)
def test_a_closed_set_is_the_clients(client, name):
    words, request_with = SETS[name]
    usual = {"model": "m", "messages": [{"role": "user", "content": "x"}]}

    assert words
    for word in words:
        client.chat.completions.create(**{**usual, **request_with(word)})
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{**usual, **request_with("no such word")})
    assert refused.value.code == "invalid_value"
