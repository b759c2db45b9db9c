"""The board: QEMU with U-Boot, a disk and a stick, driven over a virtio port.

In: what `image` made, a disk to write to. Out: commands run in the guest with their output, the
slot that came up, and power that is cut. Every wait has a deadline and shows the console past it.

A cut is SIGKILL of the emulator. The disk is a qcow2 overlay in writeback mode: what the guest has
flushed is in the file; of what it has not, blocks that are new in the overlay are lost with the
emulator's memory, as with a disk whose cache is volatile, and blocks written before may stay.
"""

import base64
import json
import pathlib
import re
import select
import socket
import subprocess
import time
from dataclasses import dataclass

MACHINE = (
    *("-machine", "virt", "-cpu", "cortex-a72", "-accel", "tcg,thread=multi"),
    *("-smp", "2", "-m", "1G", "-nographic", "-nodefaults", "-monitor", "none"),
)
"""The emulated processor and memory."""
READY_S = 240
"""From power to the agent's greeting; 20 s on an idle machine."""


class BoardError(Exception):
    """The board did not do what it was told; the text says what and why."""


@dataclass(frozen=True)
class Start:
    """A start of the box, as its agent tells it."""

    slot: str
    version: str
    uptime_s: float


class Port:
    """Lines over a socket, each with a deadline."""

    def __init__(self, path: pathlib.Path, until: float):
        self.socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.socket.connect(str(path))
                break
            except OSError:
                if time.monotonic() > until:
                    raise BoardError(f"nothing listens at {path}") from None
                select.select([], [], [], 0.05)
        self.rest = b""

    def line(self, until: float) -> str | None:
        """The next line; nothing if there is none by then."""
        while b"\n" not in self.rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return None
            got = self.socket.recv(1 << 16)
            if not got:
                raise BoardError("the emulator has ended")
            self.rest += got
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode(errors="replace").strip()

    def say(self, text: str) -> None:
        """One line."""
        self.socket.sendall(text.encode() + b"\n")


def overlay(base: pathlib.Path, at: pathlib.Path) -> pathlib.Path:
    """A disk that begins as another, which is not written."""
    kind = "raw" if base.suffix == ".img" else "qcow2"
    make = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", str(base.resolve()), str(at)]
    at.unlink(missing_ok=True)
    subprocess.run(make, check=True)
    return at


