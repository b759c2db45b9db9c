"""A line for faults: two cameras with drivers of their own, a PLC, and a viewer of each feed.

In: a bench. Out: a machine on air whose two feeds are live and watched, with the guest's clock
compared to ours. What the daemon says of a feed is read from its messages and its API.
"""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass

from guest import Clock, Guest, Usage
from host import GUEST_SEES, Plc, fetch
from viewer import Message, Viewer
from vivid import Camera

FPS = 5
PERIOD_S = 1 / FPS
LIVE_S = 60
"""From on air to both pictures: the encoders' trials, then the first frames."""

IDLE_S = 3
"""The daemon's idle worker threads end after one second."""


def camera_section(feed: str, port: str) -> str:
    """Small pictures that move by themselves: two encoders keep up on an emulated processor.

    One encoder by name: where it is kept waiting for a processor for so long that it is taken to
    hang, the next one makes the same stream. With its other timestamp source vivid's clock runs
    nearly twice as fast as time.
    """
    return f"""
[[camera]]
id = "{feed}"
port = "{port}"
width = 320
height = 180
fps = {FPS}
frame_deadline_ms = 1500
encoder = "x264enc"
bitrate_kbps = 500
gop_ms = 1000

[camera.controls]
timestamp_source = "Start of Exposure"
brightness = 210
test_pattern = "Gray Ramp"
horizontal_movement = "Move Right"
"""


def config(bench, plc: Plc, cameras: dict[str, Camera]) -> str:
    """The box: cameras and a bus."""
    sections = "".join(camera_section(feed, camera.port) for feed, camera in cameras.items())
    return f"""
{bench.web}
{sections}
[[modbus]]
id = "plc"
tcp = "{GUEST_SEES}:{plc.port}"
timeout_ms = 2000

[[modbus.unit]]
id = 1
period_ms = 200

[[modbus.unit.tag]]
name = "count"
table = "holding"
address = 0
public = true
"""


@dataclass
class Line:
    """What a scenario works with; feeds are called a and b."""

    bench: object
    guest: Guest
    clock: Clock
    cameras: dict[str, Camera]
    viewers: dict[str, Viewer]
    count: int
    """Id of the tag that counts up."""

    async def feed(self, name: str) -> dict:
        """What the API says of a feed."""
        studio = await fetch(f"{self.bench.page}api/studio")
        return next(feed for feed in studio["feeds"] if feed["id"] == name)

    async def live(self, name: str, within_s: float, since: int = 0) -> Message:
        """Waits until the feed is said to be live and its camera's newer pictures are here."""
        viewer = self.viewers[name]
        said = await viewer.state(
            f"feed {name} live", lambda s: s["state"] == "live", within_s, since
        )
        # Until then comes what was on its way before: the last pictures of before a fault, and
        # the slates between. A camera that is back at once is live before those are here.
        await viewer.picture(
            f"pictures of camera {name}",
            lambda p: not p.slate and self.clock.here(viewer.captured(p)) > said.at,
            within_s,
            max(len(viewer.pictures) - 1, 0),
        )
        return said

    def latency(self, name: str, pictures: int = 20) -> float:
        """From light to the decoded picture here, the median of the newest: the emulated path."""
        viewer = self.viewers[name]
        late = sorted(
            picture.at - self.clock.here(viewer.captured(picture))
            for picture in viewer.pictures[-pictures:]
        )
        return late[len(late) // 2]

    async def settled(self) -> Usage:
        """What the daemon holds once that has not changed for as long as idle threads live."""
        usage, since = await self.guest.usage("floorcast"), time.monotonic()
        async with asyncio.timeout(60):
            while time.monotonic() - since < IDLE_S:
                await asyncio.sleep(1)
                now = await self.guest.usage("floorcast")
                if (now.descriptors, now.threads) != (usage.descriptors, usage.threads):
                    since = time.monotonic()
                usage = now
        return usage

    async def flat(self, before: Usage, within_s: float = 40) -> Usage:
        """Waits until the daemon holds no more than before; what it holds then."""
        until = time.monotonic() + within_s
        while True:
            now = await self.guest.usage("floorcast")
            grown = now.grown(before)
            if not grown:
                return now
            if time.monotonic() > until:
                raise AssertionError(f"grown, and still so after {within_s} s: {grown}; {now}")
            await asyncio.sleep(1)


@asynccontextmanager
async def line(bench):
    """The line on air, both feeds live and watched."""
    async with Plc() as plc, bench.guest() as guest:
        cameras = {
            "a": await Camera.load(guest, "vivid", "single"),
            "b": await Camera.load(guest, "viv_b", "multi"),
        }
        await bench.daemon(guest, config(bench, plc, cameras))
        async with Viewer(f"{bench.page}whep/a") as a, Viewer(f"{bench.page}whep/b") as b:
            studio = await fetch(f"{bench.page}api/studio")
            count = next(tag["id"] for tag in studio["tags"] if tag["name"] == "count")
            air = Line(bench, guest, await guest.clock(), cameras, {"a": a, "b": b}, count)
            for feed in cameras:
                await air.live(feed, LIVE_S)
            nodes = [await camera.node() for camera in cameras.values()]
            print(f"booted in {guest.boot_s} s, cameras {nodes}; {air.clock}", flush=True)
            yield air
        await guest.stop("floorcast")
