"""The rules of firmware/'s own scripts, without a board: `python -m unittest` here."""

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

FIRMWARE = pathlib.Path(__file__).parents[3] / "firmware"


def part(name: str, state: str) -> str:
    """A line of the daemon's figures."""
    return f'floorcast_part_state{{part="{name}",state="{state}",code=""}} 1\n'


class Dir(unittest.TestCase):
    """A directory in place of a box."""

    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.dir = pathlib.Path(place.name)

    def run_(self, script: str, *words: str, **env: str) -> subprocess.CompletedProcess:
        """A script of firmware/."""
        return subprocess.run(
            ["sh", FIRMWARE / script, *words],
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
        )


class Health(Dir):
    """health/floorcast-health."""

    def setUp(self):
        super().setUp()
        (self.dir / "data").mkdir()
        (self.dir / "cmdline").write_text("ro rauc.slot=A quiet\n")
        # The daemon's tool, in place of a daemon: what it prints, or nothing.
        tool = self.dir / "floorcast"
        tool.write_text('#!/bin/sh\n[ "$1" = metrics ] && cat "$(dirname "$0")/figures"\n')
        tool.chmod(0o755)
        # The unit's properties, in place of systemd's word: starts, and microseconds of the last.
        unit = self.dir / "systemctl"
        unit.write_text('#!/bin/sh\ncat "$(dirname "$0")/$3" 2>/dev/null\n')
        unit.chmod(0o755)
        self.rauc()
        self.env = {
            "PATH": f"{self.dir}:{os.environ['PATH']}",
            "FLOORCAST_DATA": str(self.dir / "data"),
            "FLOORCAST_CMDLINE": str(self.dir / "cmdline"),
            "FLOORCAST_RELEASE": str(self.dir / "release"),
            "FLOORCAST_GOOD": str(self.dir / "good"),
            "FLOORCAST_GATE": str(FIRMWARE / "health/floorcast-health"),
            "FLOORCAST_WITHIN_S": "1",
            "FLOORCAST_STEADY_S": "0",
        }
        self.image("1")
        self.figures(part("feed/a", "live") + part("bus/p", "live") + part("broker/m", "live"))

    def figures(self, text: str) -> None:
        """What the daemon has on air."""
        (self.dir / "figures").write_text(text)

    def dies(self) -> None:
        """It answers nobody."""
        (self.dir / "figures").unlink(missing_ok=True)

    def image(self, build: str) -> None:
        """Another image in the slot, at its first start."""
        (self.dir / "release").write_text(f"VERSION={build}\nBUILD={build}\n")
        (self.dir / "good").unlink(missing_ok=True)

    def rauc(self, ends: int = 0) -> None:
        """RAUC, which answers or does not, and writes down what it was asked."""
        rauc = self.dir / "rauc"
        rauc.write_text(f'#!/bin/sh\necho "$*" >>{self.dir}/asked\nexit {ends}\n')
        rauc.chmod(0o755)

    def asked(self) -> list[str]:
        """What RAUC was asked to change."""
        lines = (self.dir / "asked").read_text().splitlines()
        return [line for line in lines if line != "status"]

    def gate(self, *words: str) -> int:
        """Asks it."""
        return self.run_("health/floorcast-health", *(words or ("check",)), **self.env).returncode

    def verdict(self) -> dict:
        """What the daemon would read."""
        return json.loads((self.dir / "data/health/verdict.json").read_text())

    def lived(self) -> list[str]:
        """What has to work with the next image."""
        return (self.dir / "data/health/lived").read_text().split()

    def passed(self) -> bool:
        """This start may stay."""
        return (self.dir / "good").exists()

    def settled(self) -> None:
        """An image that passed, and what it had on air."""
        self.assertEqual([self.gate("check"), self.gate("keep")], [0, 0])
        self.assertFalse(self.passed(), "the bootloader does not know it yet")
        self.assertEqual(self.gate("kept"), 0)
        self.assertTrue(self.passed())

    def test_a_new_image_has_to_have_on_air_what_the_one_before_had(self):
        """With the reason, for the daemon and in the log."""
        self.settled()
        self.image("2")
        self.figures(part("feed/a", "connecting") + part("bus/p", "live"))
        self.assertEqual(self.gate(), 1)
        self.assertEqual(self.verdict()["reason"], "feed/a worked before and does not")
        self.assertIn("feed/a worked before", (self.dir / "data/health/log").read_text())

    def test_what_rests_or_is_closed_is_well(self):
        """A camera that the house closed is no reason to go back."""
        self.settled()
        self.image("2")
        self.figures(part("feed/a", "paused") + part("bus/p", "resting"))
        self.assertEqual(self.gate(), 0)

    def test_a_broker_that_is_gone_rolls_nothing_back(self):
        """Its outage is the site's, not the image's."""
        self.settled()
        self.image("2")
        self.figures(part("feed/a", "live") + part("bus/p", "live"))
        self.assertEqual(self.gate(), 0)
        self.assertFalse(self.passed(), "the bootloader does not know it yet")

    def test_a_page_that_no_longer_opens_does_not_pass(self):
        """Unless it only lacks the address that the site has yet to give."""
        both = part("feed/a", "live") + part("bus/p", "live")
        self.figures(both + part("web", "live"))
        self.settled()
        self.image("2")
        late = part("web", "no_signal").replace('code=""', 'code="no_address"')
        self.figures(both + late)
        self.assertEqual(self.gate(), 0)
        self.figures(both + part("web", "no_signal"))
        self.assertEqual(self.gate(), 1)
        self.assertEqual(self.verdict()["reason"], "web worked before and does not")

    def test_a_daemon_that_does_not_answer_does_not_pass(self):
        """Whatever the configuration is."""
        self.settled()
        self.image("2")
        self.dies()
        self.assertEqual(self.gate(), 1)
        self.assertIn("does not answer", self.verdict()["reason"])

    def test_an_image_that_could_not_be_replaced_does_not_pass(self):
        """Without its RAUC it would be the box's last."""
        self.settled()
        self.image("2")
        self.rauc(1)
        self.assertEqual(self.gate(), 1)
        self.assertEqual(self.verdict()["reason"], "RAUC does not answer")

    def test_the_first_image_of_a_box_is_not_given_up(self):
        """There is no other: it would start for ever, out of reach of who can mend it."""
        self.dies()
        self.assertEqual(self.gate(), 0)
        self.assertIn("does not answer", (self.dir / "data/health/log").read_text())
        self.assertFalse((self.dir / "data/health/verdict.json").exists())

    def test_the_bootloader_is_told_once_it_is_noted(self):
        """A cut in between puts no slot on trial whose other one is not gone back to."""
        self.assertEqual(self.gate(), 0)
        self.rauc(1)
        ran = self.run_("health/floorcast-good", **self.env)
        self.assertEqual((ran.returncode, self.passed()), (1, False))
        self.assertEqual(self.verdict()["reason"], "RAUC does not mark the slot good")
        self.figures("")
        self.assertEqual(self.gate(), 0, "the next start does not try it again")
        self.rauc()
        self.assertEqual(self.run_("health/floorcast-good", **self.env).returncode, 0)
        self.assertTrue(self.passed())
        self.assertFalse((self.dir / "data/health/verdict.json").exists())
        self.assertEqual(set(self.asked()), {"status mark-good"})

    def test_the_other_slot_is_not_gone_back_to(self):
        """Whatever RAUC it is: what was replaced is older."""
        variables = {"BOOT_GOOD": "A", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "3"}
        for name, value in variables.items():
            (self.dir / name).write_text(value)
        for name in ("fw_printenv", "fw_setenv"):
            (self.dir / name).write_text('#!/bin/sh\ncat "$(dirname "$0")/$2"\n')
            (self.dir / name).chmod(0o755)
        self.env["FLOORCAST_FW_ENV"] = str(self.dir / "BOOT_GOOD")
        self.assertEqual(self.gate(), 0)
        self.assertEqual(self.run_("health/floorcast-good", **self.env).returncode, 0)
        self.assertEqual(self.asked(), ["status mark-good", "status mark-bad other"])
        (self.dir / "BOOT_B_LEFT").write_text("0")
        self.assertEqual(self.run_("health/floorcast-good", **self.env).returncode, 0)
        self.assertEqual(self.asked()[2:], ["status mark-good"], "it is so already")

    def test_an_image_that_the_box_went_back_to_is_not_tried_again(self):
        """It passed in its slot; a slot that is written anew has to."""
        self.settled()
        (self.dir / "cmdline").write_text("rauc.slot=B")
        self.image("2")
        self.settled()
        for slot, build in (("A", "1"), ("B", "2")):
            (self.dir / "cmdline").write_text(f"rauc.slot={slot}")
            self.image(build)
            self.dies()
            self.assertEqual(self.gate(), 0)
        self.assertEqual(self.gate("kept"), 0)
        self.assertEqual(self.run_("rauc/pre-install", **self.env).returncode, 0)
        (self.dir / "cmdline").write_text("rauc.slot=A")
        self.image("1")
        self.assertEqual(self.gate(), 1)

    def test_an_image_that_was_good_is_not_given_up(self):
        """A camera that breaks later is a broken camera."""
        self.settled()
        self.figures("")
        self.assertEqual(self.gate(), 0)

    def test_the_old_slot_leaves_the_verdict_on_the_new_one(self):
        """The daemon reads it there, after the box went back."""
        self.settled()
        self.image("2")
        self.figures("")
        self.assertEqual(self.gate(), 1)
        self.image("1")
        words = ["check"], ["keep"], ["unkept", "a moment"], ["kept"]
        self.assertEqual([self.gate(*said) for said in words], [0] * 4)
        self.assertTrue(self.verdict()["given_up"])
        self.assertEqual(self.lived(), ["bus/p", "feed/a"], "what it starts with is not yet all")

    def test_one_good_moment_is_not_enough(self):
        """A daemon that dies and starts anew is well in between."""
        self.settled()
        self.image("2")
        (self.dir / "NRestarts").write_text("1")
        self.env["FLOORCAST_STEADY_S"] = "60"
        self.env["FLOORCAST_WITHIN_S"] = "3"
        gate = subprocess.Popen(
            ["sh", FIRMWARE / "health/floorcast-health", "check"], env={**os.environ, **self.env}
        )
        starts = 1
        while gate.poll() is None:
            starts += 1
            (self.dir / "NRestarts.next").write_text(str(starts))
            (self.dir / "NRestarts.next").rename(self.dir / "NRestarts")
            with contextlib.suppress(subprocess.TimeoutExpired):
                gate.wait(0.2)
        self.assertEqual(gate.returncode, 1)
        self.assertIn("started anew", self.verdict()["reason"])

    def test_a_daemon_on_its_way_up_takes_nothing_off_the_note(self):
        """What it does not have on air yet had worked before."""
        self.settled()
        self.figures(part("feed/a", "connecting") + part("feed/b", "live"))
        uptime = float(pathlib.Path("/proc/uptime").read_text().split()[0])
        (self.dir / "ActiveEnterTimestampMonotonic").write_text(str(int((uptime - 5) * 1e6)))
        self.gate("note")
        self.assertEqual(self.lived(), ["bus/p", "feed/a", "feed/b"])
        (self.dir / "ActiveEnterTimestampMonotonic").write_text(str(int((uptime - 65) * 1e6)))
        self.gate("note")
        self.assertEqual(self.lived(), ["feed/b"])

    def test_what_waits_for_the_bootloader_is_told(self):
        """It is tried again, and the daemon can say why it takes so long."""
        words = ["check"], ["keep"], ["unkept", 'no "room"']
        self.assertEqual([self.gate(*said) for said in words], [0] * 3)
        self.assertEqual(
            (self.verdict()["given_up"], self.verdict()["reason"]), (False, "no room")
        )
        self.assertEqual(self.gate("kept"), 0)
        self.assertFalse((self.dir / "data/health/verdict.json").exists())

    def test_nothing_is_written_from_a_slot_on_trial(self):
        """RAUC asks before it writes the other one, which may be the only good one."""
        ran = self.run_("rauc/pre-install", **self.env)
        self.assertEqual(ran.returncode, 1)
        self.assertIn("has not passed", ran.stderr)
        self.settled()
        self.figures((self.dir / "figures").read_text() + part("feed/new", "live"))
        self.assertEqual(self.run_("rauc/pre-install", **self.env).returncode, 0)
        self.assertIn("feed/new", self.lived())

    def test_a_full_disk_does_not_take_a_good_slot(self):
        """The other one would find it full too, and the box would start for ever."""
        self.settled()
        (self.dir / "data/health/written.next").mkdir()
        self.assertEqual(self.gate(), 0)
        self.image("2")
        self.assertEqual(self.gate(), 1)

    def test_without_its_data_a_slot_does_not_stay(self):
        """Nothing could be kept there."""
        self.env["FLOORCAST_DATA"] = "/proc"
        self.assertEqual(self.gate(), 1)