class Board:
    """One machine with power. `with Board(...) as board:` cuts it at the end."""

    def __init__(self, images, job, disk, frozen=None, forwards=()):
        """`frozen` is a memory to go on from; `forwards` are kinds and ports, the same here."""
        self.job = job
        job.mkdir(parents=True, exist_ok=True)
        self.console = job / "console.log"
        for name in ("agent", "qmp"):
            (job / name).unlink(missing_ok=True)
        forward = "".join(
            f",hostfwd={kind}:127.0.0.1:{port}-:{port}" for kind, port in forwards
        )
        begins = ["-incoming", f"exec:cat {frozen}"] if frozen else []
        drives = [
            f"if=pflash,format=raw,file={images}/flash.img,readonly=on",
            f"if=none,id=disk,format=qcow2,file={disk},cache=writeback",
            f"if=none,id=stick,format=raw,file={images}/stick.img,readonly=on",
        ]
        self.powered = time.monotonic()
        self.process = subprocess.Popen(
            [
                "qemu-system-aarch64",
                *MACHINE,
                *["-chardev", f"file,id=console,append=on,path={self.console}"],
                *["-serial", "chardev:console"],
                *[word for drive in drives for word in ("-drive", drive)],
                *["-device", "virtio-blk-pci,drive=disk", "-device", "virtio-blk-pci,drive=stick"],
                *["-device", "i6300esb", "-action", "watchdog=reset", "-device", "virtio-rng-pci"],
                *["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=bench"],
                *["-chardev", "socket,id=agent,path=agent,server=on,wait=off"],
                *["-qmp", "unix:qmp,server=on,wait=off"],
                # This machine's own 127.0.0.1 is 10.0.2.2 there.
                *["-netdev", f"user,id=net{forward}", "-device", "virtio-net-pci,netdev=net,romfile="],
                *begins,
            ],
            cwd=job,
            stdin=subprocess.DEVNULL,
            stdout=(job / "qemu.log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        try:
            self.agent = Port(job / "agent", time.monotonic() + 20)
        except BoardError as error:
            self.cut()
            raise BoardError(f"{error}: {(job / 'qemu.log').read_text()[-2000:]}") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    def cut(self) -> None:
        """The power goes, now."""
        self.process.kill()
        self.process.wait()

    def tail(self) -> str:
        """The end of the console."""
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        return text[-3000:]

    def may_start(self, slot: str) -> bool:
        """The bootloader has started this slot since the box was unfrozen, or would have."""
        said = r"floorcast: slot (\w), order ([AB ]*), tries left A (\d) B (\d)"
        for started, order, *tries in re.findall(said, self.console.read_text(errors="replace")):
            if slot == started or (slot in order.split() and tries["AB".index(slot)] != "0"):
                return True
        return False

    def ready(self, within_s: float = READY_S) -> Start:
        """The next start of the system."""
        until = time.monotonic() + within_s
        while (line := self.agent.line(until)) is not None:
            word, *rest = line.split()
            if word == "ready" and len(rest) == 3:
                return Start(rest[0], rest[1], float(rest[2]))
        raise BoardError(f"no system within {within_s} s; the console ends:\n{self.tail()}")

    def sh(self, script: str, within_s: float = 60, check: bool = True) -> str:
        """Runs a bash script to its end and returns what it printed, both streams."""
        name = str(time.monotonic_ns())
        self.agent.say(f"run {name} {base64.b64encode(script.encode()).decode()}")
        until = time.monotonic() + within_s
        while (line := self.agent.line(until)) is not None:
            word, *rest = line.split()
            if word == "done" and rest[0] == name:
                output = base64.b64decode(rest[2] if len(rest) > 2 else "").decode(errors="replace")
                if check and rest[1] != "0":
                    raise BoardError(f"exit {rest[1]}: {script}\n{output}")
                return output.strip()
            if word == "ready":
                raise BoardError(f"the box restarted in the middle of: {script}\n{self.tail()}")
        raise BoardError(f"not done within {within_s} s: {script}\n{self.tail()}")

    def resume(self) -> None:
        """Goes on from where it was frozen."""
        qmp = Port(self.job / "qmp", time.monotonic() + 10)
        qmp.say('{"execute": "qmp_capabilities"}')
        until = time.monotonic() + 120
        while time.monotonic() < until:
            qmp.say('{"execute": "query-status"}')
            while (line := qmp.line(time.monotonic() + 0.2)) is not None:
                if '"status": "paused"' in line:
                    qmp.say('{"execute": "cont"}')
                if '"running": true' in line:
                    return
        raise BoardError("it does not go on from where it was frozen")

    def begin(self, script: str) -> None:
        """Starts a script and does not wait for it."""
        self.agent.say(f"run begun {base64.b64encode(script.encode()).decode()}")

    def freeze(self, at: pathlib.Path) -> None:
        """Stops the machine and keeps its memory, to go on from more than once."""
        qmp = Port(self.job / "qmp", time.monotonic() + 10)
        for ask in (
            {"execute": "qmp_capabilities"},
            {"execute": "stop"},
            {"execute": "migrate-set-parameters", "arguments": {"max-bandwidth": 1 << 40}},
            {"execute": "migrate", "arguments": {"uri": f"exec:cat > {at}"}},
        ):
            qmp.say(json.dumps(ask))
        until = time.monotonic() + 120
        while time.monotonic() < until:
            qmp.say('{"execute": "query-migrate"}')
            while (line := qmp.line(time.monotonic() + 0.5)) is not None:
                if '"status": "completed"' in line:
                    return
                if '"status": "failed"' in line:
                    raise BoardError(f"not frozen: {line}")
        raise BoardError("not frozen within 120 s")
