"""A camera is unplugged and plugged in again, twenty times, each time under another node number.

Its viewer has the slate within a second and the picture within two; the other camera's feed
loses nothing; nobody reconnects, and no decoder starts anew. Both clocks are compared: a moment
of the guest is a moment here give or take what is printed. The limits are those of a box, plus
what only the emulated processor costs: the time that any picture needs from light to the viewer.
"""

from line import FPS, PERIOD_S, Line, line
from viewer import Viewer
from vivid import Camera

DEADLINE_S = 420
CYCLES = 20
SLATE_S = 1.0
PICTURE_S = 2.0
SLOW_S = 10.0
"""Waited for before it is a failure without a figure."""
LOSSES = [
    "floorcast_capture_shed_total",
    "floorcast_capture_lost_total",
    "floorcast_capture_driver_lost_total",
    "floorcast_capture_undecodable_total",
    "floorcast_capture_slate_frames_total",
    "floorcast_capture_restarts_total",
]


async def run(bench):
    """One machine, two cameras; a third takes node numbers away."""
    async with line(bench) as air:
        a, b = air.viewers["a"], air.viewers["b"]
        await b.until("a second of B", lambda v: len(v.pictures) > FPS, 20)
        path = max(air.latency("a"), air.latency("b"))
        allowed = path + air.clock.error
        print(f"allowed on top of the limits: {allowed:.3f} s, of which {path:.3f} s from light")
        print("  to the viewer through the emulated encoder", flush=True)
        began, first_a, first_b = await bench.metrics(), len(a.pictures), len(b.pictures)
        decoy, numbers, slates, pictures = None, [await air.cameras["a"].node()], [], []
        for cycle in range(CYCLES):
            decoy, slate, picture, number = await once(air, decoy)
            slates.append(slate)
            pictures.append(picture)
            numbers.append(number)
            if cycle == 1:
                early = await air.guest.usage("floorcast")
        usage = await air.flat(early)
        ended, clock = await bench.metrics(), await air.guest.clock()

        print(f"{CYCLES} times; slate after {spread(slates)}, picture after {spread(pictures)}")
        print(f"nodes {' '.join(number.removeprefix('/dev/video') for number in numbers)}; {clock}")
        print(f"after 2 times {early}; after {CYCLES} {usage}")
        lost = {name: ended.since(began, name, feed="b") for name in LOSSES}
        silent = samples_apart(a, air.count)
        print(
            f"A: {len(a.pictures) - first_a} pictures, {len(a.packets)} packets in a row, "
            f"{len(a.keys)} key frames, at most {gap(a, first_a):.2f} s without a picture and "
            f"{silent:.2f} s without a sample, "
            f"{ended.since(began, LOSSES[4], feed='a'):.0f} slate frames"
        )
        steps = [y.rtp - x.rtp for x, y in zip(b.pictures[first_b:], b.pictures[first_b + 1 :])]
        print(
            f"B: {len(steps)} pictures, at most {max(steps) / 90:.1f} ms of light apart, "
            f"{len(b.packets)} packets in a row, lost {sum(lost.values()):.0f}",
            flush=True,
        )
        assert max(slates) <= SLATE_S + allowed, f"a slate after {max(slates):.2f} s"
        assert max(pictures) <= PICTURE_S + allowed, f"a picture after {max(pictures):.2f} s"
        assert all(x != y for x, y in zip(numbers, numbers[1:])), f"the same node again: {numbers}"
        assert not any(lost.values()), f"feed B lost: {lost}"
        assert max(steps) < 1.5 * PERIOD_S * 90_000, f"feed B had a gap: {max(steps) / 90} ms"
        assert silent < 2, f"no sample for {silent} s"
        for viewer in (a, b):
            viewer.unbroken()


async def once(air: Line, decoy: Camera | None) -> tuple[Camera, float, float, str]:
    """Unplugs A and plugs it in again; the times until its viewer saw it, and its new node."""
    camera, viewer = air.cameras["a"], air.viewers["a"]
    seen, heard = len(viewer.pictures), len(viewer.messages)
    gone = await camera.unplug(air.clock)
    slate = await viewer.picture("the slate", lambda p: p.slate, SLOW_S, seen)
    said = await viewer.state("unplugged", lambda s: s["code"] == "unplugged", SLOW_S, heard)
    assert said.state["state"] == "no_signal" and said.state["reason"], said.state
    # The lowest free number goes to who comes first: A's own of the time before is taken,
    # or one below it set free.
    if decoy is None:
        decoy = await Camera.load(air.guest, "decoy")
    else:
        await decoy.set("unplug", int(bool(await decoy.node())), air.clock)
    seen, heard = len(viewer.pictures), len(viewer.messages)
    back = await camera.plug(air.clock)
    picture = await viewer.picture("the camera", lambda p: not p.slate, SLOW_S, seen)
    await air.live("a", SLOW_S, heard)
    return decoy, slate.at - gone.began, picture.at - back.ended, back.node


def spread(times: list[float]) -> str:
    """Median and worst."""
    return f"{sorted(times)[len(times) // 2]:.2f} s, at most {max(times):.2f} s"


def gap(viewer: Viewer, first: int) -> float:
    """The longest time here between two pictures."""
    shown = [picture.at for picture in viewer.pictures[first:]]
    return max(y - x for x, y in zip(shown, shown[1:]))


def samples_apart(viewer: Viewer, tag: int) -> float:
    """The longest time here without a new good sample."""
    newest, news = 0, []
    for message in viewer.messages:
        taken = [
            at for n, _, at, _, quality, _ in message.body["tags"] if n == tag and quality == "good"
        ]
        if taken and max(taken) > newest:
            newest = max(taken)
            news.append(message.at)
    return max(y - x for x, y in zip(news, news[1:]))
