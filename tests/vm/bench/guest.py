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
import shlex
import socket

BOOT_S = 90
"""From power to the agent's greeting. Three seconds on an idle machine."""


class GuestError(Exception):
    """The guest did not do what it was told; the text says what and why."""


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
        output = self.read(name + ".out")
        if answer[:2] != ["done", name]:
            raise GuestError(f"the guest stopped in the middle of: {script}\n{output}")
        if check and answer[2] != "0":
            raise GuestError(f"exit {answer[2]}: {script}\n{output}")
        return output

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

    def read(self, name: str, tail: int = 20_000) -> str:
        """The end of a file in the job directory, or nothing."""
        path = self.job / name
        return path.read_text(errors="replace")[-tail:] if path.exists() else ""
