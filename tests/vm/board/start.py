"""From power to the first picture at a viewer, stage by stage, beside a bare start of the kernel.

In: a board. Out: seconds for each stage, all on this machine's clock. The viewer is the one of
`tests/vm/bench`: a WHEP client on this machine, which asks again until the box answers.
"""

import asyncio
import pathlib
import re
import socket
import subprocess
import time

from board import MACHINE, Board, BoardError
from peers import free_port  # which finds the bench's modules
from viewer import Viewer

SEEN_S = 240
"""From power to a picture, on an emulated processor that others use too."""
STAGES = {
    "daemon": "Started floorcast.service|Starting floorcast.service",
    "page": "on air: ",
    "camera": "camera found",
    "encoder": "encoder chosen",
    "live": "feed/fill.*Live",
}
"""What the journal says first of each."""


def bare(images: pathlib.Path) -> float:
    """Seconds from power until the same kernel, alone, looks for its root file system."""
    began = time.monotonic()
    run = [
        *["qemu-system-aarch64", *MACHINE, "-no-reboot", "-serial", "stdio"],
        *["-kernel", images / "Image", "-append", "console=ttyAMA0 quiet panic=-1"],
    ]
    said = subprocess.run(run, capture_output=True, text=True, timeout=SEEN_S)
    if "Unable to mount root" not in said.stdout:
        raise BoardError(f"the bare kernel did not come to its root:\n{said.stdout[-2000:]}")
    return time.monotonic() - began


async def first_picture(url: str, until: float) -> float:
    """When the first picture of the camera came."""
    while True:
        try:
            async with Viewer(url) as viewer:
                left = until - time.monotonic()
                return (await viewer.picture("a picture", lambda p: not p.slate, left)).at
        except (OSError, RuntimeError, TimeoutError) as error:
            if time.monotonic() > until:
                raise BoardError(f"{url}: no picture within {SEEN_S} s: {error!r}") from None
            await asyncio.sleep(0.1)  # between attempts


def stages(board: Board) -> dict[str, float]:
    """The box's own times, seconds of its kernel's clock."""
    journal = board.sh("journalctl -b -o short-monotonic --no-pager -u floorcast", 120)
    found = {}
    for line in journal.splitlines():
        at = re.match(r"\[\s*([\d.]+)\]", line)
        for name, words in STAGES.items():
            if at and name not in found and re.search(words, line):
                found[name] = float(at[1])
    missing = STAGES.keys() - found.keys()
    if missing:
        raise BoardError(f"the journal does not tell of {missing}:\n{journal[-3000:]}")
    return found


def start(make, images: pathlib.Path) -> str:
    """`make(forwards)` switches a settled board on whose page is forwarded."""
    page, media = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
    with make(page, media) as board:
        url = f"http://127.0.0.1:{page}/whep/fill"
        shown = asyncio.run(first_picture(url, board.powered + SEEN_S))
        board.ready()
        asked = time.monotonic()
        uptime = float(board.sh("cut -d' ' -f1 /proc/uptime"))
        answered = time.monotonic()
        # Its clock on ours, within half of what the question took.
        zero = (asked + answered) / 2 - uptime - board.powered
        said = board.sh("systemctl is-system-running --wait >/dev/null; systemd-analyze time", 180)
        own = stages(board)
    kernel = re.search(r"([\d.]+)s \(kernel\)", said)
    kernel = float(kernel[1]) if kernel else 0.0
    steps = [
        ("bootloader", zero),
        ("kernel", zero + kernel),
        ("user space", zero + own["daemon"]),
        ("daemon", zero + own["page"]),
        ("camera", zero + own["camera"]),
        ("encoder", zero + own["encoder"]),
        ("viewer", shown - board.powered),
    ]
    lines, before = [], 0.0
    for name, at in steps:
        lines.append(f"{name}: {at - before:+.1f} s, {at:.1f} s since power")
        before = at
    lines.append(f"the same kernel alone, to its root file system: {bare(images):.1f} s since power")
    return "\n    ".join(["power to the first picture at a viewer", *lines, said.splitlines()[0]])
