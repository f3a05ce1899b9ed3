"""The load of the soak test: see soak.sh."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import grpc
import openai

BINARY, MINUTES = sys.argv[1], float(sys.argv[2])
PATH = "/tokenecho.v1.ChatService/StreamChatCompletion"
# messages { role: ROLE_USER text: "word ..." } max_tokens: 200 ignore_eos: true, encoded as protobuf.
WORDS = b"word " * 20
MESSAGE = bytes([0x0A, len(WORDS) + 4, 0x08, 3, 0x12, len(WORDS)]) + WORDS + bytes([0x20, 200, 1, 0xE0, 1, 1])


class Server:
    """The binary under test, with its own key file."""

    def __init__(self, folder: Path) -> None:
        self.keys = folder / "keys"
        self.rotate("first")
        self.process = subprocess.Popen(
            [BINARY, "--port=0", "--grpc-port=0", "--admin-port=0", "--itl=5ms", "--log-format=json"]
            + [f"--api-key-file={self.keys}"],
            stderr=subprocess.PIPE,
        )
        start = json.loads(self.process.stderr.readline())
        self.api, self.grpc, self.admin = start["api"], start["grpc"], start["admin"]
        # A child process drains the log, because one line per request is a lot.
        self.log = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)

    def rotate(self, key: str) -> None:
        """Writes a key file with this key and the steady one."""
        new = self.keys.with_suffix(".new")
        new.write_text(f"steady:steady\nrotating:{key}\n")
        new.rename(self.keys)

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{self.admin}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def look(self, when: str) -> None:
        process = Path(f"/proc/{self.process.pid}")
        resident = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS"))
        print(
            f"{when:>7}: resident {int(resident.split()[1]) / 1024:.1f} MiB,"
            f" {len(os.listdir(process / 'fd'))} descriptors,"
            f" {self.metric('tokenecho_streams_open'):.0f} streams,"
            f" {self.metric('tokenecho_connections_open'):.0f} connections,"
            f" {self.metric('tokenecho_requests_total'):.0f} requests,"
            f" {self.metric('tokenecho_key_reload_failures_total'):.0f} failed reloads",
            flush=True,
        )


async def over_http(server: Server, counts: dict[str, int], until: float) -> None:
    """Streams, a third of which are abandoned midway, and unary calls."""
    async with openai.AsyncOpenAI(base_url=f"http://{server.api}/v1", api_key="steady", max_retries=0) as client:
        messages = [{"role": "user", "content": "word " * 20}]
        while time.monotonic() < until:
            stream = await client.chat.completions.create(
                model="m", messages=messages, stream=True, max_tokens=200, extra_body={"ignore_eos": True}
            )
            leaves_after = random.choice([3, 10_000, 10_000])
            async for _ in stream:
                leaves_after -= 1
                if leaves_after == 0:
                    counts["left"] += 1
                    break
            await stream.close()
            answer = await client.chat.completions.create(model="m", messages=messages, extra_body={"simulation": {"itl": "0"}})
            assert answer.choices[0].finish_reason == "stop"
            counts["http"] += 2


async def over_grpc(server: Server, counts: dict[str, int], until: float) -> None:
    """Streams, a third of which are cancelled midway."""
    metadata = (("authorization", "Bearer steady"),)
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stream = channel.unary_stream(PATH)
        while time.monotonic() < until:
            call = stream(MESSAGE, metadata=metadata)
            leaves_after = random.choice([3, 10_000, 10_000])
            try:
                async for _ in call:
                    leaves_after -= 1
                    if leaves_after == 0:
                        call.cancel()
            except asyncio.CancelledError:
                counts["left"] += 1
            counts["grpc"] += 1


async def resetting(server: Server, counts: dict[str, int], until: float) -> None:
    """Connections that the client resets in the middle of an answer."""
    host, port = server.api.rsplit(":", 1)
    body = json.dumps({"stream": True, "messages": [{"role": "user", "content": "word " * 200}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer steady\r\ncontent-length: {len(body)}\r\n\r\n"
    while time.monotonic() < until:
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode() + body)
        await writer.drain()
        await asyncio.sleep(0.02)
        # Closing a socket with a linger time of zero sends a reset.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.close()
        counts["reset"] += 1


async def rotating(server: Server, counts: dict[str, int], until: float) -> None:
    """Replaces a key again and again, and waits each time until the server accepts the new one."""
    while time.monotonic() < until:
        key = f"key-{counts['rotated']}"
        server.rotate(key)
        async with openai.AsyncOpenAI(base_url=f"http://{server.api}/v1", api_key=key, max_retries=0) as client:
            deadline = time.monotonic() + 5
            while True:
                try:
                    await client.models.list()
                    break
                except openai.AuthenticationError:
                    assert time.monotonic() < deadline, "a rotated key was not accepted within five seconds"
                    await asyncio.sleep(0.2)
        counts["rotated"] += 1


async def soak(server: Server) -> None:
    counts = dict.fromkeys(["http", "grpc", "left", "reset", "rotated"], 0)
    until = time.monotonic() + 60 * MINUTES
    # One Python process runs both clients. The HTTP client is far slower and must not starve the gRPC client.
    work = [over_http(server, counts, until) for _ in range(8)] + [over_grpc(server, counts, until) for _ in range(40)]
    work += [resetting(server, counts, until) for _ in range(4)] + [rotating(server, counts, until)]
    server.look("before")
    tasks = asyncio.gather(*work)
    while not tasks.done():
        await asyncio.wait([tasks], timeout=30)
        if not tasks.done():
            server.look("during")
    await tasks
    # The server notices abandoned streams within milliseconds; connections close when their clients disconnect.
    await asyncio.sleep(1)
    print("  calls:", ", ".join(f"{name} {count}" for name, count in counts.items()))


with tempfile.TemporaryDirectory() as folder:
    server = Server(Path(folder))
    try:
        asyncio.run(soak(server))
        time.sleep(1)
        server.look("after")
    finally:
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(timeout=40)
        server.log.wait(timeout=5)
    print(f"   exit: {code}")
    sys.exit(code)
