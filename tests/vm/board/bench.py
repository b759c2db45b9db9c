"""Boards on disks of their own, and the rules that all scenarios hold them to."""

import hashlib
import json
import pathlib
import subprocess
import threading
import time

from board import Board, BoardError, Start, overlay

GOOD_S = 240
"""From the agent's greeting until the slot has passed its gate."""
INSTALL_S = 400
"""RAUC writes 256 MiB, on an emulated processor that others use too."""
WHY = (
    "systemctl list-jobs --no-pager; ps axf | tail -n 40; fw_printenv; uptime; "
    "for p in $(cat /sys/fs/cgroup/system.slice/{floorcast-good,rauc,dbus}.service/cgroup.procs); "
    "do echo $p $(tr '\\0' ' ' </proc/$p/cmdline); cat /proc/$p/stack; done; "
    "journalctl --no-pager -n 60 -u rauc -u dbus -u 'floorcast-*'"
)
PASSED = (
    "for i in $(seq 110); do systemctl -q is-active floorcast-good && exec cat /run/why; sleep 2; "
    f"[ $i != 55 ] || {{ {WHY}; }} >/run/why 2>&1; done; exit 1"
)
STICK = "mkdir -p /run/stick && { mountpoint -q /run/stick || mount -o ro LABEL=STICK /run/stick; }"
MARK = "head -c 3000000 /dev/urandom >/data/mark && sha256sum </data/mark >/data/mark.sum && sync"
MARKED = "sha256sum -c --status <(sed 's|-$|/data/mark|' /data/mark.sum)"
SETTLING = threading.Lock()
"""One machine is started for all of them."""


def want(true: bool, otherwise: str) -> None:
    """A rule."""
    if not true:
        raise BoardError(otherwise)


def passed(board: Board, slot: str, version: str, start: Start | None = None) -> Start:
    """This slot came up in this version, and passed its gate."""
    start = start or board.ready()
    got = f"slot {start.slot}, version {start.version}"
    want((start.slot, start.version) == (slot, version), f"{got} came up:\n{board.tail()}")
    board.sh("touch /run/why")
    try:
        slow = board.sh(PASSED, GOOD_S)
        if slow:
            print(f"  {got} was slow to pass:\n{slow}", flush=True)
    except BoardError as error:
        raise BoardError(f"{got} did not pass: {error}\n{board.sh(WHY, 120, check=False)}") from error
    variables = env(board)
    want(variables["BOOT_GOOD"] == slot, f"{got} passed, the bootloader has {variables}")
    return start


def env(board: Board) -> dict[str, str]:
    """The bootloader's variables."""
    return dict(line.split("=", 1) for line in board.sh("fw_printenv").splitlines())


def verdict(board: Board) -> dict:
    """What the gate left for the daemon."""
    return json.loads(board.sh("cat /data/health/verdict.json"))


class Bench:
    """Images, a place to work, and boards on disks of their own."""

    def __init__(self, images: pathlib.Path, job: pathlib.Path, shared: pathlib.Path):
        self.images, self.job, self.shared = images, job, shared
        self.sums = {}
        for line in (images / "rootfs.sha256").read_text().splitlines():
            sum_, name = line.split()
            self.sums[name.removesuffix(".ext4")] = sum_

    def apart(self, name: str) -> "Bench":
        """The same with a place of its own, for work side by side."""
        job = self.job / name
        job.mkdir()
        return Bench(self.images, job, self.shared)

    def board(self, disk: pathlib.Path, frozen: pathlib.Path | None = None, forwards=()) -> Board:
        """Power on."""
        return Board(self.images, self.job, disk, frozen, forwards)

    def fresh(self, name: str = "disk") -> pathlib.Path:
        """A disk as it comes from the factory."""
        return overlay(self.images / "disk.img", self.job / f"{name}.qcow2")

    def base(self) -> tuple[pathlib.Path, pathlib.Path, float]:
        """Disk and memory that every settled box goes on from, and the seconds from power until
        it had passed. Started once for all scenarios, then frozen."""
        base, memory, took = (self.shared / name for name in ("base.qcow2", "memory", "took"))
        with SETTLING:
            if not memory.exists():
                with self.board(overlay(self.images / "disk.img", base)) as board:
                    passed(board, "A", "1.0")
                    took.write_text(str(time.monotonic() - board.powered))
                    board.sh(f"{STICK} && {MARK}")
                    board.freeze(memory)
        return base, memory, float(took.read_text())

    def settled(self, name: str = "disk") -> tuple[Board, pathlib.Path]:
        """A box on slot A that has passed its gate, with a stick and a mark in its data: power on,
        and its disk."""
        base, memory, _ = self.base()
        disk = overlay(base, self.job / f"{name}.qcow2")
        board = self.board(disk, memory)
        board.resume()
        return board, disk

    def slot(self, disk: pathlib.Path, label: str) -> str:
        """The SHA-256 of what a slot holds."""
        raw = self.job / "slot.img"
        subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
        table = subprocess.run(["/usr/sbin/sfdisk", "-J", raw], capture_output=True, check=True)
        for part in json.loads(table.stdout)["partitiontable"]["partitions"]:
            if part.get("name") == label:
                with raw.open("rb") as file:
                    file.seek(part["start"] * 512)
                    left, digest = part["size"] * 512, hashlib.sha256()
                    while left:
                        block = file.read(min(left, 1 << 22))
                        digest.update(block)
                        left -= len(block)
                raw.unlink()
                return digest.hexdigest()
        raise BoardError(f"no partition {label}")
