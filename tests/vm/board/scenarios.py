#!/usr/bin/env python3
"""What an update may not break: `scenarios.py IMAGES SCENARIO… [--cuts N] [--seed N] [--jobs N]`.

In: what `image` made. Out: a line for each scenario, with figures; the first thing that is not as
it should be ends the run with the reason. Scenarios: `good`, `remote` (asked for over MQTT),
`stick`, `crash`, `dark`, `panic` (bad images that are signed all the same), `refused`, `boxes`,
`stages` (how long a start takes), `cuts` (power goes in `rauc install`), `goes_on` (and in an
update that the daemon was asked for).
"""

import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from bench import INSTALL_S, MARKED, Bench, env, passed, verdict, want
from board import Board, BoardError
from cuts import cuts, goes_on
from peers import Broker, shop
from start import start

LISTENERS = ["tcp/10.9.9.9:9185", "tcp/127.0.0.1:8080", "udp/127.0.0.1:8189"]
"""What floorcast.toml says, and nothing else."""


def good(bench: Bench) -> str:
    """A good update runs, passes its gate and stays; what the box kept is still there."""
    board, disk = bench.settled()
    with board:
        before = env(board)["MACHINE_ID"]
        began = time.monotonic()
        board.sh("rauc install /run/stick/good.raucb", INSTALL_S)
        installed = time.monotonic()
        board.begin("systemctl reboot")
        passed(board, "B", "1.1")
        done = time.monotonic()
        board.sh(MARKED)
        board.sh("test -e /run/floorcast-good && test ! -e /data/health/verdict.json")
        after = env(board)["MACHINE_ID"], board.sh("cat /etc/machine-id")
        want(after == (before, before), f"machine-id was {before}, is {after}")
        board.sh("sync")
    want(bench.slot(disk, "rootfs-b") == bench.sums["good"], "slot B is not what was signed")
    return (
        f"installed in {installed - began:.0f} s, "
        f"restarted and found good in {done - installed:.0f} s"
    )


def bad(bench: Bench, kind: str, version: str, reason: str | None) -> str:
    """A bad image is given up by the box itself, with the reason kept."""
    board, _ = bench.settled()
    with board:
        board.sh(f"rauc install /run/stick/{kind}.raucb", INSTALL_S)
        began = time.monotonic()
        board.begin("systemctl reboot")
        if reason:
            start = board.ready()
            want((start.slot, start.version) == ("B", version), f"{start} came up")
        passed(board, "A", "1.0", board.ready(900))
        back = time.monotonic() - began
        board.sh(MARKED)
        if reason:
            said = verdict(board)
            want(said["given_up"] and reason in said["reason"], f"the verdict is {said}")
            want(reason in board.sh("cat /data/health/log"), "the log has no reason")
        state = env(board)
        want(state["BOOT_B_LEFT"] == "0", f"slot B still has tries: {state}")
    return f"back on slot A after {back:.0f} s; {reason or 'it never came to its gate'}"


def refused(bench: Bench) -> str:
    """A bundle that is old, of another authority, torn or damaged writes nothing."""
    said = []
    board, _ = bench.settled()
    with board:
        board.sh(
            "cd /data && head -c 50000000 /run/stick/good.raucb >short.raucb && "
            "cp /run/stick/good.raucb damaged.raucb && printf x | "
            "dd of=damaged.raucb bs=1 seek=40000000 conv=notrunc status=none"
        )
        for bundle, why in (
            ("/run/stick/old.raucb", "older than"),
            ("/run/stick/unsigned.raucb", "signature"),
            ("/data/short.raucb", ""),
            ("/data/damaged.raucb", ""),
        ):
            text = board.sh(f"rauc install {bundle}; [ $? != 0 ]", INSTALL_S)
            want(why in text, f"{bundle}: it does not say why: {text}")
            want(env(board)["BOOT_ORDER"].startswith("A"), f"{bundle}: slot B is to start")
            last = [line for line in text.splitlines() if "LastError" in line or "failed" in line]
            said.append(f"{bundle.split('/')[-1]}: {' '.join(last)[:120]}")
        board.begin("systemctl reboot")
        passed(board, "A", "1.0")
    return "\n    ".join(["all four refused, slot A runs", *said])


