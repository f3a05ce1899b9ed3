"""Clients for both protocols, on the ports that the manifests set."""

import http.client
import json
import os
import subprocess

import grpc
import yaml
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from manifests import JOB

HOST, HTTP, GRPC, ADMIN = "127.0.0.1", 8000, 50051, 9464
CHAT = "tokenecho.v1.ChatService"


def get(port: int, path: str, key: str | None = None, timeout: float = 20) -> tuple[int, str]:
    """Sends a GET and returns the status and the body."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    connection.request("GET", path, headers={"authorization": f"Bearer {key}"} if key else {})
    response = connection.getresponse()
    answer = response.status, response.read().decode()
    connection.close()
    return answer


class Stream:
    """A streamed chat completion over HTTP. Each item is the data of one event. The constructor opens the stream."""

    def __init__(self, key: str, content: str = "hello", headers: dict | None = None, port: int = HTTP, **fields):
        self.connection = http.client.HTTPConnection(HOST, port, timeout=60)
        request = {"stream": True, "messages": [{"role": "user", "content": content}], **fields}
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json", **(headers or {})}
        self.connection.request("POST", "/v1/chat/completions", json.dumps(request), headers)
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def __iter__(self):
        for line in self.response:
            if line.startswith(b"data: "):
                yield line.removeprefix(b"data: ").decode().strip()

    def close(self):
        self.connection.close()


class Grpc:
    """A client of the gRPC listener, which reads the API from the server's reflection service."""

    def __init__(self, port: int = GRPC):
        # Each client gets its own connection, as in separate client processes.
        self.channel = grpc.insecure_channel(f"{HOST}:{port}", [("grpc.use_local_subchannel_pool", 1)])
        self.database = ProtoReflectionDescriptorDatabase(self.channel)

    def services(self) -> set[str]:
        return set(self.database.get_services())

    def stream(self, key: str, content: str = "hello", headers: dict | None = None, **fields):
        """A streamed chat completion, as a grpc call object."""
        method = DescriptorPool(self.database).FindServiceByName(CHAT).FindMethodByName("StreamChatCompletion")
        request = {"messages": [{"role": "ROLE_USER", "text": content}], **fields}
        call = self.channel.unary_stream(
            f"/{CHAT}/StreamChatCompletion",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        metadata = {"authorization": f"Bearer {key}", **(headers or {})}
        return call(
            ParseDict(request, GetMessageClass(method.input_type)()), metadata=tuple(metadata.items()), timeout=60
        )

    def health(self, service: str, timeout: float = 5) -> str:
        answer = health_pb2_grpc.HealthStub(self.channel).Check(
            health_pb2.HealthCheckRequest(service=service), timeout=timeout
        )
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    def close(self):
        self.channel.close()


def probe(container: dict, name: str) -> bool:
    """Sends the probe that the kubelet would send, and returns whether the kubelet would count it as a success."""
    wanted = container[name]
    timeout = wanted.get("timeoutSeconds", 1)
    if "grpc" in wanted:
        client = Grpc(wanted["grpc"]["port"])
        try:
            return client.health(wanted["grpc"]["service"], timeout) == "SERVING"
        except grpc.RpcError:
            return False
        finally:
            client.close()
    [port] = [port["containerPort"] for port in container["ports"] if port["name"] == wanted["httpGet"]["port"]]
    try:
        status, _ = get(port, wanted["httpGet"]["path"], timeout=timeout)
    except (OSError, http.client.HTTPException):
        return False
    return 200 <= status < 400


def client_job(key: str) -> subprocess.CompletedProcess:
    """Runs the example Job's command against this machine's loopback."""
    [container] = yaml.safe_load(JOB.read_text())["spec"]["template"]["spec"]["containers"]
    addresses = {"HTTP": f"http://{HOST}:{HTTP}", "GRPC": f"http://{HOST}:{GRPC}"}
    return subprocess.run(
        [*container["command"], *container["args"]],
        env={"PATH": os.environ["PATH"], "KEY": key, **addresses},
        capture_output=True,
        text=True,
        timeout=60,
    )
