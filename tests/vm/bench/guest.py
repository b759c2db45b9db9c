"""The machine: QEMU with an ARM64 kernel, driven over a virtio port.

In: a root file system, an initrd, the ports to forward. Out: commands run in the guest with
their output, and files in the job directory, which both sides see (`/job` in the guest).
Every wait has a deadline; past it the machine is stopped and the console's tail is shown.
"""

import asyncio
import base64
import itertools
import os
import pathlib
import re
import shlex
import socket
import time
from collections import Counter
from dataclasses import dataclass

BOOT_S = 90
"""From power to the agent's greeting. Three seconds on an idle machine."""


class GuestError(Exception):
    """The guest did not do what it was told; the text says what and why."""


@dataclass(frozen=True)
class Clock:
    """The guest's wall clock against the monotonic one here."""

    ahead: float
    """Seconds to take from the guest's to have ours."""
    error: float
    """Half a round trip: it may be off by so much."""

    def here(self, guest_s: float) -> float:
        """A moment of the guest on our clock."""
        return guest_s - self.ahead

    def __str__(self) -> str:
        wall = self.ahead - (time.time() - time.monotonic())
        return f"guest clock minus host clock {wall * 1e3:+.1f} ms, ± {self.error * 1e3:.1f} ms"


@dataclass(frozen=True)
class Usage:
    """What a process holds."""

    descriptors: Counter
    """By what they point to, without numbers."""
    threads: Counter
    """By name, without numbers."""
    rss_kb: int

    def grown(self, before: "Usage") -> dict[str, int]:
        """What there is more of than before; empty if nothing."""
        more = Counter()
        for now, then in (
            (self.descriptors, before.descriptors),
            (self.threads, before.threads),
        ):
            if now.total() > then.total():
                more += now - then
        return dict(more)

    def __str__(self) -> str:
        return (
            f"{self.descriptors.total()} descriptors, {self.threads.total()} threads, "
            f"{self.rss_kb / 1024:.0f} MiB"
        )


