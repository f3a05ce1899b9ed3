"""Tests chat completions with the official OpenAI client."""

import asyncio

import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from server import KEY, PREFIX

SAY_HI = {"model": "gpt-5", "messages": [{"role": "user", "content": "Hi you"}]}
REPLY = PREFIX + "Hi you"


def text(chunks, index=0) -> str:
    """The text of the choice with this index."""
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def unknown_fields(model: pydantic.BaseModel) -> list[str]:
    """The fields, at any depth, that the SDK's types do not define."""
    unknown = list(model.model_extra or {})
    for value in vars(model).values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, pydantic.BaseModel):
                unknown += unknown_fields(item)
    return unknown


def test_a_completion_echoes_the_last_message(client):
    completion = client.chat.completions.create(**SAY_HI)

    [choice] = completion.choices
    assert choice.message.content == REPLY
    assert choice.message.role == "assistant"
    assert choice.message.refusal is None
    assert choice.finish_reason == "stop"
    assert completion.id.startswith("chatcmpl-")
    assert completion.model == "gpt-5"
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (8, 16, 24)


def test_a_completion_is_strictly_of_the_sdks_type(client):
    raw = client.chat.completions.with_raw_response.create(**SAY_HI, n=2)

    completion = ChatCompletion.model_validate_json(raw.text, strict=True)

    assert unknown_fields(completion) == []


def test_a_stream_says_what_the_completion_says(client):
    chunks = list(client.chat.completions.create(**SAY_HI, stream=True))

    assert text(chunks) == REPLY
    first, last = chunks[0].choices[0], chunks[-1].choices[0]
    assert (first.delta.role, first.delta.content) == ("assistant", "")
    assert (last.delta.content, last.finish_reason) == (None, "stop")
    assert {chunk.choices[0].finish_reason for chunk in chunks[:-1]} == {None}
    assert {chunk.usage for chunk in chunks} == {None}


def test_every_chunk_has_the_same_id_time_and_model(client):
    chunks = list(client.chat.completions.create(**SAY_HI, stream=True))

    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


def test_every_chunk_is_strictly_of_the_sdks_type(client):
    stream = client.chat.completions.create(**SAY_HI, stream=True, stream_options={"include_usage": True})

    for chunk in stream:
        ChatCompletionChunk.model_validate(chunk.to_dict(), strict=True)
        assert unknown_fields(chunk) == []


def test_a_stream_tells_its_usage_last_if_asked_to(client):
    stream = client.chat.completions.create(**SAY_HI, stream=True, stream_options={"include_usage": True})

    *chunks, last = stream

    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (8, 16, 24)
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks)


def test_a_stream_helper_sees_every_delta(client):
    with client.chat.completions.stream(**SAY_HI, stream_options={"include_usage": True}) as stream:
        events = list(stream)
        final = stream.get_final_completion()

    deltas = [event.delta for event in events if event.type == "content.delta"]
    # The role chunk has no text; each other chunk has one token.
    assert deltas[0] == "" and "" not in deltas[1:]
    assert "".join(deltas) == REPLY
    [done] = [event for event in events if event.type == "content.done"]
    assert done.content == REPLY
    assert final.choices[0].message.content == REPLY
    assert final.choices[0].finish_reason == "stop"
    assert final.usage.completion_tokens == len(deltas) - 1


def test_a_stream_helper_keeps_choices_apart(client):
    with client.chat.completions.stream(**SAY_HI, n=3) as stream:
        final = stream.get_final_completion()

    assert [(choice.index, choice.message.content) for choice in final.choices] == [
        (0, REPLY),
        (1, REPLY),
        (2, REPLY),
    ]


def test_the_beta_helpers_stream_and_parse(client):
    with client.beta.chat.completions.stream(**SAY_HI) as stream:
        streamed = stream.get_final_completion()
    parsed = client.beta.chat.completions.parse(**SAY_HI)

    assert streamed.choices[0].message.content == parsed.choices[0].message.content == REPLY


