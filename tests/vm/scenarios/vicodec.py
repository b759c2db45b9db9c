"""An on-chip encoder: the kernel's vicodec is found, tried, chosen and on air, and the log says how.

vicodec is a stateful memory-to-memory encoder as real chips have, only that it writes FWHT and
no H.264: the ladder's rung for it reads its pictures back and goes on with x264, so what a
viewer sees went through the driver. It is looked at first without the daemon; then comes the
probe, and last the daemon on air with a viewer.
"""

import json

from viewer import Viewer

DEADLINE_S = 420
PROBE_S = 150
LIVE_S = 60
PICTURES = 10
FPS = 5
SPAN_S = 6
"""Of pictures."""
CAPS = "video/x-raw,format=NV12,width=640,height=360,framerate=10/1"
"""vicodec takes nothing smaller. It works in blocks of 8 lines of chroma, so its pictures are
368 lines high, and a camera's buffer of 360 is too short for it."""


def config(bench) -> str:
    """One camera, and by name the encoder that `auto` leaves alone."""
    return f"""
{bench.web}
[[camera]]
id = "cam"
port = "platform:vivid-000"
width = 640
height = 360
fps = {FPS}
format = "nv12"
frame_deadline_ms = 5000
bitrate_kbps = 1000
gop_ms = 1000
encoder = "v4l2fwhtenc"

[camera.controls]
timestamp_source = "Start of Exposure"
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
        await on_air(bench, guest, encoder)


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
    mmap = [trial["outcome"] for trial in found if trial["io_mode"] == "mmap"]
    assert len(mmap) == 1 and mmap[0].get("Ok"), found


async def on_air(bench, guest, encoder: str):
    """A viewer sees moving pictures, and the log says which encoder makes them, and how."""
    await bench.daemon(guest, config(bench))
    async with Viewer(f"{bench.page}whep/cam") as viewer:
        await viewer.state("the feed live", lambda s: s["state"] == "live", LIVE_S)
        first = viewer.pictures[-1].rtp if viewer.pictures else 0
        await viewer.until(
            f"{SPAN_S} s of pictures",
            lambda v: v.pictures and v.pictures[-1].rtp - first >= SPAN_S * 90_000,
            60,
        )
        pictures = viewer.pictures
        assert {(p.width, p.height) for p in pictures} == {(640, 360)}, pictures[0]
        kinds = len({picture.sum for picture in pictures})
        assert kinds > SPAN_S, f"only {kinds} different pictures: it does not move"
        viewer.unbroken()
    log = (bench.job / "floorcast.log").read_text()
    chosen = [line for line in log.splitlines() if "encoder chosen" in line]
    passed = [line for line in log.splitlines() if "trial passed" in line]
    print(f"{len(pictures)} pictures, {kinds} different", *passed, *chosen, sep="\n", flush=True)
    assert len(chosen) == 1 and len(passed) == 1, "one encoder, chosen once"
    for line in (*chosen, *passed):
        for word in ('encoder="v4l2fwhtenc"', 'driver="vicodec"', encoder, 'io_mode="mmap"'):
            assert word in line, f"{word} is not in: {line}"
    assert " ms a picture" in passed[0], passed
    await guest.stop("floorcast")
