"""One reading of the daemon's /metrics, a Prometheus text."""

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
