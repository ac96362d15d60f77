"""Thirty models for tests: model files, and ledgers that were written directly."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pandas as pd

from evergreen.ledger.decisions import Decisions
from evergreen.ledger.detail_json import detail_to_json
from evergreen.ledger.promotions import Move, Promotions
from evergreen.settings import PROJECT, Settings
from tests.details import detail_of

TOY = (PROJECT / "tests" / "faults" / "models" / "toy.py").read_text()
LONG = "demand_of_electricity_by_quarter_of_an_hour_in_the_north"
REPORTS = 20
"""Of each kind, for each model: the newest decides."""


def store_fleet(settings: Settings, now: datetime, count: int = 30) -> tuple[str, ...]:
    """Write `count` models into the folders of `settings`; every third drifted, every fifth is worse, one is old.

    The first model has a long name, and nothing is stored of the last.
    """
    settings.models.mkdir(parents=True)
    names = (LONG, *(f"model_{number}" for number in range(1, count)))
    for number, name in enumerate(names):
        (settings.models / f"{name}.py").write_text(TOY.replace('"toy"', f'"{name}"'))
        if number == count - 1:
            continue
        since = now - timedelta(days=400 if number == 7 else 20)
        Promotions(settings.lake_uri, name).write(Move("m", since, "promote", "done", None, 1, "", "d", "retrain"))
        rows = []
        for report in range(REPORTS):
            last, at = report == REPORTS - 1, now - timedelta(hours=REPORTS - report)
            drift = "FAIL" if last and number % 3 == 0 else "PASS"
            worse = "FAIL" if last and number % 5 == 0 else "INCONCLUSIVE" if number % 7 == 0 else "PASS"
            rows.append((f"d{report}", "drift", at, drift, detail_of("drift")))
            rows.append((f"p{report}", "performance", at, worse, detail_of("performance")))
        rows.append(("r", "retrain", since, "rejected" if number % 4 else "awaiting-approval", detail_of("retrain")))
        frame = pd.DataFrame(rows, columns=["id", "kind", "at", "outcome", "detail"])
        frame["detail"] = [json.dumps(detail_to_json(detail)) for detail in frame["detail"]]
        frame = frame.assign(champion=1, snapshot=5, digest="", flow_run="", reason="why")
        frame.loc[frame["kind"] == "retrain", "snapshot"] = 1
        Decisions(settings.lake_uri, name).table.append(frame, "history")
    return names
