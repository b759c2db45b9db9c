"""What is wrong at one port stays there: it is waited for or named, and the other cameras run.

A camera that is absent at start comes on when it is plugged in; one that is never there says so on
its slate. Another camera in the same port is taken if it can do what is configured; if not, the
slate says why and the log what it offers, until one that can is back.
"""

from contextlib import AsyncExitStack

from guest import Guest
from line import FPS, LIVE_S, camera_section
from viewer import Viewer
from vivid import Camera

DEADLINE_S = 300
ABSENT = "usb-0000:00:14.0-9"
SOON_S = 30
"""From a plug, or from being on air, to what the viewer is to see."""


async def run(bench):
    """One machine, three cameras configured, one there at first."""
    sections = [
        camera_section("a", "platform:vivid-000"),
        camera_section("late", "platform:viv_b-000"),
        camera_section("never", ABSENT),
    ]
    async with bench.guest() as guest, AsyncExitStack() as stack:
        camera = await Camera.load(guest, "vivid")
        await bench.daemon(guest, bench.web + "".join(sections))
        viewers = {
            name: await stack.enter_async_context(Viewer(f"{bench.page}whep/{name}"))
            for name in ("a", "late", "never")
        }
        a, late = viewers["a"], viewers["late"]

        await live("a", a, LIVE_S)
        for name, port in (("late", "platform:viv_b-000"), ("never", ABSENT)):
            told = await slate(guest, name, viewers[name], "unplugged")
            assert f"{port} absent" in told, told

        await Camera.load(guest, "viv_b", "multi")
        await live("late", late, SOON_S)

        # Multi-planar as on a phone's chip, then a converter whose size is its signal's.
        for options, can in (
            ("input_types=0x0 multiplanar=2", True),
            ("input_types=0x3 multiplanar=1 ccs_cap_mode=0", False),
            ("input_types=0x0 multiplanar=1", True),
        ):
            seen, heard = len(a.pictures), len(a.messages)
            clock = await guest.clock()
            await camera.unplug(clock)
            await slate(guest, "a", a, "unplugged", seen, heard)
            seen, heard = len(a.pictures), len(a.messages)
            await camera.replace(options)
            if can:
                await live("a", a, SOON_S, seen, heard)
            else:
                told = await slate(guest, "a", a, "wrong_format", seen, heard)
                assert "at 60 fps" in told and f"we need 320x180 at {FPS} fps" in told, told
        for viewer in viewers.values():
            viewer.unbroken()
        states = {message.state["state"] for message in viewers["never"].messages}
        assert states <= {"connecting", "no_signal"}, f"a port without a camera was {states}"
        await guest.stop("floorcast")


async def live(name: str, viewer: Viewer, within_s: float, seen: int = 0, heard: int = 0):
    """Waits for the camera's picture, and for the word that it is live."""
    await viewer.picture(f"the camera on {name}", lambda p: not p.slate, within_s, seen)
    await viewer.state(f"{name} live", lambda s: s["state"] == "live", within_s, heard)
    print(f"{name}: live", flush=True)


async def slate(
    guest: Guest, name: str, viewer: Viewer, code: str, seen: int = 0, heard: int = 0
) -> str:
    """Waits for the slate and its reason; returns what the log tells technicians of it."""
    said = await viewer.state(f"{name}: {code}", lambda s: s["code"] == code, SOON_S, heard)
    assert said.state["state"] == "no_signal", said.state
    await viewer.picture(f"the slate on {name}", lambda p: p.slate, SOON_S, seen)
    marks = (f'part="feed/{name}"', f'code="{code}"')
    log = guest.read("floorcast.log", 1 << 20).splitlines()
    told = [line for line in log if all(mark in line for mark in marks)][-1]
    told = told.partition("reason=")[2]
    print(f"{name}: slate: {told}", flush=True)
    return told
