"""A dossier opens without a network, holds no row of the data, and is made of whatever is still there."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from deployments.cli.main import app
from evergreen.data.observations import Observations
from evergreen.data.windows import training_window
from evergreen.decision import Decision
from evergreen.details.decision import Ingested, RefusedBatch
from evergreen.errors import EvergreenError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move, Promotions
from evergreen.pages import dossier
from evergreen.registry import maintenance
from evergreen.registry.client import Registry
from evergreen.registry.version import Version, VersionTags
from evergreen.reports import card_store
from evergreen.reports.card_facts import Facts
from evergreen.settings import PROJECT, Settings
from evergreen.spec.data import Features
from evergreen.spec.gates import Gates
from evergreen.spec.model import ModelSpec
from evergreen.templating import prose
from evergreen.training.evaluate import evaluate_candidate
from tests.details import detail_of

Make = Callable[..., Any]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TAG = re.compile(
    r"<(?:script|img|iframe|object|embed|audio|video|source|base|form)\b|\bon\w+=|@import|url\(|javascript:"
)
ADDRESS = re.compile(r"(?:src|href|srcset|action|data|poster)\s*=\s*[\"'](?!#|data:,)", re.IGNORECASE)


def _secretive(rows: int = 200) -> pd.DataFrame:
    """Every row has a key, a text and a number that no other has."""
    at = np.arange(rows)
    kind = [f"person-{place:04d}-secret" if place % 2 else "common" for place in at]
    x = np.random.default_rng(0).permutation(at) / 17 + 0.123456789
    times = pd.date_range("2025-01-01", periods=rows, freq="h")
    return pd.DataFrame({"id": at + 7_700_001, "at": times, "x": x, "kind": kind, "y": 3 * x + 0.000987654 * at})


def _judged(settings: Settings, registry: Registry, spec: ModelSpec, made: Version) -> None:
    """Apply the gates, promote by a person, keep a decision and the card."""
    window = training_window(spec, Observations(settings.lake_uri, spec).snapshot())
    found = evaluate_candidate(Observations(settings.lake_uri, spec), registry, made, None, window)
    registry.conclude(made, found.verdict, "gates", {"judgement": found.to_text()})
    for phase in ("intent", "done"):
        move = Move("1", NOW, "promote", phase, None, 1, "<script>alert(1)</script>", "first", "person")  # type: ignore[arg-type]
        Promotions(settings.lake_uri, "toy").write(move)
    ingest = Ingested(False, 10, (RefusedBatch("a.csv", 1, "person-0001-secret"),))
    detail = detail_of("retrain", version=1, checks=found.checks, ingest=ingest)
    worst = next((f"{one.name}: {one.reason}" for one in found.checks if one.name.startswith("slice")), "well")
    Decisions(settings.lake_uri, "toy").record(
        Decision("first", "retrain", NOW, "promoted", None, 1, "", worst, detail)
    )
    card_store.keep(settings, registry, spec, 1, spec_hash="spec")


def _made(settings: Settings, registry: Registry, spec: ModelSpec) -> dossier.Dossier:
    return dossier.dossier(settings, registry, spec, 1, spec_hash="spec", now=NOW)


def test_no_row_is_in_it_and_nothing_is_fetched(
    registry: Registry, settings: Settings, make_spec: Make, make_version: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys, texts and numbers of single rows are neither in the card nor in the page, even with slices of one row."""
    # On a busy machine SHAP's first values alone take all of its time.
    monkeypatch.setattr(dossier, "explain", partial(dossier.explain, seconds=3600))
    spec = make_spec(slices=("kind",), gates=Gates(slice_min_rows=1, latency_ms=10_000))
    rows = _secretive()
    _judged(settings, registry, spec, make_version(spec, rows))
    found = _made(settings, registry, spec)
    page = dossier.page(found)
    for text in (page, found.card, registry.get("toy", 1).description):
        assert "secret" not in text
        numbers = [f"{value:.{places}f}" for value in [*rows["x"], *rows["y"]] for places in (4, 6)]
        assert not [one for one in [*map(str, rows["id"]), *numbers] if one in text]
        assert "alert(1)" in text
    # Every figure with a fraction that the data has, in the very digits that Python writes.
    assert not [one for one in map(repr, [*rows["x"].tolist(), *rows["y"].tolist()]) if one in page]
    assert "common: 5" in page and "(all others)" in page
    assert "No row, no key, no smallest or largest value." in page

    assert not TAG.search(page) and not ADDRESS.search(page)
    assert "default-src 'none'" in page
    assert "://" not in page
    assert found.explanation.method == "shap"
    assert page.count('<svg class="bar"') >= 3 and page.count('<svg class="box"') == 1
    for part in ("Who approved it", "by a person", "Gates", "retrain of version 1", "data_digest", "package pandas"):
        assert part in page
    assert found.notes == ()


@pytest.fixture
def made(registry: Registry, settings: Settings, make_spec: Make, make_rows: Make, make_version: Make) -> Version:
    """A version without a card, of a model that the command line knows too."""
    version: Version = make_version(make_spec(), make_rows(200))
    return version


