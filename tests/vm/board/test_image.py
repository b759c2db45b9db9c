"""What the Yocto images do to their root file system, on one that is made up: run with the others here."""

import pathlib
import re
import subprocess
import tempfile
import tomllib
import types
import unittest

LAYER = pathlib.Path(__file__).parents[3] / "yocto-layer"
IMAGES = LAYER / "recipes-core/images"
# As OpenEmbedded has them with its root merged into /usr.
PLACES = {"sysconfdir": "/etc", "base_sbindir": "/usr/sbin", "nonarch_base_libdir": "/usr/lib"}
DOOR = '[control.door]\nurl = "mqtts://_secure-mqtt._tcp.local"\nca_file = "/etc/floorcast/ca.pem"\n'


class Image(unittest.TestCase):
    """A step of an image's recipe, without BitBake."""

    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.root = pathlib.Path(place.name)

    def write(self, path: str, text: str = "") -> pathlib.Path:
        """A file of the image."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def step(self, recipe: str, name: str, **values: str) -> str:
        """What the step refuses the image for; nothing if it does not."""
        text = (IMAGES / recipe).read_text()
        body = re.search(rf"^{name}\(\) \{{\n(.*?)^\}}", text, re.M | re.S).group(1)
        for key, value in {**PLACES, "IMAGE_ROOTFS": str(self.root), **values}.items():
            body = body.replace(f"${{{key}}}", value)
        done = subprocess.run(
            ["sh", "-e", "-c", f'bbfatal() {{ echo "$*"; exit 1; }}\n{body}'],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode == 0, not done.stdout, done.stderr)
        return done.stdout

    def test_no_account_has_a_password_that_works(self):
        """Neither an empty one nor one that somebody knows; root has no shell either."""
        passwd = self.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nfloorcast:x:990:990::/:/sbin/nologin\n")
        shadow = self.write("etc/shadow", "root:*:19000:0:99999:7:::\nfloorcast:!:19000::::::\n")
        self.assertEqual(self.step("floorcast-image.bb", "floorcast_no_login"), "")
        self.assertIn("root:x:0:0:root:/root:/usr/sbin/nologin\n", passwd.read_text())
        for password in ("", "$6$salt$hash"):
            shadow.write_text(f"root:*:19000:0:99999:7:::\nguest:{password}:19000:0:99999:7:::\n")
            self.assertIn("guest", self.step("floorcast-image.bb", "floorcast_no_login"))

    def test_no_console_asks_for_a_name(self):
        """Masked, and wanted by nothing."""
        wanted = self.write("etc/systemd/system/getty.target.wants/serial-getty@ttyAMA0.service")
        self.assertEqual(self.step("floorcast-image.bb", "floorcast_no_console"), "")
        self.assertFalse(wanted.exists())
        for unit in ("getty@", "serial-getty@", "debug-shell"):
            link = self.root / f"etc/systemd/system/{unit}.service"
            self.assertEqual(str(link.readlink()), "/dev/null")

    def test_an_image_that_could_never_be_set_up_is_refused(self):
        """Without a door, and without whom to believe there."""
        config = self.write("etc/floorcast/floorcast.toml", (LAYER.parent / "configs/box.toml").read_text())
        self.assertIn("FLOORCAST_CONFIG", self.step("floorcast-image.bb", "floorcast_can_be_set_up"))
        config.write_text(DOOR)
        self.assertIn("FLOORCAST_SITE_CA", self.step("floorcast-image.bb", "floorcast_can_be_set_up"))
        self.write("etc/floorcast/ca.pem")
        self.assertEqual(self.step("floorcast-image.bb", "floorcast_can_be_set_up"), "")
        config.write_text('[[control.broker]]\nurl = "mqtt://broker"\n')
        self.assertEqual(self.step("floorcast-image.bb", "floorcast_can_be_set_up"), "")

    def test_a_kernel_that_takes_no_bundle_is_refused(self):
        """Built in or as a module, it has to be there."""
        needs = {"FLOORCAST_KERNEL_NEEDS": "dm-verity loop"}
        self.assertIn("no dm-verity", self.step("floorcast-image.inc", "floorcast_kernel", **needs))
        self.write("usr/lib/modules/6.18/modules.builtin", "kernel/drivers/md/dm-verity.ko\n")
        self.assertIn("no loop", self.step("floorcast-image.inc", "floorcast_kernel", **needs))
        self.write("usr/lib/modules/6.18/kernel/drivers/block/loop.ko.xz")
        self.assertEqual(self.step("floorcast-image.inc", "floorcast_kernel", **needs), "")

    def test_the_version_is_that_of_cargo(self):
        """Read from there by recipes, image and bundle; no recipe has one in its name."""
        text = (LAYER / "classes-recipe/floorcast_version.bbclass").read_text()
        scope = {}
        exec("import os\n" + text[: text.index("\nFLOORCAST_VERSION")], scope)  # pylint: disable=exec-used
        source = types.SimpleNamespace(getVar=lambda _: str(LAYER.parent))
        cargo = tomllib.loads((LAYER.parent / "Cargo.toml").read_text())
        self.assertEqual(scope["floorcast_version"](source), cargo["package"]["version"])
        self.assertEqual([recipe.name for recipe in LAYER.rglob("*.bb") if "_" in recipe.stem], [])
