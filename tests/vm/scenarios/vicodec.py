"""An on-chip encoder: the kernel's vicodec, which the ladder must find, try and use.

vicodec is a stateful memory-to-memory encoder as real chips have, only that it writes FWHT and
no H.264. The kernel's and GStreamer's side is looked at first, without the daemon; then what
the ladder's rung for it must do.
"""

import json

DEADLINE_S = 240
PROBE_S = 150
PICTURES = 10
CAPS = "video/x-raw,format=NV12,width=640,height=360,framerate=10/1"
"""vicodec takes nothing smaller."""


async def run(bench):
    """One machine with a camera and an encoder."""
    async with bench.guest() as guest:
        camera = (await guest.cameras(["single"]))[0]
        encoder = await plugged(bench, guest)
        await bench.registry(guest)
        await alone(guest, camera, encoder)
        await ladder(guest)


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


async def ladder(guest):
    """The daemon's own trial: passed, in mmap, because dmabuf was refused, and it says so."""
    report = json.loads(await guest.sh("/job/floorcast probe --json 2>/job/probe.log", PROBE_S))
    cameras = [found["node"] for found in report["cameras"]]
    assert len(cameras) == 1, f"an encoder is no camera: {cameras}"
    found = [trial for trial in report["encoders"] if trial["encoder"] == "v4l2fwhtenc"]
    assert found, f"not among {[trial['encoder'] for trial in report['encoders']]}"
    print(f"the ladder: {found[0]}", flush=True)
    passed = found[0]["outcome"].get("Ok")
    assert passed, found[0]
    assert passed["io_mode"] == "mmap", passed
