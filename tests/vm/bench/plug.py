"""A camera unplugged and plugged in again, timed at its viewer."""

from dataclasses import dataclass

from line import Line
from vivid import Camera

SLOW_S = 10.0
"""Waited for before it is a failure without a figure."""


@dataclass(frozen=True)
class Took:
    """How long something took, and what of it is allowed."""

    seconds: float
    allowed: float

    def late(self, limit: float) -> bool:
        """Longer than a box may take."""
        return self.seconds > limit + self.allowed

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s ({self.allowed:.2f} allowed)"


async def once(air: Line, decoy: Camera | None, allowed: float) -> tuple[Camera, Took, Took, str]:
    """Unplugs A and plugs it in again; the times until its viewer saw it, and its new node."""
    camera, viewer = air.cameras["a"], air.viewers["a"]
    seen, heard = len(viewer.pictures), len(viewer.messages)
    hungry = air.guest.starved()
    gone = await camera.unplug(air.clock)
    slate = await viewer.picture("the slate", lambda p: p.slate, SLOW_S, seen)
    slate = Took(slate.at - gone.began, allowed + air.guest.starved_since(hungry))
    said = await viewer.state("unplugged", lambda s: s["code"] == "unplugged", SLOW_S, heard)
    assert said.state["state"] == "no_signal", said.state
    # The lowest free number goes to who comes first: A's own of the time before is taken,
    # or one below it set free.
    if decoy is None:
        decoy = await Camera.load(air.guest, "decoy")
    else:
        await decoy.set("unplug", int(bool(await decoy.node())), air.clock)
    seen, heard = len(viewer.pictures), len(viewer.messages)
    hungry = air.guest.starved()
    back = await camera.plug(air.clock)
    picture = await viewer.picture("the camera", lambda p: not p.slate, SLOW_S, seen)
    picture = Took(picture.at - back.ended, allowed + air.guest.starved_since(hungry))
    await air.live("a", SLOW_S, heard)
    return decoy, slate, picture, back.node


def spread(times: list[Took]) -> str:
    """Median and worst."""
    seconds = sorted(time.seconds for time in times)
    return f"{seconds[len(seconds) // 2]:.2f} s, at most {seconds[-1]:.2f} s"
