"""Prints what a Modbus TCP server holds, as pymodbus decodes it.

Usage: pymodbus_read.py PORT < cells
A cell is `table TAB address TAB type TAB order TAB value`; the value is not looked at. One line
each goes out.
"""

import sys

from pymodbus.client import ModbusTcpClient

from pymodbus_server import NAMES


def read(client, table, address, kind, order):
    if table == "coil":
        return int(client.read_coils(address, count=1, device_id=1).bits[0])
    words = "little" if order in ("cdab", "dcba") else "big"
    count = NAMES[kind].value[1]
    reply = client.read_holding_registers(address, count=count, device_id=1)
    values = reply.registers
    if order in ("badc", "dcba"):
        values = [(v & 0xFF) << 8 | v >> 8 for v in values]
    return client.convert_from_registers(values, NAMES[kind], word_order=words)


client = ModbusTcpClient("127.0.0.1", port=int(sys.argv[1]), timeout=10)
if not client.connect():
    sys.exit("no connection")
for line in sys.stdin:
    table, address, kind, order, _ = line.rstrip("\n").split("\t")
    print(read(client, table, int(address), kind, order))
client.close()
