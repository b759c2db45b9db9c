"""Figures of the emulated box: boot to picture, replug to picture, growth over 200 unplug cycles.

`CYCLES` makes it shorter. Fails where the daemon holds more after all cycles than after the
first ten, counted from when the rings are full: at five frames a second that takes two minutes. Times include the emulated processor: beside each stands what it costs.
"""

import asyncio
import os

from line import line
from plug import once, spread

BENCH = True
CYCLES = int(os.environ.get("CYCLES", "200"))
EARLY = 10
DEADLINE_S = 300 + CYCLES * 15
OWN = "floorcast_capture_own_seconds"
FRAMES = "floorcast_capture_frames_total"
RING = 700
"""A ring keeps 600 frames (src/feed/ring.rs); slates among them are counted too."""
FULL_S = 240
RSS_MAY_GROW_KB = 4096
"""From ten cycles to all of them: pools and arenas fill, a leak goes on."""


async def run(bench):
    """One machine, two cameras; one is unplugged again and again."""
    assert CYCLES > EARLY, f"CYCLES = {CYCLES}: more than {EARLY} are needed"
    async with line(bench) as air:
        viewers = air.viewers.values()
        shown = min(viewer.pictures[0].at for viewer in viewers)
        print(
            f"power to the first picture at a viewer: {shown - air.guest.powered:.1f} s, of which "
            f"{air.guest.boot_s:.1f} s until the kernel's user space",
            flush=True,
        )
        began = await bench.metrics()
        path = max(air.latency(feed) for feed in air.viewers)
        decoy, slates, pictures = None, [], []
        for cycle in range(CYCLES):
            decoy, slate, picture, _ = await once(air, decoy, path + air.clock.error)
            slates.append(slate)
            pictures.append(picture)
            if cycle + 1 == EARLY:
                await full(bench, air)
                early = await air.settled()
            if (cycle + 1) % EARLY == 0:
                print(f"{cycle + 1} cycles: {await air.guest.usage('floorcast')}", flush=True)
        after = await air.flat(early)
        ended = await bench.metrics()
        print(
            f"replug to picture at the viewer: {spread(pictures)}; unplug to slate: "
            f"{spread(slates)}; of both {path:.2f} s from light to the viewer"
        )
        for feed in air.viewers:
            p50, p99 = (ended.quantile(began, OWN, share, feed=feed) for share in (0.5, 0.99))
            print(
                f"{feed}: capture stamp to ring without the encoder: p50 {p50 * 1e3:.1f} ms, "
                f"p99 {p99 * 1e3:.1f} ms"
            )
        print(f"after {EARLY} cycles {early}; after {CYCLES} {after}", flush=True)
        grown = after.rss_kb - early.rss_kb
        assert grown <= RSS_MAY_GROW_KB, f"RSS grew by {grown} kB from {EARLY} to {CYCLES} cycles"


async def full(bench, air):
    """Waits until each feed's ring keeps as many frames as it ever does: till then memory grows."""
    async with asyncio.timeout(FULL_S):
        while True:
            now = await bench.metrics()
            if all(now.sum(FRAMES, feed=feed) >= RING for feed in air.viewers):
                return
            await asyncio.sleep(1)