class Hook(Dir):
    """rauc/hook."""

    def check(self, compatible: str, version: str) -> tuple[int, str]:
        """On a bench box that runs 1.10."""
        release = self.dir / "release"
        release.write_text("VERSION=1.10\nBUILD=x\n")
        ran = self.run_(
            "rauc/hook",
            "install-check",
            FLOORCAST_RELEASE=str(release),
            RAUC_SYSTEM_COMPATIBLE="floorcast-bench",
            RAUC_MF_COMPATIBLE=compatible,
            RAUC_MF_VERSION=version,
        )
        return ran.returncode, ran.stderr

    def test_only_this_board_and_nothing_older(self):
        """The same version repairs; versions are numbers, not letters."""
        ours = "floorcast-bench"
        self.assertEqual(self.check(ours, "1.10")[0], 0)
        self.assertEqual(self.check(ours, "1.11")[0], 0)
        self.assertEqual(self.check(ours, "1.11-rc1")[0], 0)
        for compatible, version, why in (
            (ours, "1.9", "older"),
            (ours, "1.10-rc1", "older"),
            (ours, "", "no version"),
            ("floorcast-other", "2.0", "this box is floorcast-bench"),
        ):
            code, said = self.check(compatible, version)
            self.assertEqual(code, 10)
            self.assertIn(why, said)


