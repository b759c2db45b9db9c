"""An encoder in the guest: the kernel's vicodec, a camera on air through it, and what is told of it.

In: a machine. Out: the driver's node; a configuration; checks of a viewer's pictures and of the
daemon's log.
"""

from viewer import Viewer

LIVE_S = 60
FPS = 2
"""An emulated processor runs the driver, its decoder and x264."""
SPAN_S = 6
"""Of pictures."""
COPIED = "floorcast_capture_copied_bytes_total"


def config(bench, height: int) -> str:
    """One camera, bright and moving, and by name the encoder that `auto` leaves alone."""
    return f"""
{bench.web}
[[camera]]
id = "cam"
port = "platform:vivid-000"
width = 640
height = {height}
fps = {FPS}
format = "nv12"
frame_deadline_ms = 5000
bitrate_kbps = 1000
gop_ms = 1000
encoder = "v4l2fwhtenc"

[camera.controls]
timestamp_source = "Start of Exposure"
brightness = 210
test_pattern = "Gray Ramp"
horizontal_movement = "Move Right"
"""


async def plugged(bench, guest) -> str:
    """Loads the driver; the node of its encoder."""
    (bench.job / "vicodec.ko").write_bytes((bench.modules / "vicodec.ko").read_bytes())
    found = await guest.sh(
        "modprobe -a v4l2-mem2mem videobuf2-vmalloc videobuf2-dma-contig || exit\n"
        "insmod /job/vicodec.ko || exit\n"
        "udevadm settle --timeout=30\n"
        "cd /sys/class/video4linux && grep -l stateful-encoder video*/name"
    )
    node = "/dev/" + found.split("/")[0]
    print(f"vicodec's encoder is {node}", flush=True)
    return node


async def moving(viewer: Viewer, height: int):
    """Pictures of the camera that move."""
    await viewer.state("the feed live", lambda s: s["state"] == "live", LIVE_S)
    first = len(viewer.pictures)
    await viewer.until(
        f"{SPAN_S} s of pictures",
        lambda v: v.pictures[first:] and v.pictures[-1].rtp - v.pictures[first].rtp > SPAN_S * 90_000,
        60,
    )
    pictures = viewer.pictures[first:]
    assert {(p.width, p.height) for p in pictures} == {(640, height)}, pictures[0]
    kinds = len({picture.sum for picture in pictures})
    print(f"{len(pictures)} pictures of {height} lines, {kinds} different", flush=True)
    assert kinds > SPAN_S, f"only {kinds} different pictures: it does not move"


def told(log: str, encoder: str, what: str, io_mode: str, *more: str):
    """The log has exactly one such line, with driver, node and io-mode."""
    line = [line for line in log.splitlines() if what in line]
    print(*line, sep="\n", flush=True)
    assert len(line) == 1, f"{len(line)} lines with {what!r}"
    words = ('encoder="v4l2fwhtenc"', 'driver="vicodec"', encoder, f'io_mode="{io_mode}"', *more)
    for word in words:
        assert word in line[0], f"{word} is not in: {line[0]}"
