"""A viewer on the host: a plain WHEP client (aiortc) that keeps what it was sent.

In: the address of a feed. Out: every decoded picture with what it looks like, every message of
the telemetry channel, and the stream as it came over the wire: packets, parameter sets, key
frames. Times are the host's monotonic clock; `rtp` is the 90 kHz time, never wrapped.
"""

import asyncio
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from dataclasses import dataclass, field

import aioice.ice
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.codecs import is_rtx
from aiortc.mediastreams import MediaStreamError

# Forwarded ports are on the loopback interface, which aioice leaves out.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]

SLATE_LUMA = 100
"""Mean luma of a slate is below, that of a bright camera above."""
STEP = 23
"""One pixel in so many is looked at: a prime, so that it is not always the same column."""


@dataclass
class Picture:
    """One decoded frame."""

    rtp: int
    at: float
    width: int
    height: int
    sum: int
    luma: float
    """Mean, 0 to 255."""
    change: float
    """Mean difference of its pixels to those of the picture before, 0 to 255."""

    @property
    def slate(self) -> bool:
        """It is drawn, dark and still, not bright and moving."""
        return self.luma < SLATE_LUMA


@dataclass
class Packet:
    """One RTP packet of the picture, as it came."""

    seq: int
    rtp: int
    ssrc: int
    at: float


@dataclass
class Message:
    """One message of the telemetry channel."""

    at: float
    body: dict

    @property
    def state(self) -> dict:
        """Of the feed: state, code, reason, since."""
        return self.body["state"]


