"""What stands around the box, on the host: a PLC, a broker, a viewer.

None of it is ours: pymodbus, mosquitto and aiortc. The guest reaches the host's loopback at
`GUEST_SEES`. Everything waits for events, each within the deadline of the caller.
"""

import asyncio
import json
import pathlib
import socket
import struct
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from dataclasses import dataclass, field

import aioice.ice
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

GUEST_SEES = "10.0.2.2"
"""The host's loopback, from inside QEMU's user network."""

# Forwarded ports are on the loopback interface, which aioice leaves out.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


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


@dataclass
class Picture:
    """One decoded frame."""

    rtp: int
    at: float
    width: int
    height: int
    sum: int


@dataclass
class Viewer:
    """A plain WHEP client (aiortc) that decodes the video and keeps the telemetry."""

    url: str
    pictures: list[Picture] = field(default_factory=list)
    messages: list[dict] = field(default_factory=list)

    async def __aenter__(self) -> "Viewer":
        self._changed = asyncio.Event()
        self._peer = RTCPeerConnection()
        self._peer.addTransceiver("video", direction="recvonly")
        channel = self._peer.createDataChannel("telemetry", ordered=False, maxRetransmits=0)
        channel.on("message", self._told)
        self._peer.on("track", self._track)
        await self._peer.setLocalDescription(await self._peer.createOffer())
        request = urllib.request.Request(
            self.url,
            data=self._peer.localDescription.sdp.encode(),
            headers={"Content-Type": "application/sdp"},
        )
        try:
            reply = await asyncio.to_thread(urllib.request.urlopen, request, timeout=60)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{self.url}: {error.code}: {error.read().decode()[:500]}") from error
        if reply.status != 201:
            raise RuntimeError(f"{self.url}: {reply.status} where 201 was due")
        self.session = urllib.parse.urljoin(self.url, reply.headers["Location"])
        answer = reply.read().decode()
        await self._peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        return self

    def _told(self, text):
        self.messages.append(json.loads(text))
        self._changed.set()

    def _track(self, track):
        self._watching = asyncio.create_task(self._watch(track))

    async def _watch(self, track):
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            pixels = bytes(frame.planes[0])
            self.pictures.append(
                Picture(
                    frame.pts, time.monotonic(), frame.width, frame.height, zlib.crc32(pixels)
                )
            )
            self._changed.set()

    def values(self, tag: int) -> list[tuple[int, object, str]]:
        """Every sample of a tag that arrived, once each: when taken (UTC µs), value, quality."""
        seen = {}
        for message in self.messages:
            for number, value, taken, _error, quality, _reason in message["tags"]:
                if number == tag:
                    seen[taken] = (taken, value, quality)
        return [seen[taken] for taken in sorted(seen)]

    async def until(self, what: str, holds, within_s: float):
        """Waits until `holds(self)`; at the deadline says what never came and what did."""
        try:
            async with asyncio.timeout(within_s):
                while not holds(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            last = self.messages[-1] if self.messages else None
            raise RuntimeError(
                f"not within {within_s} s: {what}; there were {len(self.pictures)} pictures and "
                f"{len(self.messages)} messages, the last: {last}; "
                f"ICE {self._peer.iceConnectionState}, connection {self._peer.connectionState}"
            ) from None

    async def __aexit__(self, *_):
        request = urllib.request.Request(self.session, method="DELETE") if self._named() else None
        if request:
            try:
                await asyncio.to_thread(urllib.request.urlopen, request, timeout=10)
            except OSError:
                pass  # the machine may be gone, which is what some scenarios are about
        await self._peer.close()

    def _named(self) -> bool:
        return hasattr(self, "session")


async def fetch(url: str, within_s: float = 60) -> dict:
    """GET of a JSON document."""
    reply = await asyncio.to_thread(urllib.request.urlopen, url, timeout=within_s)
    return json.loads(reply.read())
