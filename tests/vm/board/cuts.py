"""Power that goes at any moment of an update."""

import concurrent.futures
import hashlib
import json
import pathlib
import random
import shutil
import time
from collections.abc import Callable
from typing import NamedTuple

from bench import GOOD_S, INSTALL_S, MARKED, Bench, env, passed, want
from board import Board, BoardError
from peers import shop

FEW, LIKE = 10, 2
"""For fewer cuts an update is taken to last this often as long as a first start."""
RECORD = "/var/lib/private/floorcast/update/update.json"
STAYS = f"for i in $(seq {GOOD_S}); do grep -q '\"done\"' {RECORD} && exit; sleep 1; done; cat {RECORD}; exit 1"


class Way(NamedTuple):
    """How an update is begun, and how a box has to end whose power went in it."""

    begin: Callable[[Board], None]
    end: Callable[[Board], str]


def by_hand() -> Way:
    """RAUC alone: an update that is cut is gone or done."""

    def end(board: Board) -> str:
        start = board.ready()
        passed(board, start.slot, {"A": "1.0", "B": "1.1"}.get(start.slot, "none"), start)
        return start.slot

    return Way(lambda board: board.begin("rauc install /run/stick/good.raucb && systemctl reboot"), end)


def by_daemon(images: pathlib.Path, port: int) -> Way:
    """The daemon, as if it had been asked over MQTT: it goes on after a cut, to the end."""
    sums = hashlib.sha256((images / "good.raucb").read_bytes()).hexdigest()
    url = f"http://10.0.2.2:{port}/good.raucb"
    ask = {"url": url, "sha256": sums, "version": "1.1", "window": None, "force": False}
    record = json.dumps({"ask": ask, "stage": "fetching"})

    def begin(board: Board) -> None:
        board.sh(
            f"systemctl stop floorcast; mkdir -p $(dirname {RECORD}); echo '{record}' >{RECORD}; "
            f"chown -R --reference=$(dirname $(dirname {RECORD})) $(dirname {RECORD}); sync; "
            "systemctl start --no-block floorcast"
        )

    def end(board: Board) -> str:
        start = board.ready()
        if start.slot == "A":
            start = board.ready(2 * INSTALL_S)
        passed(board, "B", "1.1", start)
        board.sh(STAYS, 2 * GOOD_S)
        return "B"

    return Way(begin, end)


def cut(bench: Bench, way: Way, number: int, at: float) -> str:
    """Power that goes `at` seconds into an update leaves a box that runs and data that is there;
    the slot that runs then."""
    board, disk = bench.settled("cut")
    with board:
        way.begin(board)
        time.sleep(at)  # the cut is a moment, not an event
    with bench.board(disk) as board:
        slot = way.end(board)
        board.sh(MARKED)
        variables = env(board)
    held, label = {"A": "a", "B": "good"}[slot], f"rootfs-{slot.lower()}"
    want(bench.slot(disk, label) == bench.sums[held], f"cut {number}: {label} is torn and runs")
    if slot == "A" and board.may_start("B"):
        whole = bench.slot(disk, "rootfs-b") == bench.sums["good"]
        want(whole, f"cut {number}: slot B is torn and was to start: {board.tail()}")
    print(f"  cut {number}: after {at:.1f} s, slot {slot} runs; {variables}", flush=True)
    return slot


def series(bench: Bench, way: Way, count: int, seed: int, jobs: int) -> str:
    """`count` cuts, `jobs` of them side by side."""

    def uncut(number: int) -> float:
        apart = bench.apart(f"uncut{number}")
        board, _ = apart.settled()
        with board:
            began = time.monotonic()
            way.begin(board)
            passed(board, "B", "1.1", board.ready(INSTALL_S))
            took = time.monotonic() - began
        shutil.rmtree(apart.job)
        return took

    # How long all of it takes here, with as many beside it: cuts fall into that.
    if count < FEW:
        whole = LIKE * bench.base()[-1]
    else:
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            whole = max(pool.map(uncut, range(jobs)))
    print(f"  cuts: uncut {whole:.0f} s; seed {seed}", flush=True)
    chance = random.Random(seed)
    moments = [chance.uniform(0, whole) for _ in range(count)]

    def one(number: int) -> str:
        apart = bench.apart(f"cut{number}")
        try:
            return cut(apart, way, number, moments[number])
        except BoardError as error:
            print(f"  cut {number}: FAILED, after {moments[number]:.1f} s: {error}", flush=True)
            return "failed"
        finally:
            shutil.rmtree(apart.job)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        slots = list(pool.map(one, range(count)))
    want("failed" not in slots, f"{slots.count('failed')} of {count} cuts")
    back, on = slots.count("A"), slots.count("B")
    return f"{count} cuts: {back} went back, {on} went on; none dead, no data lost"


def cuts(bench: Bench, count: int, seed: int, jobs: int) -> str:
    """Of `rauc install` and a restart."""
    return series(bench, by_hand(), count, seed, jobs)


def goes_on(bench: Bench, count: int, seed: int, jobs: int) -> str:
    """Of an update that the daemon was asked for."""
    with shop(bench.images) as port:
        return series(bench, by_daemon(bench.images, port), count, seed, jobs)
