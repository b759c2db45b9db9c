"""Announces services on the local network until it is killed.

Comes in: of each service, as an argument: instance, port, what stands in its text (`key=value`, or
nothing). Goes out: `ready` once all are announced. The implementation is python-zeroconf.
"""

import signal
import sys

from zeroconf import ServiceInfo, Zeroconf

TYPE = "_secure-mqtt._tcp.local."

zeroconf = Zeroconf()
for argument in sys.argv[1:]:
    name, port, text = argument.split(",")
    properties = dict([text.split("=")]) if text else {}
    info = ServiceInfo(
        TYPE,
        f"{name}.{TYPE}",
        port=int(port),
        properties=properties,
        server=f"{name}.local.",
        parsed_addresses=["127.0.0.1"],
    )
    zeroconf.register_service(info)
print("ready", flush=True)
signal.pause()