class Tryboot(Dir):
    """boot/tryboot."""

    def setUp(self):
        super().setUp()
        (self.dir / "cmdline").write_text("rauc.slot=A\n")
        (self.dir / "autoboot.txt").write_text(
            "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
        )

    def ask(self, *words: str) -> str:
        """The backend."""
        place = str(self.dir)
        cmdline = str(self.dir / "cmdline")
        ran = self.run_(
            "boot/tryboot", *words, FLOORCAST_BOOT=place, FLOORCAST_RUN=place, FLOORCAST_CMDLINE=cmdline
        )
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return ran.stdout.strip()

    def test_a_new_slot_is_tried_once_and_stays_only_if_it_is_good(self):
        """Until then the firmware's own choice does not change."""
        self.ask("set-state", "B", "bad")
        self.ask("set-primary", "B")
        self.assertEqual(self.ask("get-primary"), "B")
        self.assertEqual((self.dir / "reboot-param").read_text(), "0 tryboot\n")
        self.assertIn("[all]\ntryboot_a_b=1\nboot_partition=2", (self.dir / "autoboot.txt").read_text())
        # It starts.
        (self.dir / "reboot-param").unlink()
        (self.dir / "cmdline").write_text("rauc.slot=B\n")
        self.assertEqual((self.ask("get-primary"), self.ask("get-state", "B")), ("A", "bad"))
        self.ask("set-state", "B", "good")
        self.assertEqual((self.ask("get-primary"), self.ask("get-state", "B")), ("B", "good"))

    def test_a_slot_that_does_not_run_is_not_made_good(self):
        """RAUC marks a slot good after it was written; it has not started yet."""
        self.ask("set-state", "B", "good")
        self.assertEqual(self.ask("get-state", "B"), "bad")


if __name__ == "__main__":
    unittest.main()
