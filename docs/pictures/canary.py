"""The two pictures of docs/canary.md, from a real run: `python -m docs.pictures.canary` (half an hour; needs Chromium).

The stack of `evergreen up` serves the shipped model with `approval="canary"`, and clients ask for the hours of
simulated days, whose counts land as they come. First the habits of people change, the challenger has learned it, and is
promoted. Then the data that land say that the old habits are back, while on live traffic they are not: that challenger
is refused. Blocks are five seconds long instead of an hour, so that a canary of days takes minutes; all else is as it
ships.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from datetime import date, timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

from deployments.stack import stack
from deployments.stack.services import HOST, read_ports
from docs.pictures.make import open_browser, open_page, settled, store
from evergreen.canary.canary_ledger import read_canaries
from evergreen.ledger.decisions import Decisions
from evergreen.naming import predict_path
from evergreen.settings import PROJECT, Settings
from evergreen.sources.simulator import simulate

if TYPE_CHECKING:
    import pandas as pd
    from playwright.sync_api import Browser

MODEL, SEED = "bike_demand", 42
START = date(2011, 1, 3)
CHANGE = START + timedelta(days=140)
CANARY = 'serve=Serve(rows="contract", canary=Canary(block=timedelta(seconds=5), hold=timedelta(seconds=30)))'
ROWS_A_SECOND = 12
SECONDS = 1_500


class Clients:
    """Ask for one hour after another, and land its count half a minute later."""

    def __init__(self, settings: Settings, port: int, days: pd.DataFrame) -> None:
        self.settings, self.port, self.days = settings, port, days
        self.answers: Counter[int] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Clients:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        import pandas as pd

        from models.bike_demand import prepare

        names = [name for name in prepare(self.days) if name in _CONTRACT]
        rows = prepare(self.days)[names].to_dict("records")
        asked: list[int] = []
        for number, row in enumerate(rows):
            if self._stop.wait(1 / ROWS_A_SECOND):
                return
            headers = {"content-type": "application/json", "x-route-key": f"client-{number % 400}"}
            self.answers[self._predict(row, headers)] += 1
            asked.append(number)
            if len(asked) == 30 * ROWS_A_SECOND:
                _land(self.settings, f"asked-{self.days.index[0]}-{number:06}", pd.DataFrame(self.days.iloc[asked]))
                asked = []

    def _predict(self, row: Any, headers: dict[str, str]) -> int:
        """The version that answered; a server that is just coming back is asked again."""
        while True:
            with (
                suppress(OSError, HTTPException, KeyError),
                closing(HTTPConnection(HOST, self.port, timeout=30)) as there,
            ):
                there.request("POST", predict_path(MODEL), json.dumps(row), headers)
                return int(json.loads(there.getresponse().read())["version"])
            self._stop.wait(0.5)


_CONTRACT = (
    *("date", "season", "mnth", "hr", "weekday", "holiday", "workingday", "weathersit"),
    *("temp", "atemp", "hum", "windspeed"),
)


def main() -> None:
    """Run both canaries, and draw them."""
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        settings = Settings(home=Path(home), models=_write_model(Path(home)))
        surroundings = {"EVERGREEN_HOME": home, "EVERGREEN_MODELS": str(settings.models)}
        os.environ.update(surroundings)
        browser = open_browser(playwright)
        try:
            _land(settings, "history", simulate(START, 140, seed=SEED))
            _run("retrain", MODEL)
            _run("up", "--detach")
            _land(settings, "changed", _changed(140, 42))
            _canary(browser, settings, "passed", _changed(182, 700))
            _land(settings, "back", simulate(START + timedelta(days=900), 84, seed=SEED))
            _canary(browser, settings, "refused", _changed(990, 700))
        finally:
            stack.down(settings)
        browser.close()


def _changed(first: int, days: int) -> pd.DataFrame:
    return simulate(START + timedelta(days=first), days, seed=SEED, scenario="concept", change=CHANGE)


def _write_model(home: Path) -> Path:
    """The shipped model file with a canary."""
    folder = home / "models"
    folder.mkdir()
    text = (PROJECT / "models" / f"{MODEL}.py").read_text()
    text = text.replace('serve=Serve(rows="contract")', f'approval="canary",\n    {CANARY}')
    (folder / f"{MODEL}.py").write_text(text.replace("    Serve,\n", "    Canary,\n    Serve,\n", 1))
    return folder


def _land(settings: Settings, name: str, rows: Any) -> None:
    folder = settings.landing / MODEL
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / f".{name}.part", index=False)
    (folder / f".{name}.part").replace(folder / f"{name}.csv")


def _run(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "deployments.cli", *words], cwd=PROJECT, check=True)


def _canary(browser: Browser, settings: Settings, outcome: str, days: pd.DataFrame) -> None:
    """Retrain, let clients ask until the canary is over, and draw it."""
    _run("retrain", MODEL, "--reason", "schedule")
    ports = read_ports(settings)
    if ports is None:
        raise SystemExit("The stack is not there.")
    ledger = Decisions(settings.lake_uri, MODEL)
    with Clients(settings, ports.serving, days) as clients:
        deadline = time.monotonic() + SECONDS
        for _ in itertools.count():
            state = read_canaries(ledger)[-1]
            print(f"version {state.version}: {[entry.outcome for entry in state.entries]}, answers {clients.answers}")
            if state.is_over:
                break
            if time.monotonic() > deadline:
                raise SystemExit("The canary does not end.")
            # Somebody may just have ended the Prefect server, to see what becomes of a canary.
            with suppress(subprocess.CalledProcessError):
                _run("monitor", MODEL)
    print(state.end.reason if state.end else "")
    if state.end is None or state.end.outcome != outcome:
        raise SystemExit(f"It was to be {outcome}.")
    page = open_page(browser, 900, width=1240)
    page.goto(f"{ports.pages_ui}/{MODEL}")
    page.locator("#canary").scroll_into_view_if_needed()
    settled(page)
    store(f"canary-{outcome}", page.locator("#canary").screenshot())


if __name__ == "__main__":
    main()