@pytest.fixture
def run(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line, with the model file `toy` and without the extra `explain`."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "toy.py").write_text((PROJECT / "tests" / "faults" / "models" / "toy.py").read_text())
    monkeypatch.setenv("EVERGREEN_MODELS", str(folder))
    monkeypatch.setitem(sys.modules, "shap", None)
    return lambda *words: CliRunner().invoke(app, ["dossier", *words], env={"COLUMNS": "300"})


def test_what_is_not_there_is_told(
    made: Version, run: Callable[..., Result], settings: Settings, tmp_path: Path
) -> None:
    """Without a stored card it is made anew; without the extra, importance is the stored one; both are told."""
    result = run("toy", "1", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    place = settings.root / "dossiers" / "toy-v1.html"
    assert (told["path"], told["importance"], told["entries"]) == (str(place), "permutation", 0)
    assert told["notes"] == [
        "No card was stored with this version: this one was made anew from its tags.",
        "Permutation importance, for shap is not installed (extra `explain`).",
    ]
    assert len(place.read_bytes()) == told["bytes"]
    assert "Its gates were not applied" in place.read_text()
    other = tmp_path / "other" / "d.html"
    result = run("toy", "1", "--out", str(other))
    assert "made anew" in result.output and other.exists()

    file = tmp_path / "file"
    file.write_text("")
    for words, line in [
        (("toy", "9"), "toy has no version 9; there are: 1. Choose one of them."),
        (("nosuch", "1"), "Unknown model 'nosuch'"),
        (("toy", "1", "--out", str(tmp_path)), f"{tmp_path} cannot be written: it is a folder."),
        (("toy", "1", "--out", str(file / "d.html")), f"{file} is not a folder."),
        (("toy", "1", "--out", str(tmp_path / ("n" * 300))), "cannot be written: File name too long."),
    ]:
        result = run(*words)
        assert result.exit_code == 2
        assert result.stdout == "" and result.stderr.count("\n") == 1
        assert line in result.stderr
    with pytest.raises(EvergreenError, match="cannot be written"):
        dossier.write(tmp_path, "")
    assert not list(tmp_path.glob(".*"))


def test_a_version_whose_files_are_gone_has_a_dossier(
    made: Version, registry: Registry, settings: Settings, make_spec: Make
) -> None:
    """What MLflow and the ledger still know is told, and what is missing is named."""
    registry.tag(made, "cleaned", "2026-01-01")
    for place in maintenance.places(registry, made):
        maintenance.discard(registry, place)
    found = _made(settings, registry, make_spec())
    assert found.notes[1] == "The files of this version were deleted to free the disk."
    assert found.notes[2].startswith("No importance is known, for ")
    assert (found.spreads, dict(found.explanation.columns)) == ((), {})
    page = dossier.page(found)
    assert "data_digest" in page and "Nothing is known of" in page


def test_a_stored_card_that_was_changed_stays_harmless() -> None:
    """Whoever may write to the artifact store gets neither a tag nor a request into a dossier."""
    shown = prose("# a\n\n<script>x</script> ![b](http://evil/c.png) [d](javascript:e)\n\n| f |\n|---|\n| g |\n")
    assert "<script" not in shown and "<img" not in shown and 'href="javascript' not in shown
    assert "<table>" in shown


def test_few_values_are_not_spread_out(make_spec: Make) -> None:
    """Quantiles of a handful of rows, and categories of a few, are as good as the rows; a column of nulls has none."""
    spec = make_spec(features=Features(numeric=("few", "many", "void"), categorical=("kind", "none")))
    quantiles = [-1000.5, 0.00123456, 1.5, 2.0, 31.98765, 123456.7, 5e9]
    columns = {
        "few": {"missing": 0.75, "quantiles": quantiles},
        "many": {"missing": 0.0, "quantiles": quantiles},
        "void": {"missing": 1.0, "quantiles": [None] * 7},
        "kind": {"missing": 0.0, "shares": {"a": 0.7, "b": 0.25, "c": 0.05}},
        "none": {"missing": 1.0, "shares": {}},
    }
    facts = Facts(
        spec, "", "", Version("toy", 1, "", "", VersionTags.read({}), ""), profile={"rows": 100, "columns": columns}
    )
    found = {spread.name: spread for spread in dossier._spreads(facts)}
    assert found["few"].quantiles == found["void"].quantiles == ()
    assert found["many"].quantiles == (0.00123, 1.5, 2.0, 32.0, 123000.0)
    assert (dict(found["kind"].shares), found["kind"].other) == ({"a": 0.7, "b": 0.25}, pytest.approx(0.05))
    assert (dict(found["none"].shares), found["none"].other) == ({}, 0.0)


def test_a_long_history_is_bounded(
    made: Version, registry: Registry, settings: Settings, make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest entries are shown, those about other versions are not, and how many are left out is told."""
    monkeypatch.setattr(dossier, "ENTRIES", 2)
    monkeypatch.setitem(sys.modules, "shap", None)
    ledger = Decisions(settings.lake_uri, "toy")
    for day, champion in enumerate([1, 1, 1, 2], start=1):
        at = replace(
            Decision(
                f"d{day}", "drift", NOW.replace(day=day), "PASS", champion, 1, "", f"day {day}", detail_of("drift")
            )
        )
        ledger.record(at)
    found = _made(settings, registry, make_spec())
    assert [entry.reason for entry in found.entries] == ["day 2", "day 3"]
    assert "1 older ones are left out" in dossier.page(found)
