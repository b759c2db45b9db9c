"""One reading of the daemon's /metrics, a Prometheus text."""

import math
import re

LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """Series by name and labels."""

    def __init__(self, text: str):
        self.series: list[tuple[str, dict[str, str], float]] = []
        for line in text.splitlines():
            if found := LINE.match(line):
                name, labels, value = found.groups()
                self.series.append((name, dict(LABEL.findall(labels or "")), float(value)))

    def sum(self, name: str, **labels: str) -> float:
        """Of all series of that name with these labels; 0 where there is none."""
        wanted = labels.items()
        return sum(v for n, have, v in self.series if n == name and wanted <= have.items())

    def since(self, before: "Metrics", name: str, **labels: str) -> float:
        """How much was added."""
        return self.sum(name, **labels) - before.sum(name, **labels)

    def quantile(self, before: "Metrics", name: str, share: float, **labels: str) -> float | None:
        """Of what a histogram got since: in proportion between the bounds of its bucket."""
        name = f"{name}_bucket"
        bounds = sorted({have["le"] for n, have, _ in self.series if n == name}, key=float)
        counts = [self.since(before, name, le=bound, **labels) for bound in bounds]
        wanted = share * counts[-1] if counts else 0
        least = below = 0.0
        for bound, count in zip(map(float, bounds), counts):
            if count >= wanted > 0:
                inside = (wanted - below) / (count - below)
                return least if bound == math.inf else least + (bound - least) * inside
            least, below = bound, count
        return None
