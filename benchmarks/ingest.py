"""Landing one large CSV, checked and hashed, against reading it with pandas and writing it to Delta."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.measure import Finding, Run, Scale, alternate, fresh, python, ratio, sides_table, within


def run(scale: Scale, folder: Path, _api: str) -> list[Finding]:
    """Measure both into an empty table each time."""
    place = folder / "ingest"
    landing = place / "home" / "landing" / "wide"
    landing.mkdir(parents=True)
    fresh(python("benchmarks.given", "wide", place, scale.rows))
    shutil.move(place / "news.csv", landing / "1.csv")

    def plain() -> Run:
        shutil.rmtree(place / "plain", ignore_errors=True)
        return fresh(python("benchmarks.sides", "plain", landing / "1.csv", place / "plain"))

    def ours() -> Run:
        shutil.rmtree(place / "home" / "lake", ignore_errors=True)
        done = fresh(python("benchmarks.sides", "ingest", place / "home"))
        assert done.told["added"] == scale.rows, done.told
        return done

    runs = alternate({"read_csv + write_deltalake": plain, "evergreen ingest": ours}, scale)
    sides_table(f"Ingest of {scale.rows:,} rows x 15 columns from CSV", runs, "read_csv + write_deltalake")
    most = ratio(runs["evergreen ingest"], runs["read_csv + write_deltalake"])
    return [within("ingest against read_csv + write_deltalake, wall time", most, 2.5)]