class Unwrap:
    """Numbers that start again after `bits` bits, made to rise for ever."""

    def __init__(self, bits: int):
        self._span, self._last = 1 << bits, None

    def map(self, number: int) -> int:
        """The number nearest to the one before that ends like this one."""
        if self._last is not None:
            ahead = (number - self._last) % self._span
            number = self._last + (ahead if ahead < self._span // 2 else ahead - self._span)
        self._last = number
        return number


def nal_units(payload: bytes) -> list[tuple[int, bytes]]:
    """H.264 NAL units that begin in an RTP payload (RFC 6184), with their types.

    Of one that is sent in fragments, only the beginning.
    """
    if not payload:
        return []
    kind = payload[0] & 31
    if kind == 24:
        units, at = [], 1
        while at + 2 < len(payload):
            size = int.from_bytes(payload[at : at + 2], "big")
            units.append((payload[at + 2] & 31, payload[at + 2 : at + 2 + size]))
            at += 2 + size
        return units
    if kind == 28 and len(payload) > 1:
        return [(payload[1] & 31, b"")] if payload[1] & 0x80 else []
    return [(kind, payload)]


@dataclass
class Viewer:
    """One viewer of one feed."""

    url: str
    pictures: list[Picture] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    packets: list[Packet] = field(default_factory=list)
    parameter_sets: set[bytes] = field(default_factory=set)
    """Every different SPS and PPS."""
    keys: list[int] = field(default_factory=list)
    """RTP times of key frames."""
    pleas: int = 0
    """How often the decoder could not go on and asked for a key frame."""
    connections: list[str] = field(default_factory=list)
    """States of the connection, in order."""

    async def __aenter__(self) -> "Viewer":
        self._changed = asyncio.Event()
        self._peer = RTCPeerConnection()
        self._peer.on(
            "connectionstatechange",
            lambda: self.connections.append(self._peer.connectionState),
        )
        self._tap(self._peer.addTransceiver("video", direction="recvonly").receiver)
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

    def _tap(self, receiver):
        """Listens in on what aiortc does not show: packets, its own pleas, RTP time as sent."""
        receiver._RTCRtpReceiver__timestamp_mapper = Unwrap(32)
        take, plead = receiver._handle_rtp_packet, receiver._send_rtcp_pli
        sequence, rtp = Unwrap(16), Unwrap(32)

        async def taken(packet, arrival_time_ms):
            if is_rtx(receiver._RTCRtpReceiver__codecs[packet.payload_type]):
                return await take(packet, arrival_time_ms)
            at = rtp.map(packet.timestamp)
            number = sequence.map(packet.sequence_number)
            self.packets.append(Packet(number, at, packet.ssrc, time.monotonic()))
            for kind, unit in nal_units(packet.payload):
                if kind in (7, 8):
                    self.parameter_sets.add(unit)
                elif kind == 5 and self.keys[-1:] != [at]:
                    self.keys.append(at)
            await take(packet, arrival_time_ms)

        async def pleaded(ssrc):
            self.pleas += 1
            await plead(ssrc)

        receiver._handle_rtp_packet, receiver._send_rtcp_pli = taken, pleaded

    def _told(self, text):
        self.messages.append(Message(time.monotonic(), json.loads(text)))
        self._changed.set()

    def _track(self, track):
        self._watching = asyncio.create_task(self._watch(track))

    async def _watch(self, track):
        before = b""
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            pixels = bytes(frame.planes[0])
            some = pixels[::STEP]
            change = sum(abs(a - b) for a, b in zip(some, before)) / len(some)
            self.pictures.append(
                Picture(
                    rtp=frame.pts,
                    at=time.monotonic(),
                    width=frame.width,
                    height=frame.height,
                    sum=zlib.crc32(pixels),
                    luma=sum(some) / len(some),
                    change=change,
                )
            )
            before = some
            self._changed.set()

    def values(self, tag: int) -> list[tuple[int, object, str]]:
        """Every sample of a tag that arrived, once each: when taken (UTC µs), value, quality."""
        seen = {}
        for message in self.messages:
            for number, value, taken, _error, quality, _reason in message.body["tags"]:
                if number == tag:
                    seen[taken] = (taken, value, quality)
        return [seen[taken] for taken in sorted(seen)]

    def captured(self, picture: Picture) -> float:
        """When a picture's light was captured, UTC seconds on the box: as the page works it out."""
        newest = min(self.messages, key=lambda m: abs(m.at - picture.at)).body
        ticks = (picture.rtp - newest["rtp"] + (1 << 31)) % (1 << 32) - (1 << 31)
        return newest["utc_us"] / 1e6 + ticks / 90_000

    async def until(self, what: str, holds, within_s: float):
        """Waits until `holds(self)`; at the deadline says what never came and what did."""
        try:
            async with asyncio.timeout(within_s):
                while not holds(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            last = self.messages[-1].body if self.messages else None
            raise RuntimeError(
                f"not within {within_s} s: {what}; there were {len(self.pictures)} pictures, "
                f"the last: {self.pictures[-1:]}, and {len(self.messages)} messages, "
                f"the last: {last}; "
                f"ICE {self._peer.iceConnectionState}, connection {self._peer.connectionState}"
            ) from None

    async def picture(self, what: str, holds, within_s: float, since: int = 0) -> Picture:
        """The first picture from number `since` on for which `holds(picture)`."""
        at = since

        def found(_) -> bool:
            nonlocal at
            while at < len(self.pictures) and not holds(self.pictures[at]):
                at += 1
            return at < len(self.pictures)

        await self.until(what, found, within_s)
        return self.pictures[at]

    async def state(self, what: str, holds, within_s: float, since: int = 0) -> Message:
        """The first message from number `since` on for whose state `holds(state)`."""
        at = since

        def found(_) -> bool:
            nonlocal at
            while at < len(self.messages) and not holds(self.messages[at].state):
                at += 1
            return at < len(self.messages)

        await self.until(what, found, within_s)
        return self.messages[at]

    def lost(self) -> list[int]:
        """Sequence numbers that never came."""
        numbers = {packet.seq for packet in self.packets}
        return [n for n in range(min(numbers), max(numbers) + 1) if n not in numbers]

    def unbroken(self):
        """One connection, one stream, one decoder, from the first packet to the last."""
        assert self.connections in (["connecting", "connected"], ["connected"]), self.connections
        assert len({packet.ssrc for packet in self.packets}) == 1, "the SSRC changed"
        assert not self.lost(), f"packets are missing: {self.lost()[:20]}"
        assert len(self.parameter_sets) == 2, f"SPS or PPS changed: {self.parameter_sets}"
        assert not self.pleas, f"the decoder could not go on {self.pleas} times"

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
