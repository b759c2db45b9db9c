"""A storm of faults: a pure function from a seed to what happens when.

Time is in seconds from the storm's begin. Faults that last are followed by their own end; a
camera that is unplugged is plugged in again. Those of one camera may overlap as they like.
"""

import random
from dataclasses import dataclass

PRESSED = [
    "disconnect",
    "inject_v4l2_buf_flag_error",
    "inject_vidioc_qbuf_error",
    "inject_vidioc_streamon_error",
    "inject_fatal_streaming_error",
]
"""Controls of vivid that are buttons."""
LASTING = {
    "percentage_of_dropped_buffers": (20, 100),
    "wrap_timestamp": (1, 2),
    "wrap_sequence_number": (1, 1),
    "unplug": (1, 1),
}
"""What goes on until it is set to 0 again, with its range."""
MEAN_S = 0.9
"""From one fault to the next, on average."""


@dataclass(frozen=True, order=True)
class Act:
    """One thing that happens."""

    at_s: float
    camera: str
    what: str
    value: int

    def __str__(self) -> str:
        return f"{self.at_s:7.2f} {self.camera} {self.what}={self.value}"


def storm(seed: int, seconds: float, cameras: list[str]) -> list[Act]:
    """The acts of one storm, by time; the last ones end whatever lasts."""
    dice = random.Random(seed)
    acts, now = [], 0.0
    while (now := round(now + dice.uniform(0.2, 2 * MEAN_S - 0.2), 2)) < seconds:
        camera = dice.choice(cameras)
        what = dice.choice([*PRESSED, *LASTING])
        if what not in LASTING:
            acts.append(Act(now, camera, what, 1))
            continue
        least, most = LASTING[what]
        acts.append(Act(now, camera, what, dice.randint(least, most)))
        acts.append(Act(round(now + dice.uniform(0.3, 4), 2), camera, what, 0))
    calm = max([seconds, *(act.at_s for act in acts)])
    ends = [Act(calm, camera, what, 0) for camera in cameras for what in reversed(LASTING)]
    return sorted(acts) + ends