def test_a_bare_echo_of_json_parses_into_the_type_that_was_asked_for(start, connect):
    class Person(pydantic.BaseModel):
        name: str

    client = connect(start("--reply-prefix", ""))

    completion = client.chat.completions.parse(
        model="gpt-5", messages=[{"role": "user", "content": '{"name": "Ada"}'}], response_format=Person
    )

    assert completion.choices[0].message.parsed == Person(name="Ada")


@pytest.mark.anyio
async def test_the_async_client_streams_many_at_once(server):
    async def ask(client, number):
        messages = [{"role": "user", "content": f"number {number}"}]
        stream = await client.chat.completions.create(model="gpt-5", messages=messages, stream=True)
        return text([chunk async for chunk in stream])

    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=KEY, max_retries=0, timeout=20) as client:
        replies = await asyncio.gather(*(ask(client, number) for number in range(50)))
        completion = await client.chat.completions.create(**SAY_HI)
        async with client.chat.completions.stream(**SAY_HI) as stream:
            final = await stream.get_final_completion()

    assert replies == [f"{PREFIX}number {number}" for number in range(50)]
    assert completion.choices[0].message.content == REPLY
    assert final.choices[0].message.content == REPLY


def test_n_choices_come_in_one_completion_and_one_stream(client):
    completion = client.chat.completions.create(**SAY_HI, n=3)
    chunks = list(client.chat.completions.create(**SAY_HI, n=3, stream=True))

    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert [choice.message.content for choice in completion.choices] == [REPLY] * 3
    assert completion.usage.completion_tokens == 3 * 16
    assert [text(chunks, index) for index in range(3)] == [REPLY] * 3


@pytest.mark.parametrize("stop", ["your last", ["nowhere", "r last mess"]])
def test_stop_cuts_before_its_match(client, stop):
    completion = client.chat.completions.create(**SAY_HI, stop=stop)
    chunks = list(client.chat.completions.create(**SAY_HI, stop=stop, stream=True))

    [choice] = completion.choices
    match = stop if isinstance(stop, str) else stop[1]
    assert choice.message.content == REPLY[: REPLY.index(match)] == text(chunks)
    assert choice.finish_reason == chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_a_token_limit_cuts_with_length(client, limit):
    completion = client.chat.completions.create(**SAY_HI, **{limit: 3})
    chunks = list(client.chat.completions.create(**SAY_HI, **{limit: 3}, stream=True))

    [choice] = completion.choices
    assert choice.message.content == "As a mock" == text(chunks)
    assert choice.finish_reason == chunks[-1].choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 3


def test_content_may_be_a_list_of_parts(client):
    parts = [
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "text", "text": "two"},
    ]

    completion = client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": parts}])

    assert completion.choices[0].message.content == PREFIX + "one\n[image_url]\ntwo"


def test_an_agent_loop_ends_with_the_tools_result(client):
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "How is the weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]

    completion = client.chat.completions.create(model="gpt-5", messages=messages)

    assert completion.choices[0].message.content == PREFIX + "sunny"
    assert completion.choices[0].finish_reason == "stop"


def test_text_of_any_script_comes_back_as_it_was(client):
    scripts = "na\u00efve \u4f60\u597d\u3002 \u0627\u0644\u0633\u0644\u0627\u0645 \U0001f469\u200d\U0001f4bb"
    said = f' {scripts}\r\n\t"\\ \x00 \u2028 '

    messages = [{"role": "user", "content": said}]
    completion = client.chat.completions.create(model="gpt-5", messages=messages)
    chunks = list(client.chat.completions.create(model="gpt-5", messages=messages, stream=True))

    assert completion.choices[0].message.content == PREFIX + said == text(chunks)


def test_a_stream_may_be_left_early(client):
    stream = client.chat.completions.create(**SAY_HI, stream=True, extra_headers={"x-mock-itl": "10s"})
    next(stream)
    stream.close()

    assert client.chat.completions.create(**SAY_HI).choices[0].message.content == REPLY
