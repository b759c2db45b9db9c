"""Cameras that can be unplugged one by one: each a vivid device behind a driver of its own.

The kernel's vivid makes all its cameras in one device, so unplugging one unplugs all. Here each
camera has a copy of that module under another name of five letters, which is also its driver's
name, its device's and its port's.
"""

import lzma
from dataclasses import dataclass

from guest import Clock, Guest

SIGNED = b"~Module signature appended~\n"


def renamed(module: bytes, name: str) -> bytes:
    """The module under another name of the same length, without its signature."""
    assert len(name) == len("vivid"), name
    if module.endswith(SIGNED):
        # The signature's length is the last of the twelve bytes before the mark.
        end = len(module) - len(SIGNED)
        module = module[: end - 12 - int.from_bytes(module[end - 4 : end], "big")]
    return module.replace(b"vivid", name.encode())


@dataclass(frozen=True)
class Moment:
    """When the guest did something, on our clock."""

    began: float
    ended: float


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
            "| sed -n '$d; s|^insmod .*/\\(.*\\)\\.ko.*|\\1|p')\n"
            f"insmod /job/{name}.ko n_devs=1 node_types=0x1 input_types=0x0 "
            f"multiplanar={2 if planes == 'multi' else 1}\n"
            "udevadm settle --timeout=30"
        )
        return cls(guest, name)

    async def node(self) -> str:
        """Its node of the moment, `/dev/video2`."""
        here = f"/sys/bus/platform/devices/{self.name}.0/video4linux"
        return "/dev/" + (await self.guest.sh(f"ls {here}")).strip()

    async def there(self) -> bool:
        """It is plugged in."""
        driver = f"/sys/bus/platform/drivers/{self.name}"
        return not await self.guest.sh(f"[ -e {driver}/{self.name}.0 ] || echo no")

    async def unplug(self, clock: Clock) -> Moment:
        """Takes it away."""
        return await self._write("unbind", clock)

    async def plug(self, clock: Clock) -> Moment:
        """Brings it back."""
        return await self._write("bind", clock)

    async def _write(self, what: str, clock: Clock) -> Moment:
        out = await self.guest.sh(
            f"began=$EPOCHREALTIME\n"
            f"echo {self.name}.0 >/sys/bus/platform/drivers/{self.name}/{what} || exit\n"
            f"echo $began $EPOCHREALTIME"
        )
        began, ended = (clock.here(float(at)) for at in out.split())
        return Moment(began, ended)

    async def set(self, what: str, value: int) -> str:
        """Sets one of vivid's controls, or `unplug` to 1 or 0; returns why not, or nothing."""
        device, driver = f"{self.name}.0", f"/sys/bus/platform/drivers/{self.name}"
        if what == "unplug":
            script = (
                f"echo {device} >{driver}/unbind"
                if value
                else f"[ -e {driver}/{device} ] || echo {device} >{driver}/bind"
            )
        else:
            script = (
                f"node=$(ls /sys/bus/platform/devices/{device}/video4linux) && "
                f"v4l2-ctl -d /dev/$node -c {what}={value}"
            )
        return (await self.guest.sh(script, check=False)).strip().replace("\n", "; ")
