"""Asks tokenecho from Python, with the code that protoc generated from proto/: once for a stream, once for a whole answer.

Run it: python client.py 127.0.0.1:50051 KEY
"""

import sys

import grpc
from tokenecho.v1 import chat_pb2, chat_pb2_grpc

address, key = sys.argv[1:]
metadata = [("authorization", f"Bearer {key}")]
request = chat_pb2.CreateChatCompletionRequest(
    model="gpt-4o",
    messages=[chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, text="Hello there")],
)

with grpc.insecure_channel(address) as channel:
    chat = chat_pb2_grpc.ChatServiceStub(channel)

    for item in chat.StreamChatCompletion(request, metadata=metadata):
        print(item.choices[0].delta.content, end="", flush=True)
    print()

    answer = chat.CreateChatCompletion(request, metadata=metadata)
    print(answer.choices[0].message.content)
