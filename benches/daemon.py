"""What the daemon costs: start to first frame, memory on air, CPU and memory per viewer of
a feed that it encodes itself (benches/fanout.rs has the same without an encoder beside it).

    python3 benches/daemon.py [--viewers 50,200] [--seconds 20]

Comes in: target/release/floorcast and target/release/whep-load. Goes out: one
line per figure with its target, and exit code 1 if one is missed. The viewers
are a process of their own; what they cost is not counted. CPU per viewer is
that of the thread that serves viewers, kernel time included, less what the
same thread takes without any.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")
RELEASE = os.path.join(os.path.dirname(__file__), "..", "target", "release")
CONFIG = """
[web]
listen = "127.0.0.1:0"
media = "127.0.0.1:0"
viewers_max = 400
[metrics]
listen = "127.0.0.1:0"
[[camera]]
id = "line"
port = "sim:line"
width = {width}
height = {height}
fps = {fps}
bitrate_kbps = {kbps}
[[modbus]]
id = "plc"
tcp = "127.0.0.1:{port}"
[[modbus.unit]]
id = 1
period_ms = 100
[[modbus.unit.tag]]
name = "tick"
table = "holding"
address = 0
type = "u16"
public = true
"""

failed = False


def report(what, value, most, unit):
    global failed
    failed |= value > most
    missed = "   MISSED" if value > most else ""
    print(f"{what:<58} {value:8.2f} {unit}   at most {most} {unit}{missed}", flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Daemon:
    def __init__(self, width, height, fps, kbps):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".toml")
        self.file.write(CONFIG.format(width=width, height=height, fps=fps, kbps=kbps, port=free_port()))
        self.file.flush()
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [os.path.join(RELEASE, "floorcast"), "run", "--config", self.file.name],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if line.startswith("on air: "):
                self.page = line.split()[2]
                break
        else:
            sys.exit("the daemon ended before it was on air")

    def viewers(self, count, *args):
        return subprocess.Popen(
            [os.path.join(RELEASE, "whep-load"), self.page + "whep/line", "--viewers", str(count), *args],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rss_kb(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return next(int(l.split()[1]) for l in f if l.startswith("VmRSS"))

    def whep_seconds(self):
        """CPU seconds of the thread that serves viewers, which begins just after `on air`."""
        tasks = f"/proc/{self.process.pid}/task"
        until = time.monotonic() + 10
        while time.monotonic() < until:
            for task in os.listdir(tasks):
                with open(f"{tasks}/{task}/stat") as f:
                    text = f.read()
                name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
                if name == "whep":
                    return (int(rest[11]) + int(rest[12])) / TICKS
            time.sleep(0.05)
        sys.exit("the daemon has no thread named whep")

    def rate(self, seconds):
        before, began = self.whep_seconds(), time.monotonic()
        time.sleep(seconds)
        return (self.whep_seconds() - before) / (time.monotonic() - began)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def starting():
    best = []
    for _ in range(5):
        daemon = Daemon(1280, 720, 30, 2500)
        load = daemon.viewers(1, "--seconds", "0")
        load.stdout.readline()  # joined 1
        best.append(time.monotonic() - daemon.began)
        load.wait()
        daemon.stop()
    report("process start to first frame at a viewer, worst of 5", max(best), 1.5, "s")


def on_air():
    daemon = Daemon(1280, 720, 30, 2500)
    load = daemon.viewers(1, "--seconds", "10")
    load.wait()
    report("RSS on air, one 720p feed, one viewer", daemon.rss_kb() / 1024, 80, "MB")
    daemon.stop()


def fan_out(counts, seconds):
    daemon = Daemon(640, 360, 25, 1000)
    idle, empty = daemon.rate(5), daemon.rss_kb()
    for count in counts:
        load = daemon.viewers(count, "--until-stdin")
        load.stdout.readline()  # joined N
        busy = daemon.rate(seconds)
        rss = daemon.rss_kb()
        load.stdin.write("\n")
        load.stdin.close()
        line = load.stdout.read().strip()
        code = load.wait()
        print(line)
        report(f"CPU per viewer-second, {count} viewers, 1 Mbit/s", (busy - idle) * 1000 / count, 1.0, "ms")
        report(f"memory per viewer, {count} viewers", (rss - empty) / count, 250, "kB")
        report(f"viewers that failed or lost packets, {count} viewers", float(code != 0), 0, "")
    daemon.stop()


arguments = argparse.ArgumentParser()
arguments.add_argument("--viewers", default="50,200")
arguments.add_argument("--seconds", type=float, default=20)
options = arguments.parse_args()
starting()
on_air()
fan_out([int(n) for n in options.viewers.split(",")], options.seconds)
sys.exit(failed)
