"""The surroundings of a retraining of `bike_demand`: a prepared state folder that every run starts from anew."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Run, fresh, python

TUNED = """
import atexit, gc, runpy
gc.set_threshold(1_000_000, 20, 100)
atexit.register(gc.freeze)
runpy.run_module("benchmarks.straight_line", run_name="__main__")
"""


@dataclass(frozen=True, slots=True)
class Bikes:
    """A state folder with a champion, and a file that it has not seen.

    Attributes:
        folder: holds `home`, `prepared` and `data`. MLflow stores absolute paths: a run is always in `home`.
        api: a Prefect server's URL.
    """

    folder: Path
    api: str

    @property
    def home(self) -> Path:
        """The state folder of the run that is measured."""
        return self.folder / "home"

    @property
    def news(self) -> Path:
        """The new file in the landing folder."""
        return self.home / "landing" / "bike_demand" / "2-news.csv"

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that works on `home`."""
        return {
            "EVERGREEN_HOME": str(self.home),
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_API_URL": self.api,
        }

    def prepare(self, rows: int) -> None:
        """Train the first champion on four fifths of `rows`."""
        data, landing = self.folder / "data", self.news.parent
        for place in (data, landing):
            place.mkdir(parents=True)
        fresh(python("benchmarks.given", "bikes", data, rows))
        shutil.copy2(data / "history.csv", landing / "1-history.csv")
        first = self.evergreen("retrain")
        if first.told["outcome"] != "promoted":
            raise RuntimeError(f"the first champion was not promoted: {first.told}")
        shutil.copytree(self.home, self.folder / "prepared")

    def restore(self) -> None:
        """Start anew from the prepared state, with the new file landed."""
        shutil.rmtree(self.home)
        shutil.copytree(self.folder / "prepared", self.home)
        shutil.copy2(self.folder / "data" / "news.csv", self.news)

    def evergreen(self, command: str, flags: Sequence[str] = ()) -> Run:
        """Run a command of Evergreen as it stands in `home`."""
        return fresh(python("deployments.cli", command, "bike_demand", "--json", flags=flags), self.environment)

    def retrain(self, flags: Sequence[str] = ()) -> Run:
        """`evergreen retrain` from the prepared state."""
        self.restore()
        return self.evergreen("retrain", flags)

    def straight_line(self, flags: Sequence[str] = ()) -> Run:
        """The script from the prepared state."""
        self.restore()
        return fresh(python("benchmarks.straight_line", self.home, self.news, flags=flags))

    def tuned_line(self) -> Run:
        """The script, with Python's cycle collector set as `evergreen` sets it."""
        self.restore()
        return fresh([sys.executable, "-c", TUNED, str(self.home), str(self.news)])
