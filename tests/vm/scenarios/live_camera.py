"""Real input on air: V4L2 cameras on an ARM64 kernel, a PLC and a broker across the network.

Two vivid cameras, one single-planar and one multi-planar as most image processors are. The PLC,
the broker and the viewers are on the host. Each viewer must get moving pictures in capture time
and the figures of both sources, good and fresh.
"""

from host import GUEST_SEES, Broker, Plc, fetch
from viewer import Viewer

DEADLINE_S = 420
FPS = 10
"""Modest: the encoder runs on an emulated processor."""
SPAN_S = 8
"""Of pictures, for each camera."""


def config(bench, plc: Plc, broker: Broker) -> str:
    """The box: two cameras, one bus, one broker."""
    cameras = "".join(
        f"""
[[camera]]
id = "{name}"
port = "{port}"
width = 640
height = 360
fps = {FPS}
frame_deadline_ms = 5000
bitrate_kbps = 1000
gop_ms = 1000
"""
        for name, port in (("filler", "platform:vivid-000"), ("capper", "platform:vivid-001"))
    )
    return f"""
{bench.web}
{cameras}
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

[[modbus.unit.tag]]
name = "level"
table = "holding"
address = 10
type = "f32"
public = true

[[modbus.unit.tag]]
name = "recipe"
table = "holding"
address = 20

[[mqtt]]
id = "sensors"
url = "mqtt://{GUEST_SEES}:{broker.port}"

[[mqtt.tag]]
name = "temperature"
topic = "line/filler/temperature"
public = true
"""


async def run(bench):
    """One machine, both cameras in turn."""
    async with Plc() as plc, Broker(bench.job) as broker, bench.guest() as guest:
        await plc.set_float(10, 71.5)
        publish = await broker.publisher("line/filler/temperature")
        publish("4.25")
        nodes = await guest.cameras(["single", "multi"])
        print(f"booted in {guest.boot_s} s, cameras {nodes}")
        await bench.daemon(guest, config(bench, plc, broker))

        studio = await fetch(f"{bench.page}api/studio")
        tags = {tag["name"]: tag["id"] for tag in studio["tags"]}
        assert set(tags) == {"count", "level", "temperature"}, f"public tags only: {tags}"
        for feed in ("filler", "capper"):
            await watch(f"{bench.page}whep/{feed}", tags, publish)
        await guest.stop("floorcast")


async def watch(url: str, tags: dict, publish):
    """What a viewer of one camera must get."""
    async with Viewer(url) as viewer:
        await viewer.until("a first picture", lambda v: v.pictures, 60)
        first = viewer.pictures[0].rtp
        await viewer.until(
            f"{SPAN_S} s of pictures",
            lambda v: v.pictures[-1].rtp - first >= SPAN_S * 90_000,
            60,
        )
        for picture in viewer.pictures:
            assert (picture.width, picture.height) == (640, 360), picture
        kinds = len({picture.sum for picture in viewer.pictures})
        assert kinds > SPAN_S, f"only {kinds} different pictures: it does not move"
        # RTP time is capture time: it only goes forward, and as fast as our own clock does.
        # How evenly is up to vivid, which loses frames where the processor is busy.
        steps = [b.rtp - a.rtp for a, b in zip(viewer.pictures, viewer.pictures[1:])]
        assert min(steps) > 0, f"capture time went back: {steps}"
        last, here = viewer.pictures[-1], viewer.pictures[0]
        slip = (last.rtp - here.rtp) / 90_000 - (last.at - here.at)
        assert abs(slip) < 1.5, f"capture time and ours differ by {slip} s over {SPAN_S} s"

        await viewer.until(
            "ten counts of the PLC", lambda v: len(good(v, tags["count"])) >= 10, 30
        )
        counts = good(viewer, tags["count"])
        assert counts == sorted(counts) and counts[0] < counts[-1], f"not counting: {counts}"
        assert good(viewer, tags["level"])[-1] == 71.5, viewer.values(tags["level"])
        publish("4.5")
        await viewer.until(
            "the sensor's new value", lambda v: 4.5 in good(v, tags["temperature"]), 30
        )
        publish("4.25")
        print(
            f"{url}: {len(viewer.pictures)} pictures, usually {sorted(steps)[len(steps) // 2] / 90:.1f} "
            f"ms apart, {len(viewer.messages)} messages, counts {counts[0]} to {counts[-1]}"
        )


def good(viewer: Viewer, tag: int) -> list:
    """Values of good samples, oldest first."""
    return [value for _, value, quality in viewer.values(tag) if quality == "good"]
