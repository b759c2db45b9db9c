"""A camera is unplugged and plugged in again, twenty times, each time under another node number.

Its viewer has the slate within a second and the picture within two; the other camera's feed
loses nothing; nobody reconnects, and no decoder starts anew. Both clocks are compared: a moment
of the guest is a moment here give or take what is printed. The limits are those of a box, plus
what only the emulated processor costs: the time that any picture needs from light to the viewer,
and the time that other programs here kept the machine from running.
"""

from line import FPS, PERIOD_S, line
from plug import once, spread
from viewer import Viewer

DEADLINE_S = 420
CYCLES = 20
SLATE_S = 1.0
PICTURE_S = 2.0
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
        print(
            f"allowed on top of the limits: {allowed:.3f} s, of which {path:.3f} s from light to "
            "the viewer, and what the machine had to wait for a processor",
            flush=True,
        )
        hungry = air.guest.starved()
        began, first_a, first_b = await bench.metrics(), len(a.pictures), len(b.pictures)
        decoy, numbers, slates, pictures = None, [await air.cameras["a"].node()], [], []
        for cycle in range(CYCLES):
            decoy, slate, picture, number = await once(air, decoy, allowed)
            slates.append(slate)
            pictures.append(picture)
            numbers.append(number)
            if cycle == 1:
                early = await air.guest.usage("floorcast")
        usage = await air.flat(early)
        ended, clock = await bench.metrics(), await air.guest.clock()

        starved = air.guest.starved_since(hungry)
        print(
            f"{CYCLES} times; slate after {spread(slates)}, picture after {spread(pictures)}; "
            f"the machine waited {starved:.1f} s for a processor"
        )
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
        for viewer in (a, b):
            viewer.unbroken()
        assert all(x != y for x, y in zip(numbers, numbers[1:])), f"the same node again: {numbers}"
        assert silent < 2 + starved, f"no sample for {silent} s"
        late = [time for time in slates if time.late(SLATE_S)]
        assert not late, f"slates after {', '.join(map(str, late))}"
        late = [time for time in pictures if time.late(PICTURE_S)]
        assert not late, f"pictures after {', '.join(map(str, late))}"
        # A machine that was kept waiting cannot but lose pictures of that time.
        excused = int(starved / PERIOD_S)
        assert sum(lost.values()) <= excused, f"feed B lost: {lost}; excused {excused}"
        assert max(steps) / 90_000 < 1.5 * PERIOD_S + starved, f"feed B had a gap of {max(steps)}"


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