def boxes(bench: Bench) -> str:
    """Two boxes from one image are two; no password works; only what is configured listens."""
    ids, identity = [], "/var/lib/private/floorcast/identity"
    for name in ("one", "two"):
        with bench.board(bench.fresh(name)) as board:
            passed(board, "A", "1.0")
            # A door that nobody opens: the box makes its key to knock there.
            door = '\n[control.door]\nurl = "mqtt://10.0.2.2:9"\n'
            board.sh(f"cat >>/etc/floorcast/floorcast.toml <<'END'{door}END")
            board.sh("systemctl restart floorcast")
            board.sh(f"for i in $(seq 50); do [ -s {identity}/box.key ] && exit; sleep 1; done; exit 1")
            want(board.sh(f"stat -c %a {identity}/box.key") == "600", "others may read the key")
            ids.append(board.sh(f"cat /etc/machine-id; cat {identity}/serial").split())
            ids[-1].append(board.sh(f"sha256sum <{identity}/box.key")[:12])
    alike = [pair for pair in zip(*ids, strict=True) if pair[0] == pair[1]]
    want(not alike, f"both boxes have {alike}")
    with bench.board(bench.job / "two.qcow2") as board:
        passed(board, "A", "1.0")
        want(board.sh("cat /etc/machine-id") == ids[1][0], "the machine-id did not stay")
        # A slot that was found good before does not wait for the daemon.
        ask = "floorcast metrics >/dev/null"
        board.sh(f"for i in $(seq 100); do {ask} && exit; sleep 1; done; exit 1", 120)
        # The metrics' address comes late, and the daemon finds it.
        board.sh("ip address add 10.9.9.9/32 dev lo")
        board.sh("for i in $(seq 60); do ss -tlnH | grep -q :9185 && exit; sleep 1; done; exit 1", 90)
        fields = [line.split() for line in board.sh("ss -tlnuH").splitlines()]
        open_ = sorted(f"{kind}/{local}" for kind, _, _, _, local, *_ in fields)
        want(open_ == LISTENERS, f"other listeners than configured: {open_}")
        shadow = board.sh("cut -d: -f1,2 /etc/shadow")
        hashes = [line for line in shadow.splitlines() if line.split(":")[1][:1] not in "!*"]
        want(not hashes, f"passwords: {hashes}")
        logins = board.sh("systemctl list-units --state=active --no-legend '*getty*' 'ssh*' | cat")
        want(not logins, f"a login: {logins}")
        judged = board.sh("systemd-analyze security floorcast --no-pager | tail -n 1", 120)
        of_disk, of_files = (
            int(board.sh(f"{ask} | tail -n 1"))
            for ask in (
                "lsblk -bno SIZE /dev/disk/by-partlabel/data",
                "df -B1 --output=size /data",
            )
        )
        want(of_disk > 512 << 20 and of_files > 0.9 * of_disk, f"data: {of_disk}, {of_files}")
        data = f"data has grown to {of_files >> 20} MiB in {of_disk >> 20}"
        times = board.sh("systemd-analyze time")
    return "\n    ".join([f"machine-id, serial number, key: {ids}", judged.strip(), f"{open_}", data, times])


def remote(bench: Bench) -> str:
    """An update that is asked for over MQTT: the daemon, which is not root, fetches it, has RAUC
    install it, restarts the box and tells how it went. A bad one first: it is told too."""
    board, _ = bench.settled()
    with board, Broker(bench.job) as broker, shop(bench.images) as port:

        def health(code: str, word: str, within_s: float) -> None:
            def fits(payload: dict) -> bool:
                return payload["code"] == code and word in payload["reason"]

            broker.wait("health/update", within_s, fits)

        def ask(txid: str, version: str, bundle: str, shelf: str) -> None:
            sums = hashlib.sha256((bench.images / bundle).read_bytes()).hexdigest()
            url = f"{shelf}/{bundle}"
            until = time.strftime("%FT%TZ", time.gmtime(time.time() + 600))
            wish = {"txid": txid, "expires": until, "url": url, "sha256": sums, "version": version}
            broker.say("cmd/eng/update", wish)
            answer = broker.wait(f"cmd/res/eng/{txid}", 30, lambda _: True)
            want(answer["status"] == "ok", f"the box refuses: {answer}")

        said = (
            '\n[box]\nsite = "works"\nid = "board"\n[[control.broker]]\n'
            f'url = "mqtt://10.0.2.2:{broker.port}"\nkeep_alive_s = 5\n'
        )
        board.sh(f"cat >>/etc/floorcast/floorcast.toml <<'END'{said}END")
        board.sh("systemctl restart floorcast")
        broker.wait("state", 60, lambda payload: payload.get("online"))
        ask("old", "0.9", "old.raucb", "file:///run/stick")
        health("failed", "older than", INSTALL_S)
        began = time.monotonic()
        ask("good", "1.1", "good.raucb", f"http://10.0.2.2:{port}")
        health("installing", "", INSTALL_S)
        fetched = time.monotonic()
        health("restarting", "", INSTALL_S)
        installed = time.monotonic()
        passed(board, "B", "1.1", board.ready())
        done = time.monotonic()
        health("", "1.1 stays", 60)
        board.sh(MARKED)
    return (
        f"over MQTT: fetched in {fetched - began:.0f} s, installed in {installed - fetched:.0f} s, "
        f"restarted by the daemon and found good in {done - installed:.0f} s"
    )


