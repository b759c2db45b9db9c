"""What stands around the box, on the host: a PLC and a broker; for viewers see viewer.py.

None of it is ours: pymodbus and mosquitto. The guest reaches the host's loopback at
`GUEST_SEES`. Everything waits for events, each within the deadline of the caller.
"""

import asyncio
import json
import pathlib
import socket
import struct
import urllib.request

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

GUEST_SEES = "10.0.2.2"
"""The host's loopback, from inside QEMU's user network."""


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Plc:
    """A pymodbus server, unit 1. Register 0 counts up ten times a second."""

    def __init__(self):
        self.port = free_port()

    async def __aenter__(self) -> "Plc":
        registers = SimData(0, count=100, values=0, datatype=DataType.REGISTERS)
        device = SimDevice(1, [registers])
        self.server = ModbusTcpServer(device, address=("127.0.0.1", self.port))
        await self.server.serve_forever(background=True)
        self._counting = asyncio.create_task(self._count())
        return self

    async def _count(self):
        count = 0
        while True:
            await self.set(0, [count % 65536])
            count += 1
            await asyncio.sleep(0.1)

    async def set(self, address: int, values: list[int]):
        """Writes holding registers."""
        await self.server.async_setValues(1, 16, address, values)

    async def set_float(self, address: int, value: float):
        """Writes an f32, high word first."""
        await self.set(address, list(struct.unpack(">HH", struct.pack(">f", value))))

    async def __aexit__(self, *_):
        self._counting.cancel()
        await self.server.shutdown()


class Broker:
    """A mosquitto, open to all, with one client that publishes."""

    def __init__(self, job: pathlib.Path):
        self.job, self.port = job, free_port()
        self._children = []

    async def __aenter__(self) -> "Broker":
        config = self.job / "mosquitto.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        log = (self.job / "mosquitto.log").open("wb")
        process = await asyncio.create_subprocess_exec(
            "/usr/sbin/mosquitto", "-v", "-c", str(config), stdout=log, stderr=log
        )
        self._children.append(process)
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return self
                except OSError:
                    if process.returncode is not None:
                        raise RuntimeError((self.job / "mosquitto.log").read_text())
                    await asyncio.sleep(0.02)

    async def publisher(self, topic: str):
        """A client that publishes each line it is given, retained: `send(text)`."""
        client = await asyncio.create_subprocess_exec(
            *["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.port), "-t", topic, "-r", "-l"],
            stdin=asyncio.subprocess.PIPE,
        )
        self._children.append(client)
        return lambda text: client.stdin.write(f"{text}\n".encode())

    async def __aexit__(self, *_):
        for child in self._children:
            if child.returncode is None:
                child.kill()
            await child.wait()


async def text(url: str, within_s: float = 60) -> str:
    """GET of a text."""

    def get() -> str:
        with urllib.request.urlopen(url, timeout=within_s) as reply:
            return reply.read().decode()

    return await asyncio.to_thread(get)


async def fetch(url: str, within_s: float = 60) -> dict:
    """GET of a JSON document."""
    return json.loads(await text(url, within_s))
