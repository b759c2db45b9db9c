"""A storm of faults of two cameras, by a seed, ends with both live and nothing leaked.

`STORM_SEED` names another storm, `STORM_SECONDS` makes it longer; the same seed is the same
storm. Only its own passing of time is waited for, all else are events.
"""

import asyncio
import os
import time

from line import line as on_air
from storm import storm

SEED = int(os.environ.get("STORM_SEED", "20"))
SECONDS = float(os.environ.get("STORM_SECONDS", "60"))
DEADLINE_S = SECONDS * 1.5 + 240
CALM_S = 30
"""From the end of the last fault to live."""


async def run(bench):
    """One machine, two cameras, all faults."""
    async with on_air(bench) as air:
        acts = storm(SEED, SECONDS, list(air.cameras))
        print(f"seed {SEED}, {SECONDS:.0f} s, {len(acts)} acts", flush=True)
        before = await air.settled()
        heard = {feed: len(viewer.messages) for feed, viewer in air.viewers.items()}
        counted = await bench.metrics()
        refused = []
        with (bench.job / "storm.log").open("w") as log:
            began = time.monotonic()
            for act in acts:
                await asyncio.sleep(began + act.at_s - time.monotonic())
                deed = await air.cameras[act.camera].set(act.what, act.value, air.clock)
                at, took = deed.began - began, deed.ended - deed.began
                log.write(f"{act}: at {at:.2f} for {took:.2f} s, {deed.refused or 'done'}\n")
                if deed.refused:
                    refused.append(act)
            log.write(f"calm after {time.monotonic() - began:.1f} s\n")
        calm = time.monotonic()
        for feed in air.cameras:
            await air.live(feed, CALM_S, len(air.viewers[feed].messages))
        live = time.monotonic() - calm
        after = await air.flat(before)
        counted_now = await bench.metrics()
        print(
            f"{len(acts) - len(refused)} faults took, {len(refused)} found no camera; "
            f"live {live:.1f} s after the last"
        )
        for feed, viewer in air.viewers.items():
            codes = [message.state.get("code") for message in viewer.messages[heard[feed] :]]
            changes = [y for x, y in zip([None, *codes], codes) if x != y and y]
            restarts = counted_now.since(counted, "floorcast_capture_restarts_total", feed=feed)
            print(
                f"{feed}: {len(changes)} times off the picture "
                f"({', '.join(sorted(set(changes)))}), {restarts:.0f} restarts"
            )
        print(f"before {before}; after {after}", flush=True)
        for viewer in air.viewers.values():
            viewer.unbroken()
        log = air.guest.read("floorcast.log", 1 << 26)
        panics = [line for line in log.splitlines() if "panicked" in line]
        assert not panics, panics
        oops = [x for x in air.guest.read("console.log").splitlines() if "Call trace" in x]
        assert not oops, "the kernel itself stumbled: see console.log"
