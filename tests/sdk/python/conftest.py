"""Fixtures: one shared server, servers with special options, and clients."""

import os

# The tested servers are never behind a proxy.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

import grpc
import openai
import pytest

from reflected import Reflected
from server import KEY, Server


@pytest.fixture(scope="session")
def server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def start():
    """Starts servers with the given options."""
    servers = []

    def start(*options: str) -> Server:
        servers.append(Server(*options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def connect():
    """Opens clients with the given options."""
    clients = []

    def connect(server: Server, **options) -> openai.OpenAI:
        usual = {"base_url": server.base_url, "api_key": KEY, "max_retries": 0, "timeout": 20}
        clients.append(openai.OpenAI(**{**usual, **options}))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(server, connect):
    return connect(server)


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.fixture
def api(channel):
    return Reflected(channel)


@pytest.fixture
def anyio_backend():
    return "asyncio"
