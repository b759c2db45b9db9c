#!/usr/bin/env python3
"""Takes from an unpacked root what the board does not run: `prune.py ROOT PLUGINS MODULES`.

In: a directory, the GStreamer plugins that stay (a regular expression), the kernel modules that
stay with what they need. Out: the same directory, smaller: a slot is written often in the tests.
A library stays if a program or a plugin that stays is linked to it, however far.
"""

import pathlib
import re
import shutil
import subprocess
import sys

LIBRARIES = "usr/lib/aarch64-linux-gnu"
PROGRAMS = ("usr/bin", "usr/sbin", "usr/lib/systemd", "usr/lib/udev", "usr/lib/polkit-1",
            f"{LIBRARIES}/systemd")  # fmt: skip
# Opened by name, while they run.
BY_NAME = re.compile(r"lib(nss_|gcc_s|cryptsetup|kmod|gst|fdisk|blkid|resolv|dw-|elf-)")


def needed(file: pathlib.Path) -> set[str]:
    """The libraries that a program names; none for what is no program."""
    with file.open("rb") as opened:
        if opened.read(4) != b"\x7fELF":
            return set()
    said = subprocess.run(["readelf", "-d", file], capture_output=True, text=True).stdout
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", said))


def libraries(root: pathlib.Path, plugins: str) -> None:
    """Plugins and libraries."""
    home = root / LIBRARIES
    keep = re.compile(rf"libgst(?:{plugins})\.so")
    for plugin in (home / "gstreamer-1.0").glob("*.so"):
        if not keep.match(plugin.name):
            plugin.unlink()
    stay = [f for d in PROGRAMS for f in (root / d).rglob("*") if f.is_file()]
    stay += list((home / "gstreamer-1.0").rglob("*.so")) + list((home / "ossl-modules").glob("*"))
    stay += [f for f in home.glob("*.so*") if BY_NAME.match(f.name)]
    wanted, seen = set(), set()
    while stay:
        file = stay.pop()
        if file in seen or not file.is_file():
            continue
        seen.add(file)
        for name in needed(file) - wanted:
            wanted.add(name)
            stay += [home / name]
    real = {(home / name).resolve().name for name in wanted}
    for file in home.glob("*.so*"):
        if not (file.name in wanted | real or BY_NAME.match(file.name) or "ld-linux" in file.name):
            file.unlink()
    for directory in home.iterdir():
        if directory.is_dir() and directory.name not in (
            "gstreamer-1.0", "gstreamer1.0", "systemd", "ossl-modules", "engines-3", "security",
        ):  # fmt: skip
            shutil.rmtree(directory)


def modules(root: pathlib.Path, wanted: list[str]) -> None:
    """Kernel modules."""
    (home,) = (root / "usr/lib/modules").iterdir()
    subprocess.run(["depmod", "-b", root, home.name], check=True)
    keep = set()
    for module in wanted:
        ask = ["modprobe", "-d", root, "-S", home.name, "--show-depends", module]
        said = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
        keep |= {pathlib.Path(path).name for path in re.findall(r"^insmod (\S+)", said, re.M)}
    for file in home.rglob("*.ko*"):
        if file.name not in keep:
            file.unlink()


def main() -> None:
    """All of it."""
    root, plugins, names = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3].split()
    libraries(root, plugins)
    modules(root, names)
    for useless in ("usr/share/icons", "usr/share/fonts", "usr/share/bash-completion", "usr/include",
                    "usr/share/mime", "usr/lib/firmware", "usr/share/perl", "usr/share/perl5",
                    "usr/share/zoneinfo", "usr/share/sounds", "usr/share/directfb-1.7.7", "usr/share/iso-codes", "usr/share/xml", "usr/share/X11", "usr/share/alsa",
                    "usr/lib/udev/hwdb.d", "usr/lib/klibc"):  # fmt: skip
        shutil.rmtree(root / useless, ignore_errors=True)
    # U-Boot hands over its own device tree.
    for trees in (root / "usr/lib").glob("linux-image-*"):
        shutil.rmtree(trees)


if __name__ == "__main__":
    main()
