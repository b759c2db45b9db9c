"""Runs scenarios, one booted machine after the other: `python tests/vm/bench ROOT DAEMON [NAME…]`.

A scenario is a file in tests/vm/scenarios with `DEADLINE_S` and `async def run(bench)`; one with
`BENCH = True` measures and runs only when named. Its job directory below .cache/vm/run keeps
everything it wrote; a failing one prints its logs' tails.
"""

import asyncio
import importlib.util
import pathlib
import shutil
import socket
import sys
import time
import traceback
from types import ModuleType

from guest import Guest
from host import free_port, text
from metrics import Metrics

HERE = pathlib.Path(__file__).resolve().parent.parent
ON_AIR_S = 60
"""From start to `on air`. A second on an idle machine."""
REGISTRY_S = 150
"""For GStreamer to look at every plugin under emulation: once a root, a quarter of a minute."""

STEPS = 8
"""So many of the last steps of a failed scenario are shown."""


class Bench:
    """What a scenario gets: a place for files, ports, and a machine with the daemon in it."""

    def __init__(self, root: pathlib.Path, daemon: pathlib.Path, job: pathlib.Path):
        self.root, self.job = root, job
        self.page_port, self.media_port = free_port(), free_port(socket.SOCK_DGRAM)
        self.metrics_port = free_port()
        self.page = f"http://127.0.0.1:{self.page_port}/"
        shutil.rmtree(job, ignore_errors=True)
        job.mkdir(parents=True)
        shutil.copy(HERE / "guest/agent", job / "agent")
        shutil.copy(daemon, job / "floorcast")
        shutil.copy(daemon.with_name("faults"), job / "faults")
        kernel = next((root / "lib/modules").iterdir()).name
        self.modules = root.with_name(f"modules-{kernel}")
        """Kernel modules that tests/vm/modules built."""
        self._registry = root.with_name(root.name + ".registry")
        if self._registry.exists():
            shutil.copy(self._registry, job / "registry.bin")

    def guest(self) -> Guest:
        """A machine whose page, metrics and media ports are also the host's."""
        pages = [("tcp", self.page_port), ("tcp", self.metrics_port)]
        forwards = [*pages, ("udp", self.media_port)]
        return Guest(self.root, self.job, forwards)

    @property
    def web(self) -> str:
        """The `[web]` and `[metrics]` sections that fit these ports."""
        return (
            f'[metrics]\nlisten = "0.0.0.0:{self.metrics_port}"\n'
            f'[web]\nlisten = "0.0.0.0:{self.page_port}"\nmedia = "0.0.0.0:{self.media_port}"\n'
            f'extra_addresses = ["127.0.0.1:{self.media_port}"]\n'
        )

    async def metrics(self) -> Metrics:
        """What the daemon counts."""
        return Metrics(await text(f"http://127.0.0.1:{self.metrics_port}/metrics"))

    async def registry(self, guest: Guest):
        """Has GStreamer look at its plugins, once a root."""
        if not self._registry.exists():
            await guest.sh("gst-inspect-1.0 x264enc >/dev/null", REGISTRY_S)
            shutil.copy(self.job / "registry.bin", self._registry)

    async def daemon(self, guest: Guest, config: str):
        """Starts the daemon in the guest and waits until it is on air."""
        (self.job / "floorcast.toml").write_text(config)
        now = time.time()
        print(await guest.sh(f"date -s @{now}; /job/floorcast check /job/floorcast.toml"))
        await self.registry(guest)
        await guest.start(
            "floorcast", "env NO_COLOR=1 /job/floorcast run --config /job/floorcast.toml"
        )
        await guest.sh(
            "pid=$(cat /run/floorcast.pid); "
            "tail --pid=$pid -n +1 -f /job/floorcast.log | grep -q -m 1 '^on air: '",
            ON_AIR_S,
        )


def load(path: pathlib.Path) -> ModuleType:
    """The module of a scenario."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    scenario = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scenario)
    return scenario


async def play(scenario: ModuleType, root: pathlib.Path, daemon: pathlib.Path) -> bool:
    """One scenario; says how it went."""
    name = scenario.__name__
    print(f"vm: {name}: {scenario.__doc__.strip().splitlines()[0]}", flush=True)
    began = time.monotonic()
    bench = Bench(root, daemon, root.parent / "run" / name)
    limit = asyncio.timeout(scenario.DEADLINE_S)
    try:
        async with limit:
            await scenario.run(bench)
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        if limit.expired():
            text = f"its deadline of {scenario.DEADLINE_S} s passed\n{text}"
        print(f"vm: {name}: FAILED after {time.monotonic() - began:.0f} s: {text}")
        steps = sorted(bench.job.glob("step-*.out"), key=lambda path: path.stat().st_mtime)
        for log in [*sorted(bench.job.glob("*.log")), *steps[-STEPS:]]:
            tail = log.read_text(errors="replace").splitlines()[-40:]
            if tail:
                print(f"--- {log.relative_to(root.parent.parent.parent)} ends with:")
                print("\n".join(tail))
        return False
    print(f"vm: {name}: ok in {time.monotonic() - began:.0f} s", flush=True)
    return True


def main() -> int:
    root, daemon = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    known = {path.stem: load(path) for path in sorted((HERE / "scenarios").glob("*.py"))}
    benches = {name for name, scenario in known.items() if getattr(scenario, "BENCH", False)}
    wanted = sys.argv[3:] or [name for name in known if name not in benches]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        print(f"vm: no scenario {unknown}; there is: {', '.join(known)}", file=sys.stderr)
        return 2
    began = time.monotonic()
    passed = sum(asyncio.run(play(known[name], root, daemon)) for name in wanted)
    took = time.monotonic() - began
    print(f"{passed} passed, {len(wanted) - passed} failed, in {took:.0f} s", flush=True)
    return 0 if passed == len(wanted) else 1


sys.exit(main())
