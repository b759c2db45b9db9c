"""A pymodbus server whose values pymodbus encodes.

Usage: pymodbus_server.py PORT|TTY < cells
A cell is `table TAB address TAB type TAB order TAB value`. Registers that no cell
holds do not exist; bits are 0.
"""

import asyncio
import logging
import sys

from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

TYPES = ModbusClientMixin.DATATYPE
NAMES = {
    "u16": TYPES.UINT16,
    "i16": TYPES.INT16,
    "bit": TYPES.UINT16,
    "u32": TYPES.UINT32,
    "i32": TYPES.INT32,
    "u64": TYPES.UINT64,
    "i64": TYPES.INT64,
    "f32": TYPES.FLOAT32,
    "f64": TYPES.FLOAT64,
    "string": TYPES.STRING,
}


def registers(kind, order, text):
    if kind == "string":
        value, words = text, "big"
        swapped = order == "ba"
    else:
        value = float(text) if kind.startswith("f") else int(text)
        words = "little" if order in ("cdab", "dcba") else "big"
        swapped = order in ("badc", "dcba")
    values = ModbusClientMixin.convert_to_registers(value, NAMES[kind], word_order=words)
    return [(v & 0xFF) << 8 | v >> 8 for v in values] if swapped else values


def device():
    bits = {"coil": [False] * 400, "discrete": [False] * 400}
    tables = {"holding": [], "input": []}
    for line in sys.stdin:
        table, address, kind, order, text = line.rstrip("\n").split("\t")
        if table in ("coil", "discrete"):
            bits[table][int(address)] = text == "1"
        else:
            values = registers(kind, order, text)
            block = SimData(int(address), values=values, datatype=DataType.REGISTERS)
            tables[table].append(block)
    for blocks in tables.values():
        if not blocks:
            blocks.append(SimData(0, values=[0], datatype=DataType.REGISTERS))
    coils, inputs = ([SimData(0, values=b, datatype=DataType.BITS)] for b in bits.values())
    return SimDevice(1, simdata=(coils, inputs, *tables.values()))


async def main():
    place, unit = sys.argv[1], device()
    if place.isdigit():
        server = ModbusTcpServer(unit, address=("127.0.0.1", int(place)))
    else:
        server = ModbusSerialServer(
            unit, framer=FramerType.RTU, port=place, baudrate=115200, parity="N"
        )
    await server.serve_forever()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main())
