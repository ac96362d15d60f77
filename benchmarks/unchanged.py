"""A rerun with nothing new against the script of the same library calls; and one changed cell, which is noticed."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bikes import Bikes
from benchmarks.measure import Finding, Run, Scale, alternate, fresh, python, ratio, sides_table, within


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Measure a retraining and, in the state it leaves, the same command again."""
    bikes = Bikes(folder / "unchanged", api)
    bikes.prepare(scale.retrain_rows)

    def again() -> Run:
        done = bikes.evergreen("retrain")
        assert done.told["outcome"] == "unchanged", done.told
        assert done.told["ingest"]["cached"], done.told
        return done

    runs = alternate({"straight line": bikes.straight_line, "first": bikes.retrain, "unchanged": again}, scale)
    sides_table("The same command again, nothing new", runs, "straight line")
    whole = ratio(runs["unchanged"], runs["straight line"])
    return [
        within("unchanged rerun against a straight line that trains, wall time", whole, 0.30),
        _changed_cell(bikes),
    ]


def _changed_cell(bikes: Bikes) -> Finding:
    """Change one figure in the last file, at the same path and to the same length, and read the lake."""
    lines = bikes.news.read_text().splitlines(keepends=True)
    names = lines[0].strip().split(",")
    cells = lines[-1].rstrip("\n").split(",")
    at = names.index("cnt")
    cells[at] = str(10 ** len(cells[at]) - 1 - int(cells[at]) % 10)
    bikes.news.write_text("".join([*lines[:-1], ",".join(cells) + "\n"]))
    landed = bikes.evergreen("monitor").told
    month, day, year = map(int, cells[names.index("dteday")].split("/"))
    hour = cells[names.index("hr")]
    found = fresh(python("benchmarks.sides", "count", bikes.home / "lake", f"{year}-{month:02}-{day:02}", hour))
    assert found.told["values"] == [float(cells[at])], (landed, found.told, cells)
    return Finding("one changed cell at the same path", "landed", "landed", True)
