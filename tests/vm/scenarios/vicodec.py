"""An on-chip encoder: the kernel's vicodec is found, tried, chosen and on air, and the log says how.

vicodec is a stateful memory-to-memory encoder as real chips have, only that it writes FWHT and
no H.264: the ladder's rung for it reads its pictures back and goes on with x264, so what a
viewer sees went through the driver. It is looked at first without the daemon; then comes the
probe, and last the daemon on air with a viewer, with pictures of 360 lines, whose dmabufs
vicodec refuses. Those that it takes are in the scenario zero_copy.
"""

import json

from encoder import COPIED, FPS, config, moving, plugged, told
from viewer import Viewer

DEADLINE_S = 480
PROBE_S = 150
PICTURES = 10
CAPS = "video/x-raw,format=NV12,width=640,height=360,framerate=10/1"
"""vicodec takes nothing smaller. It works in blocks of 8 lines of chroma, so its pictures are
368 lines high, and a camera's buffer of 360 is too short for it."""


async def run(bench):
    """One machine with a camera and an encoder."""
    async with bench.guest() as guest:
        camera = (await guest.cameras(["single"]))[0]
        encoder = await plugged(bench, guest)
        await bench.registry(guest)
        await alone(guest, camera, encoder)
        await ladder(guest, encoder)
        await refused(bench, guest, encoder)


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