class Guest:
    """One booted machine. `async with Guest(...) as guest:`."""

    def __init__(self, root: pathlib.Path, job: pathlib.Path, forwards: list[tuple[str, int]]):
        self.root, self.job, self.forwards = root, job, forwards
        self.console = job / "console.log"
        self._ids = itertools.count(1)
        self._process = None

    async def __aenter__(self) -> "Guest":
        try:
            async with asyncio.timeout(BOOT_S):
                await self._boot()
        except (TimeoutError, GuestError, OSError) as error:
            await self.__aexit__()
            raise GuestError(f"boot: {error or f'no greeting within {BOOT_S} s'}") from error
        return self

    async def _boot(self):
        kernel = next((self.root / "boot").glob("vmlinuz-*"))
        port = self.job / "port"
        listener = socket.socket(socket.AF_UNIX)
        # A path of its own length limit: bind relative to the directory.
        here = os.open(".", os.O_RDONLY)
        try:
            os.chdir(self.job)
            listener.bind("port")
        finally:
            os.fchdir(here)
            os.close(here)
        arrived = asyncio.get_running_loop().create_future()
        server = await asyncio.start_unix_server(
            lambda reader, writer: arrived.done() or arrived.set_result((reader, writer)),
            sock=listener,
        )
        forward = "".join(
            f",hostfwd={kind}:127.0.0.1:{number}-:{number}" for kind, number in self.forwards
        )
        share = "security_model=none,multidevs=remap"
        self.powered = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            "qemu-system-aarch64",
            *["-machine", "virt", "-cpu", "cortex-a72", "-accel", "tcg,thread=multi"],
            *["-smp", "2", "-m", "2G", "-nographic", "-nodefaults", "-no-reboot"],
            *["-kernel", str(kernel), "-initrd", str(self.job.parent / "initrd")],
            *["-append", "console=ttyAMA0 panic=-1 quiet loglevel=4"],
            *["-serial", "file:console.log", "-monitor", "none"],
            *["-virtfs", f"local,path={self.root},mount_tag=root,{share},readonly=on"],
            *["-virtfs", f"local,path={self.job},mount_tag=job,{share}"],
            *["-netdev", f"user,id=net{forward}"],
            *["-device", "virtio-net-pci,netdev=net,romfile="],
            *["-device", "virtio-serial-pci"],
            *["-chardev", "socket,id=bench,path=port"],
            *["-device", "virtserialport,chardev=bench,name=bench"],
            cwd=self.job,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=(self.job / "qemu.log").open("wb"),
            stderr=asyncio.subprocess.STDOUT,
        )
        ended = asyncio.ensure_future(self._process.wait())
        done, _ = await asyncio.wait([ended, arrived], return_when=asyncio.FIRST_COMPLETED)
        server.close()
        port.unlink(missing_ok=True)
        if arrived not in done:
            raise GuestError("QEMU ended: " + (self.job / "qemu.log").read_text()[-2000:])
        ended.cancel()
        self._from, self._to = arrived.result()
        line = (await self._from.readline()).decode().split()
        if not line or line[0] != "ready":
            raise GuestError(f"the agent said {line}")
        self.boot_s = float(line[1])

    async def __aexit__(self, *_):
        if self._process is None:
            return
        if self._process.returncode is None:
            try:
                async with asyncio.timeout(10):
                    self._to.write(b"off\n")
                    await self._process.wait()
            except (TimeoutError, AttributeError, OSError):
                self._process.kill()
                await self._process.wait()

    async def sh(self, script: str, within_s: float = 30, check: bool = True) -> str:
        """Runs a bash script to its end and returns what it printed, both streams."""
        name = f"step-{next(self._ids)}"
        sent = base64.b64encode(script.encode()).decode()
        self._to.write(f"run {name} {sent}\n".encode())
        try:
            async with asyncio.timeout(within_s):
                answer = (await self._from.readline()).decode().split()
        except TimeoutError:
            raise GuestError(f"not done within {within_s} s: {script}\n{self.read(name + '.out')}")
        output = self.read(name + ".out", 1 << 24)
        if answer[:2] != ["done", name]:
            raise GuestError(f"the guest stopped in the middle of: {script}\n{output}")
        if check and answer[2] != "0":
            raise GuestError(f"exit {answer[2]}: {script}\n{output}")
        return output

    def starved(self) -> Counter:
        """Seconds that each of QEMU's threads was ready to run here and no processor was free."""
        waited = Counter()
        for task in pathlib.Path(f"/proc/{self._process.pid}/task").iterdir():
            try:
                waited[task.name] = int((task / "schedstat").read_text().split()[1]) / 1e9
            except OSError:
                pass  # it ended
        return waited

    def starved_since(self, before: Counter) -> float:
        """Of the thread that waited most since then: no more of a delay is this machine's fault."""
        now = self.starved()
        return max((now[task] - before[task] for task in now), default=0.0)

    async def ask(self, question: str, within_s: float = 20) -> str:
        """One of the agent's own answers, which start no process."""
        self._to.write(f"{question}\n".encode())
        try:
            async with asyncio.timeout(within_s):
                word, _, answer = (await self._from.readline()).decode().partition(" ")
        except TimeoutError:
            raise GuestError(f"no answer within {within_s} s: {question}")
        if word != question.split()[0]:
            raise GuestError(f"{question}: the agent said {word} {answer}")
        return answer.strip()

    async def start(self, name: str, command: str):
        """Starts a command that stays; its output is `<name>.log` in the job directory."""
        inner = shlex.quote(f"exec {command}")
        await self.sh(
            f"setsid bash -c {inner} >/job/{name}.log 2>&1 </dev/null & echo $! >/run/{name}.pid"
        )

    async def stop(self, name: str, within_s: float = 10) -> None:
        """SIGTERM to what `start` began, until it is gone."""
        await self.sh(
            f"pid=$(cat /run/{name}.pid); kill -TERM $pid; tail --pid=$pid -f /dev/null", within_s
        )

    async def cameras(self, planes: list[str]) -> list[str]:
        """Plugs in one vivid webcam for each of "single" and "multi"; returns their nodes."""
        count, multi = len(planes), ",".join("2" if p == "multi" else "1" for p in planes)
        found = await self.sh(
            f"modprobe vivid n_devs={count} node_types={','.join(['0x1'] * count)} "
            f"input_types={','.join(['0x0'] * count)} multiplanar={multi}\n"
            "udevadm settle --timeout=30\n"
            "ls /dev/video*"
        )
        nodes = found.split()
        if len(nodes) != count:
            raise GuestError(f"{count} cameras wanted, the kernel made {nodes}")
        return nodes

    async def clock(self) -> Clock:
        """Compares clocks: the best of a few quick questions."""
        best = None
        for _ in range(12):
            asked = time.monotonic()
            at = await self.ask("time")
            answered = time.monotonic()
            clock = Clock(float(at) - (asked + answered) / 2, (answered - asked) / 2)
            if best is None or clock.error < best.error:
                best = clock
        return best

    async def usage(self, name: str) -> Usage:
        """What the process begun by `start` holds now."""
        found = await self.sh(
            # Few processes: each costs a tenth of a second here.
            f"cd /proc/$(cat /run/{name}.pid)\n"
            "ls -l fd | sed -n 's/.* -> /fd /p'\n"
            "cat task/*/comm 2>/dev/null | sed 's/^/task /'\n"
            "grep VmRSS status"
        )
        kinds = {"fd": Counter(), "task": Counter()}
        rss = 0
        for line in found.splitlines():
            kind, _, what = line.replace("\t", " ").partition(" ")
            if kind in kinds:
                kinds[kind].update([re.sub(r"[0-9]+", "", what)])
            elif kind == "VmRSS:":
                rss = int(what.split()[0])
        return Usage(kinds["fd"], kinds["task"], rss)

    def read(self, name: str, tail: int = 20_000) -> str:
        """The end of a file in the job directory, or nothing."""
        path = self.job / name
        return path.read_text(errors="replace")[-tail:] if path.exists() else ""
