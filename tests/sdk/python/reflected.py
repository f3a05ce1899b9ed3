"""A gRPC client that reads the API from the server's reflection service, so that the tests need no generated stubs."""

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from server import KEY

AUTHORIZED = (("authorization", f"Bearer {KEY}"),)


class Reflected:
    """Calls rpcs over a channel: `api.call("ChatService", "CreateChatCompletion", {…})`."""

    def __init__(self, channel: grpc.Channel):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = DescriptorPool(self.database)

    def rpc(self, service: str, method: str, channel=None):
        """Returns the rpc as a callable, and the class of its requests. An asyncio `channel` may be given."""
        descriptor = self.pool.FindServiceByName(f"tokenecho.v1.{service}").FindMethodByName(method)
        request = GetMessageClass(descriptor.input_type)
        channel = channel or self.channel
        kind = channel.unary_stream if descriptor.server_streaming else channel.unary_unary
        call = kind(
            f"/tokenecho.v1.{service}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=GetMessageClass(descriptor.output_type).FromString,
        )
        return call, request

    def call(self, service: str, method: str, request: dict, metadata=AUTHORIZED, timeout=20):
        call, message = self.rpc(service, method)
        return call(ParseDict(request, message()), metadata=metadata, timeout=timeout)

    def create(self, request: dict, **options):
        return self.call("ChatService", "CreateChatCompletion", request, **options)

    def stream(self, request: dict, **options):
        return self.call("ChatService", "StreamChatCompletion", request, **options)