def stick(bench: Bench) -> str:
    """A stick with the right label is enough: no network, no command."""
    board, _ = bench.settled()
    with board:
        board.sh(
            "truncate -s 160M /data/stick.img && mke2fs -q -t ext4 -L FLOORCAST /data/stick.img && "
            "mkdir /run/fill && mount /data/stick.img /run/fill && "
            "cp /run/stick/good.raucb /run/fill/ && umount /run/fill",
            INSTALL_S,
        )
        began = time.monotonic()
        board.begin("losetup -r /dev/loop7 /data/stick.img")
        passed(board, "B", "1.1", board.ready(2 * INSTALL_S))
        done = time.monotonic()
        board.sh(MARKED)
        said = "grep -q '\"stage\":\"done\"' /var/lib/private/floorcast/update/update.json"
        board.sh(f"for i in $(seq 30); do {said} && exit; sleep 1; done; exit 1", 60)
    return f"from a stick: on slot B and found good after {done - began:.0f} s"


def stages(bench: Bench) -> str:
    """How long a start takes, to the first picture at a viewer. The camera sees white: a picture
    that is darker than that is the slate."""

    def make(page: int, media: int) -> Board:
        board, disk = bench.settled()
        with board:
            board.sh(
                f"sed -i 's/127.0.0.1:8080/0.0.0.0:{page}/;s/^media.*/media = \"0.0.0.0:{media}\"\\n"
                f"extra_addresses = [\"127.0.0.1:{media}\"]/;s/Gray Ramp/100% White/' /etc/floorcast/floorcast.toml && sync"
            )
            board.sh("floorcast check /etc/floorcast/floorcast.toml")
        return bench.board(disk, forwards=[("tcp", page), ("udp", media)])

    return start(make, bench.images)


def main() -> int:
    """The scenarios by name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=pathlib.Path)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    known = {
        "good": good,
        "remote": remote,
        "stick": stick,
        "stages": stages,
        "crash": lambda bench: bad(bench, "crash", "1.2", "the daemon does not answer"),
        "dark": lambda bench: bad(bench, "dark", "1.3", "feed/fill worked before"),
        "panic": lambda bench: bad(bench, "panic", "1.4", None),
        "refused": refused,
        "boxes": boxes,
        "cuts": lambda bench: cuts(bench, asked.cuts, asked.seed, asked.jobs),
        "goes_on": lambda bench: goes_on(bench, asked.cuts, asked.seed, asked.jobs),
    }
    with tempfile.TemporaryDirectory(prefix="board-") as place:
        shared = pathlib.Path(place)

        def one(name: str) -> bool:
            began = time.monotonic()
            job = shared / name
            job.mkdir()
            try:
                said = known[name](Bench(asked.images.resolve(), job, shared))
                print(f"{name}: ok in {time.monotonic() - began:.0f} s\n    {said}", flush=True)
                return True
            except (BoardError, OSError, subprocess.CalledProcessError) as error:
                print(f"{name}: FAILED after {time.monotonic() - began:.0f} s: {error}", flush=True)
                return False
            finally:
                shutil.rmtree(job, ignore_errors=True)

        with concurrent.futures.ThreadPoolExecutor(asked.jobs) as pool:
            passed_all = all(list(pool.map(one, asked.names)))
    return 0 if passed_all else 1


if __name__ == "__main__":
    sys.exit(main())
