"""Tests every parameter that the official client can send."""

import inspect

from openai.resources.chat.completions import Completions

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}

# A value for every parameter of the API. Parameters that exclude each other are in separate requests.
COMMON = {
    "model": "gpt-5",
    "messages": [
        {"role": "developer", "content": "d", "name": "ann"},
        {"role": "system", "content": [{"type": "text", "text": "s"}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "u"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "AA=="}},
            ],
        },
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "audio": {"id": "audio_1"}},
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "call_2", "type": "custom", "custom": {"name": "c", "input": "x"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "t"}]},
        {"role": "tool", "tool_call_id": "call_2", "content": "t"},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}, "content": None},
        {"role": "function", "name": "f", "content": "the end"},
    ],
    "audio": {"voice": "alloy", "format": "mp3"},
    "frequency_penalty": -2,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "metadata": {"team": "a"},
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni-moderation-latest", "policy": {"input": {"mode": "score"}}},
    "n": 2,
    "prediction": {"type": "content", "content": [{"type": "text", "text": "p"}]},
    "presence_penalty": 2.0,
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "high",
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": True}},
    "safety_identifier": "u",
    "seed": -1,
    "service_tier": "flex",
    "stop": ["\n\n"],
    "store": False,
    "temperature": 0.5,
    "top_logprobs": 20,
    "top_p": 1,
    "user": "u",
    "verbosity": "low",
    "web_search_options": {
        "search_context_size": "low",
        "user_location": {"type": "approximate", "approximate": {"city": "Rome"}},
    },
}
NEWER = {
    "max_completion_tokens": 100,
    "tools": [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}},
        {"type": "custom", "custom": {"name": "c", "description": "d", "format": {"type": "text"}}},
    ],
    "parallel_tool_calls": False,
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
}
OLDER = {
    "max_tokens": 100,
    "functions": [{"name": "f", "description": "d", "parameters": SCHEMA}],
    "function_call": {"name": "f"},
}


def test_this_file_has_a_value_for_every_parameter_of_the_client():
    parameters = set(inspect.signature(Completions.create).parameters)
    parameters -= {"self", "extra_headers", "extra_query", "extra_body", "timeout"}

    assert parameters == {*COMMON, *NEWER, *OLDER}


def test_strict_validation_takes_every_parameter_of_the_client(start, connect):
    client = connect(start("--validation", "strict"))

    completion = client.chat.completions.create(**COMMON, **OLDER)
    *chunks, last = client.chat.completions.create(**COMMON, **NEWER)

    assert completion.choices[1].message.content.endswith(": the end")
    assert last.usage.completion_tokens == completion.usage.completion_tokens
