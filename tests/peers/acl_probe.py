"""Tries rights at brokers, with paho-mqtt: one JSON question on standard input, one answer out.

Question: {"ca": FILE, "topics": [...], "filters": [...], "asked": [
  {"who": NAME, "as": PEER, "other": PEER}]}
or: {"ca": FILE, "wills": [PEER, ...], "other": PEER}
PEER: {"port": PORT} and, where it has them, "cert", "key", "id", "username", "will"
Answer: {NAME: {"refused": REASON} or {"wrote": [...], "read": [...], "sent": [...]}}
or: [...], the topics of the wills that came to `other`; the last one must, and ends the waiting.

`wrote`: topics for which the broker acknowledged a publication without a reason against it.
`read`: topics that came, of those that `other` published while the client held every subscription
of `filters` and of `topics`. The broker is one thread: once a publication is acknowledged, its
copies are ahead of anything that the reader is sent later, such as the answer to another
subscription. So nothing here waits for something that does not come.
"""

import json
import ssl
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

DEADLINE = 20


class Client:
    def __init__(self, ca, port, cert=None, key=None, id=None, username=None, will=None):
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=id or "", protocol=mqtt.MQTTv5
        )
        self.event = threading.Condition()
        self.acks, self.subacks, self.came = {}, {}, []
        self.connected, self.closed = None, None
        self.client.on_connect = self.on_connect
        self.client.on_connect_fail = lambda *_: self.note("closed", "connection failed")
        self.client.on_disconnect = self.on_disconnect
        self.client.on_publish = lambda c, u, mid, reason, p: self.put(self.acks, mid, reason)
        self.client.on_subscribe = lambda c, u, mid, reason, p: self.put(self.subacks, mid, reason)
        self.client.on_message = self.on_message
        if username:
            self.client.username_pw_set(username, "none")
        if will:
            self.client.will_set(will, b"will", qos=1)
        self.client.tls_set(ca, cert, key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.client.connect("localhost", port, keepalive=30)
        self.client.loop_start()
        self.wait(lambda: self.connected is not None or self.closed is not None)
        if self.connected != "Success":
            self.client.disconnect()
            self.client.loop_stop()
            raise ConnectionRefusedError(self.connected or self.closed)

    def note(self, name, value):
        with self.event:
            setattr(self, name, getattr(self, name) or str(value))
            self.event.notify_all()

    def put(self, where, mid, reason):
        with self.event:
            where[mid] = reason
            self.event.notify_all()

    def on_connect(self, client, userdata, flags, reason, properties):
        self.note("connected", reason)

    def on_disconnect(self, client, userdata, flags, reason, properties):
        self.note("closed", reason)

    def on_message(self, client, userdata, message):
        with self.event:
            self.came.append(message.topic)
            self.event.notify_all()

    def wait(self, until):
        with self.event:
            if not self.event.wait_for(lambda: until() or self.closed, DEADLINE):
                raise TimeoutError("no answer from the broker")
            if self.closed and self.connected == "Success":
                raise ConnectionResetError(self.closed)

    def publish(self, topics):
        """The topics whose publication was acknowledged without a reason against it."""
        sent = {}
        for topic in topics:
            sent[self.client.publish(topic, b"probe", qos=1).mid] = topic
        self.wait(lambda: all(mid in self.acks for mid in sent))
        # 0: taken; 16: taken, and nobody subscribed.
        return [topic for mid, topic in sent.items() if self.acks[mid].value in (0, 16)]

    def subscribe(self, filters):
        result, mid = self.client.subscribe([(f, mqtt.SubscribeOptions(qos=0)) for f in filters])
        if result != mqtt.MQTT_ERR_SUCCESS:
            raise OSError(f"subscribe: {result}")
        self.wait(lambda: mid in self.subacks)

    def close(self, reason="Normal disconnection"):
        self.client.disconnect(ReasonCode(PacketTypes.DISCONNECT, reason))
        with self.event:
            if not self.event.wait_for(lambda: self.closed, DEADLINE):
                raise TimeoutError("the connection does not end")
        self.client.loop_stop()


def ask(question, asked):
    try:
        client = Client(question["ca"], **asked["as"])
        wrote = client.publish(question["topics"])
        client.subscribe(question["filters"])
        for start in range(0, len(question["topics"]), 50):
            client.subscribe(question["topics"][start : start + 50])
        other = Client(question["ca"], **asked["other"])
        sent = other.publish(question["topics"])
        other.close()
        # The fence: its answer is behind every copy.
        client.subscribe(["fence"])
        read = sorted(set(client.came))
        client.close()
        return {"wrote": wrote, "read": read, "sent": sent}
    except (ConnectionError, ssl.SSLError) as error:
        return {"refused": str(error) or type(error).__name__}


def wills(question):
    other = Client(question["ca"], **question["other"])
    other.subscribe(["#"])
    for peer in question["wills"]:
        Client(question["ca"], **peer).close("Disconnect with will message")
    other.wait(lambda: question["wills"][-1]["will"] in other.came)
    other.close()
    return other.came


def main():
    question = json.load(sys.stdin)
    if "wills" in question:
        answer = wills(question)
    else:
        answer = {asked["who"]: ask(question, asked) for asked in question["asked"]}
    json.dump(answer, sys.stdout)


main()
