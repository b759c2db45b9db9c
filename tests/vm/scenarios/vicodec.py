"""An on-chip encoder: the kernel's vicodec is found, tried, chosen and on air, and the log says how.

vicodec is a stateful memory-to-memory encoder as real chips have, only that it writes FWHT and
no H.264: the ladder's rung for it reads its pictures back and goes on with x264, so what a
viewer sees went through the driver. It is looked at first without the daemon; then comes the
probe, and last the daemon on air with a viewer, twice: with pictures of 360 lines, whose dmabufs
vicodec refuses, and of 480 lines, which it reads where they are. There the camera is unplugged
too: slates go through the same encoder, copied into its own buffers.
"""

import json

from viewer import Viewer

DEADLINE_S = 480
PROBE_S = 150
LIVE_S = 60
PICTURES = 10
FPS = 2
"""An emulated processor runs the driver, its decoder and x264."""
SPAN_S = 6
"""Of pictures."""
COPIED = "floorcast_capture_copied_bytes_total"
CAPS = "video/x-raw,format=NV12,width=640,height=360,framerate=10/1"
"""vicodec takes nothing smaller. It works in blocks of 8 lines of chroma, so its pictures are
368 lines high, and a camera's buffer of 360 is too short for it."""


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


async def run(bench):
    """One machine with a camera and an encoder."""
    async with bench.guest() as guest:
        camera = (await guest.cameras(["single"]))[0]
        encoder = await plugged(bench, guest)
        await bench.registry(guest)
        await alone(guest, camera, encoder)
        await ladder(guest, encoder)
        await refused(bench, guest, encoder)
        await zero_copy(bench, guest, encoder)


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


async def alone(guest, camera: str, encoder: str):
    """GStreamer registers the encoder and it encodes a camera, in mmap; what dmabuf does."""
    name = await guest.sh("gst-inspect-1.0 | sed -n 's/.*: *\\(v4l2fwht[a-z0-9]*enc\\):.*/\\1/p'", 60)
    assert name.strip() == "v4l2fwhtenc", f"registered: {name!r}"
    for source, sink in (("mmap", "mmap"), ("dmabuf", "dmabuf-import")):
        out = await guest.sh(
            f"timeout 40 gst-launch-1.0 -q v4l2src device={camera} io-mode={source} "
            f"num-buffers={PICTURES} ! {CAPS} ! v4l2fwhtenc output-io-mode={sink} "
            "! filesink location=/tmp/coded 2>&1; echo exit $?; stat -c %s /tmp/coded; rm /tmp/coded",
            60,
            check=False,
        )
        lines = out.split("\n")
        status, size = (int(lines[n].split()[-1]) for n in (-3, -2))
        reason = next((x for x in lines if x.startswith("ERROR")), "")
        print(f"gst-launch {source} to {sink}: exit {status}, {size} bytes {reason}", flush=True)
        if source == "mmap":
            assert status == 0 and size > 0, out


async def ladder(guest, encoder: str):
    """The daemon's own trial: passed, with driver, node and io-mode."""
    report = json.loads(await guest.sh("/job/floorcast probe --json 2>/job/probe.log", PROBE_S))
    cameras = [found["node"] for found in report["cameras"]]
    assert len(cameras) == 1, f"an encoder is no camera: {cameras}"
    found = [trial for trial in report["encoders"] if trial["encoder"] == "v4l2fwhtenc"]
    assert found, f"not among {[trial['encoder'] for trial in report['encoders']]}"
    for trial in found:
        print(f"the ladder: {trial}", flush=True)
        assert (trial["driver"], trial["node"]) == ("vicodec", encoder), trial
    assert [trial["io_mode"] for trial in found] == ["dmabuf", "mmap"], "in this order"
    # 720 lines of colour are whole blocks: it takes dmabufs of its own driver, too.
    assert all(trial["outcome"].get("Ok") for trial in found), found


async def refused(bench, guest, encoder: str):
    """vicodec wants 368 lines where the camera has 360: mmap it is, and the log says why."""
    await bench.daemon(guest, config(bench, 360))
    async with Viewer(f"{bench.page}whep/cam") as viewer:
        await moving(viewer, 360)
        viewer.unbroken()
    copied = (await bench.metrics()).sum(COPIED, feed="cam", where="encoder")
    assert copied > 640 * 360 * 1.5 * FPS, f"mmap copies every picture: {copied}"
    log = (bench.job / "floorcast.log").read_text()
    told(log, encoder, "trial failed", "dmabuf", "colours begin after 360 rows where it reads 368")
    told(log, encoder, "trial passed", "mmap", " ms a picture")
    told(log, encoder, "encoder chosen", "mmap")
    await guest.stop("floorcast")


async def zero_copy(bench, guest, encoder: str):
    """480 lines go through without a copy; slates do not, and nobody notices."""
    await bench.daemon(guest, config(bench, 480))
    async with Viewer(f"{bench.page}whep/cam") as viewer:
        await moving(viewer, 480)
        before = await bench.metrics()
        count = len(viewer.pictures)
        await viewer.until("more pictures", lambda v: len(v.pictures) > count + 5 * FPS, 60)
        after = await bench.metrics()
        seen = after.since(before, "floorcast_capture_frames_total", feed="cam")
        copied = {
            place: after.since(before, COPIED, feed="cam", where=place)
            for place in ("convert", "encoder", "ring")
        }
        print(f"{seen:.0f} pictures, bytes copied: {copied}", flush=True)
        assert seen >= 2 * FPS and copied["convert"] == copied["encoder"] == 0, copied
        driver = "/sys/bus/platform/drivers/vivid"
        count = len(viewer.pictures)
        await guest.sh(f"echo vivid.0 >{driver}/unbind")
        await viewer.picture("a slate", lambda p: p.slate, 30, count)
        slates = (await bench.metrics()).since(after, COPIED, feed="cam", where="encoder")
        assert slates >= 640 * 480 * 1.5, f"a slate is copied into the encoder's memory: {slates}"
        count = len(viewer.pictures)
        await guest.sh(f"echo vivid.0 >{driver}/bind; udevadm settle --timeout=30")
        await viewer.picture("the camera again", lambda p: not p.slate, 60, count)
        viewer.unbroken()
    log = (bench.job / "floorcast.log").read_text()
    told(log, encoder, "trial passed", "dmabuf", " ms a picture")
    told(log, encoder, "encoder chosen", "dmabuf")
    await guest.stop("floorcast")


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
