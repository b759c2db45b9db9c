"""`floorcast probe` prints a table that a technician can read out over a phone.

Two cameras, one single-planar and one multi-planar: port, driver, node and usable formats of
both, then every encoder of the ladder with the result of its trial. No line is so long that a
terminal breaks it, none has what nobody can say: tabs, escapes, trailing blanks.
"""

DEADLINE_S = 240
PROBE_S = 150
"""Every encoder that is there is tried with 720p on an emulated processor."""
WIDE = 100


async def run(bench):
    """One machine, no daemon."""
    async with bench.guest() as guest:
        nodes = await guest.cameras(["single", "multi"])
        await bench.registry(guest)
        text = await guest.sh("/job/floorcast probe 2>/job/probe.log", PROBE_S)
        print(text, flush=True)
        lines = text.splitlines()
        for number, node in enumerate(nodes):
            about = section(lines, f'port = "platform:vivid-{number:03}"')
            planes = "multi-planar" if number else "vivid"
            assert any("vivid" in x and planes in x and node in x for x in about), about
            assert any("YUYV" in x and "NV12" in x for x in about), about
            assert any("640x360 at " in x and "30" in x for x in about), about
        trials = [line for line in lines if line[:2] in ("+ ", "- ")]
        passed = [line.split()[1] for line in trials if line[0] == "+"]
        head = next(line for line in lines if "driver" in line and "io-mode" in line)
        for line in trials:
            # Columns that are found by their heads: name, driver, io-mode, result.
            starts = [head.index(word) for word in ("encoder", "driver", "io-mode", "result")]
            cells = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None])]
            assert all(cells), f"a column is empty: {line}"
        assert {"x264enc", "openh264enc"} <= set(passed), trials
        assert all(" ms" in line for line in trials if line[0] == "+"), trials
        absent = [line for line in trials if "not on this machine" in line]
        assert len(absent) >= 7, f"chips of the ladder that are not here: {absent}"
        wide = [x for x in lines if len(x) > WIDE]
        print(
            f"{len(lines)} lines, the longest {max(map(len, lines))} columns; "
            f"{len(trials)} encoders, passed: {', '.join(passed)}"
        )
        assert not wide, f"{len(wide)} lines over {WIDE} columns: {wide[:3]}"
        odd = [x for x in lines if x != x.rstrip() or not x.isprintable()]
        assert not odd, f"not to be read: {odd}"


def section(lines: list[str], title: str) -> list[str]:
    """A camera's lines: from its port to the next."""
    begin = next((n for n, line in enumerate(lines) if line.strip() == title), None)
    assert begin is not None, f"no line {title}"
    rest = lines[begin + 1 :]
    end = next((n for n, line in enumerate(rest) if line.strip().startswith("port = ")), len(rest))
    return rest[:end]
