"""A driver whose clock jumps: capture times stay true and rising, and figures join their frames.

vivid takes up a new `wrap_timestamp` when a stream begins, so each change is followed by a fault
that ends the stream. Its "32 Bit" is 68 years ahead, its "64 Bit" 292 years, and after sixteen
seconds before the beginning of time.
"""

from bisect import bisect_right

from line import FPS, PERIOD_S, Line, line
from viewer import Picture

DEADLINE_S = 240
WRAPS = {"32 Bit": (2, 4), "64 Bit": (1, 18)}
"""The control's value, and the seconds of pictures to look at."""
AFTER_S = 4
COUNTED = "floorcast_capture_implausible_stamps_total"
POLL_S = 0.2
"""How often the box asks the PLC."""
BACK_S = 20
NOISE_S = 0.05
"""At least so much the time through the emulated encoder varies by."""


async def run(bench):
    """One machine; camera A's clock jumps and comes back."""
    async with line(bench) as air:
        viewer = air.viewers["a"]
        calm = await span(air, AFTER_S)
        late = sorted(lateness(air, calm))
        usual = middle(late)
        noise = max(NOISE_S, late[len(late) * 9 // 10] - usual)
        print(f"before: {told(air, calm, usual)}; it varies by {noise:.3f} s", flush=True)
        for name, (value, seconds) in WRAPS.items():
            before = await bench.metrics()
            await jump(air, value)
            pictures = await span(air, seconds)
            counted = (await bench.metrics()).since(before, COUNTED, feed="a")
            print(f"{name}: {counted:.0f} stamps not believed; {told(air, pictures, usual)}")
            assert counted >= len(pictures) * 0.8, f"only {counted} of {len(pictures)} counted"
            judge(air, pictures, usual, noise)
        await jump(air, 0)
        await span(air, 1)  # the first may have waited in the queue
        before = await bench.metrics()
        pictures = await span(air, AFTER_S)
        counted = (await bench.metrics()).since(before, COUNTED, feed="a")
        print(f"after: {counted:.0f} not believed; {told(air, pictures, usual)}", flush=True)
        assert counted <= 1, f"{counted} stamps not believed once they were right again"
        judge(air, pictures, usual, noise)
        times = [picture.rtp for picture in viewer.pictures]
        assert all(x < y for x, y in zip(times, times[1:])), "capture time went back"
        viewer.unbroken()


async def jump(air: Line, value: int):
    """Sets the driver's clock and has the stream begin anew."""
    camera = air.cameras["a"]
    heard = len(air.viewers["a"].messages)
    for control, to in (("wrap_timestamp", value), ("inject_fatal_streaming_error", 1)):
        deed = await camera.set(control, to, air.clock)
        assert not deed.refused, deed
    await air.viewers["a"].state(
        "off the camera", lambda s: s["state"] != "live", BACK_S, heard
    )
    await air.live("a", BACK_S, len(air.viewers["a"].messages))


async def span(air: Line, seconds: float) -> list[Picture]:
    """The camera's next pictures, so many seconds of capture time."""
    viewer = air.viewers["a"]
    first = len(viewer.pictures)
    await viewer.until(
        f"{seconds} s of pictures",
        lambda v: len(v.pictures) > first + FPS / 2
        and v.pictures[-1].rtp - v.pictures[first].rtp >= seconds * 90_000,
        seconds * 2 + 10,
    )
    last = len(viewer.pictures)
    # Their figures come a moment after them.
    heard = len(viewer.messages)
    await viewer.until("more messages", lambda v: len(v.messages) > heard + 10, 10)
    pictures = viewer.pictures[first:last]
    slates = [n for n, picture in enumerate(pictures) if picture.slate]
    assert not slates, f"of {len(pictures)} pictures these are slates: {slates}"
    return pictures


def lateness(air: Line, pictures: list[Picture]) -> list[float]:
    """From light, as the box says, to the decoded picture here."""
    viewer = air.viewers["a"]
    return [p.at - air.clock.here(viewer.captured(p)) for p in pictures]


def ages(air: Line, pictures: list[Picture]) -> list[float]:
    """How old each picture's count is: joined by capture time, as the page does."""
    viewer = air.viewers["a"]
    taken = [at / 1e6 for at, _, quality in viewer.values(air.count) if quality == "good"]
    captured = [viewer.captured(picture) for picture in pictures]
    return [at - taken[bisect_right(taken, at) - 1] for at in captured]


def judge(air: Line, pictures: list[Picture], usual: float, noise: float):
    """What is said of capture times is off by the period that it admits to, at most."""
    late = lateness(air, pictures)
    assert min(late) > -air.clock.error, f"captured {-min(late):.3f} s after it was seen here"
    off = abs(middle(late) - usual)
    assert off <= PERIOD_S + noise + air.clock.error, f"capture times are off by {off:.3f} s"
    old = ages(air, pictures)
    assert 0 <= min(old) and max(old) < 4 * POLL_S, f"joined figures {min(old)} to {max(old)} s old"


def told(air: Line, pictures: list[Picture], usual: float) -> str:
    """The figures of a span."""
    late, old = lateness(air, pictures), ages(air, pictures)
    return (
        f"{len(pictures)} pictures, {middle(late):.3f} s from light to here, at most "
        f"{max(late):.3f} ({middle(late) - usual:+.3f} s), figures {middle(old):.3f} s old, "
        f"at most {max(old):.3f}"
    )


def middle(values: list[float]) -> float:
    """The median."""
    return sorted(values)[len(values) // 2]
