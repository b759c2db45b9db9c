"""What is wrong at one port stays there: it is waited for or named, and the other cameras run.

A camera that is absent at start comes on when it is plugged in; one that is never there, and one
that has no such size, say so on their slates. Another camera in the same port is taken if it can
do what is configured; if not, the slate says why, until one that can is back.
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
    """One machine, four cameras configured, two there at first."""
    sections = [
        camera_section("a", "platform:vivid-000"),
        camera_section("late", "platform:viv_b-000"),
        camera_section("never", ABSENT),
        camera_section("odd", "platform:viv_d-000", width=400, height=300),
    ]
    async with bench.guest() as guest, AsyncExitStack() as stack:
        camera = await Camera.load(guest, "vivid")
        await Camera.load(guest, "viv_d")
        await bench.daemon(guest, bench.web + "".join(sections))
        names = ["a", "late", "never", "odd"]
        viewers = {
            name: await stack.enter_async_context(Viewer(f"{bench.page}whep/{name}"))
            for name in names
        }
        a, late = viewers["a"], viewers["late"]

        await live("a", a, LIVE_S)
        for name, code, words in (
            ("late", "unplugged", ["platform:viv_b-000 absent"]),
            ("never", "unplugged", [f"{ABSENT} absent"]),
            ("odd", "wrong_format", ["400x300", f"{FPS} fps", "320x180", "1920x1080"]),
        ):
            told = await slate(guest, name, viewers[name], code)
            assert all(word in told for word in words), f"{words} are not all in {told}"

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
                await slate(guest, "a", a, "wrong_format", seen, heard)
        for viewer in viewers.values():
            viewer.unbroken()
        for name in ("never", "odd"):
            states = {message.state["state"] for message in viewers[name].messages}
            assert states <= {"connecting", "no_signal"}, f"{name}: {states}"
        log = guest.read("floorcast.log", 1 << 24).splitlines()
        said = [line for line in log if "id=odd" in line and "camera off" in line]
        assert len(said) == 1, f"said {len(said)} times: {said[0]}"
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
