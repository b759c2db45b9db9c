"""What a box meets on its network: a broker and a web server, both on this machine.

In: a directory to work in, one to serve. Out: their ports; what the box says, each with a deadline.
"""

import contextlib
import functools
import http.server
import json
import pathlib
import select
import socket
import subprocess
import sys
import threading
import time

from board import BoardError

sys.path.append(str(pathlib.Path(__file__).parents[1] / "bench"))
from host import free_port  # noqa: E402

ROOT = "floorcast/v1/works/board"


@contextlib.contextmanager
def shop(directory: pathlib.Path):
    """Serves the files of a directory; its port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        """Without a line for each request."""

        def log_message(self, *_):
            pass

    serves = functools.partial(Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serves) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


class Broker:
    """mosquitto, and mosquitto_sub for all that the box says. `with Broker(dir) as broker:`"""

    def __init__(self, place: pathlib.Path):
        self.port = free_port()
        config = place / "mosquitto.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.broker = subprocess.Popen(["/usr/sbin/mosquitto", "-c", config], **quiet)
        self.heard: list[tuple[str, dict]] = []
        until = time.monotonic() + 10
        while not self.answers():
            if time.monotonic() > until:
                self.broker.kill()
                raise BoardError("mosquitto does not answer")
            select.select([], [], [], 0.05)
        hear = ["stdbuf", "-oL", "mosquitto_sub", "-p", str(self.port), "-t", f"{ROOT}/#", "-v"]
        self.ear = subprocess.Popen(hear, stdout=subprocess.PIPE)
        self.rest = b""

    def answers(self) -> bool:
        """Somebody listens at its port."""
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in (self.ear, self.broker):
            process.kill()
            process.wait()

    def say(self, topic: str, payload: dict) -> None:
        """Publishes below the box's root."""
        send = ["mosquitto_pub", "-p", str(self.port), "-q", "1", "-t", f"{ROOT}/{topic}"]
        subprocess.run([*send, "-m", json.dumps(payload)], check=True)

    def wait(self, topic: str, within_s: float, pick) -> dict:
        """The next message on a topic that `pick` accepts."""
        until = time.monotonic() + within_s
        while (left := until - time.monotonic()) > 0:
            while b"\n" in self.rest:
                line, self.rest = self.rest.split(b"\n", 1)
                name, _, text = line.decode(errors="replace").partition(" ")
                try:
                    payload = json.loads(text)
                except ValueError:
                    continue
                name = name.removeprefix(f"{ROOT}/")
                if not name.startswith("tele/"):
                    self.heard.append((name, payload))
                if name == topic and pick(payload):
                    return payload
            if select.select([self.ear.stdout], [], [], left)[0]:
                got = self.ear.stdout.read1(1 << 16)
                if not got:
                    raise BoardError("mosquitto_sub has ended")
                self.rest += got
        lines = "\n".join(f"{name} {payload}" for name, payload in self.heard[-40:])
        raise BoardError(f"{topic}: not within {within_s:.0f} s; heard:\n{lines}")
