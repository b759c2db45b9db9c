"""Cameras that can be unplugged one by one: each a vivid device behind a driver of its own.

The kernel's vivid makes all its cameras in one device, so unplugging one unplugs all. Here each
camera has a copy of that module under another name of five letters, which is also its driver's
name, its device's and its port's.
"""

import lzma
from dataclasses import dataclass

from guest import Clock, Guest

NEVER = Clock(0, 0)
SIGNED = b"~Module signature appended~\n"


def renamed(module: bytes, name: str) -> bytes:
    """The module under another name of the same length, without its signature."""
    assert len(name) == len("vivid"), name
    if module.endswith(SIGNED):
        # The signature's length is the last of the twelve bytes before the mark.
        end = len(module) - len(SIGNED)
        module = module[: end - 12 - int.from_bytes(module[end - 4 : end], "big")]
    return module.replace(b"vivid", name.encode())


CONTROLS = {
    "wrap_sequence_number": 0xF0F026,
    "wrap_timestamp": 0xF0F027,
    "percentage_of_dropped_buffers": 0xF0F040,
    "disconnect": 0xF0F041,
    "inject_v4l2_buf_flag_error": 0xF0F042,
    "inject_vidioc_qbuf_error": 0xF0F044,
    "inject_vidioc_streamon_error": 0xF0F045,
    "inject_fatal_streaming_error": 0xF0F046,
}
"""Numbers of vivid's controls, which `v4l2-ctl --list-ctrls` shows."""


@dataclass(frozen=True)
class Deed:
    """Something done to a camera: when it began and was over on our clock, and how it went."""

    began: float
    ended: float
    node: str
    """The camera's node after it, `/dev/video2`, or nothing."""
    refused: str
    """Why it was not done, or nothing."""


class Camera:
    """One camera in the guest."""

    def __init__(self, guest: Guest, name: str):
        self.guest, self.name = guest, name
        self.port = f"platform:{name}-000"

    @classmethod
    async def load(cls, guest: Guest, name: str, planes: str = "single") -> "Camera":
        """Plugs in a camera that has never been there."""
        source = next((guest.root / "lib/modules").rglob("vivid.ko*"))
        module = source.read_bytes()
        module = lzma.decompress(module) if source.suffix == ".xz" else module
        (guest.job / f"{name}.ko").write_bytes(renamed(module, name))
        await guest.sh(
            # What vivid stands on, but not vivid itself.
            "modprobe -a $(modprobe --show-depends vivid "
            "| sed -n '$d; s|^insmod .*/\\(.*\\)\\.ko.*|\\1|p')"
        )
        camera = cls(guest, name)
        await camera._insert(f"input_types=0x0 multiplanar={2 if planes == 'multi' else 1}")
        return camera

    async def replace(self, options: str):
        """Another camera in the same port, as the module's options have it."""
        # What streams from the old one lets go of it when its last picture has been encoded.
        await self.guest.sh(f"modprobe -r -w 10000 {self.name}")
        await self._insert(options)

    async def _insert(self, options: str):
        await self.guest.sh(
            f"insmod /job/{self.name}.ko n_devs=1 node_types=0x1 {options}\n"
            # udevd was once seen to hang up on who waits for it.
            "udevadm settle --timeout=30 || udevadm settle --timeout=30"
        )

    async def node(self) -> str:
        """Its node of the moment, or nothing."""
        return (await self._do("node", 0, NEVER)).node

    async def set(self, what: str, value: int, clock: Clock) -> Deed:
        """Sets one of vivid's controls, or `unplug` to 1 or 0: what is so already stays."""
        return await self._do(str(CONTROLS.get(what, what)), value, clock)

    async def unplug(self, clock: Clock) -> Deed:
        """Takes it away."""
        return self._done(await self.set("unplug", 1, clock))

    async def plug(self, clock: Clock) -> Deed:
        """Brings it back."""
        return self._done(await self.set("unplug", 0, clock))

    def _done(self, deed: Deed) -> Deed:
        assert not deed.refused, f"{self.name}: {deed.refused}"
        return deed

    async def _do(self, what: str, value: int, clock: Clock) -> Deed:
        answer = await self.guest.ask(f"fault {self.name} {what} {value}")
        began, ended, node, result = answer.split(" ", 3)
        return Deed(
            began=clock.here(float(began)),
            ended=clock.here(float(ended)),
            node="" if node == "-" else f"/dev/{node}",
            refused="" if result == "done" else result,
        )
