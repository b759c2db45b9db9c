"""What of the bench can be tested without a machine: `python -m unittest discover -s tests/vm/bench`."""

import unittest
from collections import Counter

from guest import Usage
from metrics import Metrics
from storm import LASTING, storm
from viewer import Unwrap, nal_units
from vivid import SIGNED, renamed


class Storm(unittest.TestCase):
    """The schedule of faults."""

    def test_same_seed_same_storm(self):
        self.assertEqual(storm(7, 60, ["a", "b"]), storm(7, 60, ["a", "b"]))
        self.assertNotEqual(storm(7, 60, ["a", "b"]), storm(8, 60, ["a", "b"]))

    def test_it_is_the_same_on_every_machine(self):
        first = [str(act).split() for act in storm(3, 60, ["a", "b"])[:3]]
        self.assertEqual(first, FIRST)

    def test_whatever_lasts_has_ended(self):
        for seed in range(50):
            acts = storm(seed, 30, ["a", "b"])
            self.assertEqual([act.at_s for act in acts], sorted(act.at_s for act in acts))
            state = {(act.camera, act.what): act.value for act in acts if act.what in LASTING}
            self.assertEqual(set(state.values()), {0})

    def test_a_longer_storm_begins_like_a_shorter_one(self):
        starts = [[a for a in storm(5, s, ["a"]) if a.at_s < 20 and a.value] for s in (30, 600)]
        self.assertEqual(*starts)

    def test_every_fault_comes(self):
        self.assertEqual(len({act.what for act in storm(1, 60, ["a", "b"])}), 9)


class Rest(unittest.TestCase):
    """Everything else."""

    def test_metrics_are_summed_by_label(self):
        text = '# TYPE x counter\nx{feed="a",where="q"} 3\nx{feed="b"} 4\ny 1.5\n'
        metrics = Metrics(text)
        self.assertEqual(metrics.sum("x"), 7)
        self.assertEqual(metrics.sum("x", feed="a"), 3)
        self.assertEqual(metrics.sum("none"), 0)
        self.assertEqual(metrics.since(Metrics("y 1\n"), "y"), 0.5)

    def test_quantiles_lie_between_the_bounds_of_their_bucket(self):
        def reading(*counts: int) -> Metrics:
            bounds = zip(("0.1", "0.3", "+Inf"), counts)
            return Metrics("\n".join(f'x_bucket{{feed="a",le="{b}"}} {n}' for b, n in bounds))

        before, after = reading(10, 10, 10), reading(14, 18, 20)
        self.assertAlmostEqual(after.quantile(before, "x", 0.2, feed="a"), 0.05)
        self.assertAlmostEqual(after.quantile(before, "x", 0.6, feed="a"), 0.2)
        self.assertEqual(after.quantile(before, "x", 0.99, feed="a"), 0.3)
        self.assertIsNone(after.quantile(after, "x", 0.5))
        self.assertIsNone(after.quantile(before, "y", 0.5))

    def test_numbers_are_unwrapped_in_both_directions(self):
        unwrap = Unwrap(16)
        self.assertEqual([unwrap.map(n) for n in (65534, 1, 65535, 3)], [65534, 65537, 65535, 65539])

    def test_nal_units_of_every_packetisation(self):
        self.assertEqual(nal_units(b"\x67abc"), [(7, b"\x67abc")])
        self.assertEqual(
            nal_units(b"\x18\x00\x02\x67a\x00\x01\x68"), [(7, b"\x67a"), (8, b"\x68")]
        )
        self.assertEqual(nal_units(b"\x7c\x85xyz"), [(5, b"")])
        self.assertEqual(nal_units(b"\x7c\x05xyz"), [])
        self.assertEqual(nal_units(b""), [])

    def test_renamed_module_has_no_signature(self):
        signature = b"S" * 8 + bytes(8) + (8).to_bytes(4, "big") + SIGNED
        self.assertEqual(renamed(b"ELF vivid vivid-x" + signature, "viv_b"), b"ELF viv_b viv_b-x")

    def test_growth_is_told_only_where_the_sum_grew(self):
        def usage(descriptors: dict, threads: dict) -> Usage:
            return Usage(Counter(descriptors), Counter(threads), 0)

        before = usage({"socket:[]": 2, "pipe:[]": 1}, {"main": 1})
        self.assertEqual(usage({"socket:[]": 3}, {"main": 1}).grown(before), {})
        self.assertEqual(
            usage({"socket:[]": 2, "pipe:[]": 2}, {"main": 1}).grown(before), {"pipe:[]": 1}
        )
        self.assertEqual(usage({"socket:[]": 1}, {"main": 2}).grown(before), {"main": 1})


FIRST = [
    ["0.53", "a", "percentage_of_dropped_buffers=97"],
    ["1.54", "a", "wrap_sequence_number=1"],
    ["2.01", "b", "unplug=1"],
]

if __name__ == "__main__":
    unittest.main()
