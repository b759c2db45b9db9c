"""A box that answers every request with what it was asked, to try the tools of configs/README.md.

Arguments: PORT CA CERT KEY SITE/BOX. One line `topic<TAB>payload` on standard output for each
message, and `ready` when it is subscribed.
"""

import hashlib
import json
import ssl
import sys

import paho.mqtt.client as mqtt

port, ca, cert, key, name = sys.argv[1:]
base = f"floorcast/v1/{name}/"


def canonical(document):
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def on_connect(client, userdata, flags, reason, properties):
    client.subscribe([(base + filter, 1) for filter in ("cfg/req/+/+", "cfg/desired", "cmd/+/+")])


def on_subscribe(client, userdata, mid, reasons, properties):
    for part in ("state", "health/feed/line", "tele/plc/press", "cfg/reported"):
        client.publish(base + part, part, qos=1, retain=True)
    print("ready", flush=True)


def on_message(client, userdata, message):
    topic = message.topic.removeprefix(base)
    request = json.loads(message.payload) if message.payload else {}
    honest = "document" not in request or request["sha256"] == canonical(request["document"])
    print(topic, sorted(request), "honest" if honest else "wrong sha256", sep="\t", flush=True)
    kind, *rest = topic.split("/")
    if "txid" not in request or rest[0] == "desired":
        return
    me, what = rest[-2:]
    if what == "snapshot":
        client.publish(f"{base}cmd/res/{me}/{request['txid']}/jpeg", "jpeg", qos=1)
    client.publish(f"{base}{kind}/res/{me}/{request['txid']}", f"answer to {what}", qos=1)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
client.tls_set(ca, cert, key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
client.connect("localhost", int(port), keepalive=30)
client.loop_forever()
