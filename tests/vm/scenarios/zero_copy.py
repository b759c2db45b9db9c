"""Without a copy: pictures of 480 lines, which vicodec reads where the camera put them.

The trial says dmabuf, no byte is copied in front of the encoder while the camera is on; unplugged,
its slates go through the same encoder, copied into buffers of its own, and no viewer notices.
"""

from encoder import COPIED, FPS, config, moving, plugged, told
from viewer import Viewer

DEADLINE_S = 300


async def run(bench):
    """One machine with a camera and an encoder."""
    async with bench.guest() as guest:
        await guest.cameras(["single"])
        encoder = await plugged(bench, guest)
        await bench.registry(guest)
        await zero_copy(bench, guest, encoder)


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
