"""docs/model-files.md: each worked example does what it says, and the tables name what there is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import evergreen.sources
import evergreen.spec
import models
from evergreen.data.frames import model_frame
from evergreen.data.observations import Observations
from evergreen.data.predictions import Predictions
from evergreen.data.split import split_rows
from evergreen.data.windows import row_weights, training_window
from evergreen.evaluation.measure import measure
from evergreen.evaluation.slices import slices
from evergreen.ingest.ingest import ingest
from evergreen.model_files.new import scaffold
from evergreen.registry.artifacts import packed
from evergreen.settings import Settings
from evergreen.sources import Folder
from evergreen.spec.metric import KNOWN
from evergreen.spec.model import ModelSpec
from evergreen.spec.training import Search
from evergreen.training.candidate import FittedCandidate, fit_candidate
from evergreen.training.predict import labelled, predict, target_of
from tests.examples import EXAMPLES, TABLES, load_table, with_example, write

NOW = datetime(2026, 12, 1, tzinfo=UTC)
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "model-files.md").read_text()


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[str], ModelSpec]:
    """The model of a file that `evergreen new` wrote, with an example in it: changed(title)."""

    def make(title: str) -> ModelSpec:
        example = EXAMPLES[title]
        table, options = TABLES[example.model]
        file = scaffold(
            example.model, write(table(), tmp_path / f"{example.model}.csv"), tmp_path / "models", **options
        )
        file.path.write_text(with_example(file.path.read_text(), example.code))
        spec = models.load(example.model, file.path.parent).spec
        # The thirteen fits of the search that `evergreen new` wrote say nothing about an example.
        return spec if "search=" in example.code else spec.model_copy(update={"search": Search()})

    return make


@pytest.fixture
def trained(settings: Settings, tmp_path: Path) -> Callable[[ModelSpec], tuple[FittedCandidate, Observations]]:
    """Land what the source has, fit, store what was fitted as a version is stored, and read it again."""

    def train(spec: ModelSpec) -> tuple[FittedCandidate, Observations]:
        landing = ingest(spec, settings, now=NOW)
        assert landing.batches
        assert [(batch.problem, batch.rejected) for batch in landing.batches if batch.problem or batch.rejected] == []
        observations = Observations(settings.lake_uri, spec)
        window = training_window(spec, observations.snapshot())
        candidate = fit_candidate(observations, window, tmp_path / "candidate")
        assert packed(candidate.fitted.pipeline, spec.name, spec.trusted)
        return candidate, observations

    return train


def test_every_example_has_a_test() -> None:
    """A new example is one of these."""
    source = Path(__file__).read_text()
    assert [title for title in EXAMPLES if f'changed("{title}")' not in source] == []


def test_another_estimator(changed: Any, trained: Any) -> None:
    """The grid of the ridge is searched, and gaps and categories are no obstacle."""
    candidate, _ = trained(changed("Another estimator"))
    assert type(candidate.fitted.pipeline.steps[-1][1]).__name__ == "Ridge"
    assert len(candidate.fitted.tried) == 3
    assert candidate.fitted.value < 7


def test_lightgbm(changed: Any, trained: Any) -> None:
    """LightGBM is fitted, stored, and is the same when it is fitted again."""
    pytest.importorskip("lightgbm", reason="LightGBM is not installed: pip install lightgbm")
    candidate, _ = trained(changed("LightGBM"))
    assert type(candidate.fitted.pipeline.steps[-1][1]).__name__ == "LGBMRegressor"
    assert candidate.fitted.value < 7


def test_a_cost_metric(changed: Any, trained: Any) -> None:
    """The cost is that of a call for everybody above the threshold, and of everybody else who left."""
    spec = changed("What a mistake costs")
    candidate, _ = trained(spec)
    said = Predictions(np.array(["no"] * 4), np.array([[0.9, 0.1]] * 2 + [[0.99, 0.01]] * 2), ("no", "yes"))
    assert measure(spec.metric, np.array(["yes", "no", "yes", "no"]), said) == (5 + 5 + 100 + 0) / 4
    assert 0 < candidate.fitted.value < 20
    assert set(candidate.importances) == set(spec.features.all)


def test_a_threshold(changed: Any, trained: Any) -> None:
    """Customers are called from a lower probability on than one half, which costs less; gates see these labels."""
    spec = changed("A threshold")
    candidate, observations = trained(spec)
    rows = labelled(spec, observations.frame(observations.snapshot().version))
    found, y = predict(candidate.fitted.pipeline, spec, rows), target_of(spec, rows)
    assert found.values.tolist() == candidate.fitted.pipeline.predict(model_frame(rows, spec.features)).tolist()
    likeliest = np.array(found.classes)[found.probability.argmax(axis=1)]
    assert measure(spec.metric, y, found) < measure(spec.metric, y, replace(found, values=likeliest)) / 2


def test_weights(changed: Any, trained: Any) -> None:
    """A row of ninety days ago weighs half as much as the newest, and a row of before the last year is not read."""
    spec = changed("Weights")
    old = load_table("2024-06-01", 10)
    write(old, Path(spec.source.path) / "load_old.csv")
    spec = spec.model_copy(update={"source": Folder(spec.source.path, "load*.csv")})
    _, observations = trained(spec)
    rows = labelled(spec, training_window(spec, observations.snapshot()).read(observations))
    assert len(rows) == len(load_table()) < observations.snapshot().rows
    weights = row_weights(spec, rows)
    newest, day = rows["at"].max(), rows["at"].max() - timedelta(days=20)
    ratio = weights[(rows["at"] == day).to_numpy()][0] / weights[(rows["at"] == newest).to_numpy()][0]
    assert ratio == pytest.approx(0.5 ** (20 / 90))


def test_slices_of_the_page(changed: Any, trained: Any) -> None:
    """Each site has enough rows in the holdout to be judged."""
    spec = changed("Slices")
    _, observations = trained(spec)
    rows = labelled(spec, training_window(spec, observations.snapshot()).read(observations))
    holdout = rows[split_rows(spec, rows).holdout]
    judged = dict(slices({"site": holdout["site"].to_numpy()}, spec.gates.slice_min_rows))
    assert set(judged) == {"site=north", "site=south"}


def test_lags(changed: Any, trained: Any) -> None:
    """The lags are the loads of those hours; a second file that begins a week early goes on without a gap."""
    spec = changed("Lags")
    later = load_table(days=37)
    folder = Path(spec.source.path)
    write(later[later["at"] >= "2026-01-24"], folder / "load_later.csv")
    spec = spec.model_copy(update={"source": Folder(spec.source.path, "load*.csv")})
    candidate, observations = trained(spec)
    rows = observations.frame(observations.snapshot().version).set_index(["site", "at"])
    assert len(rows) == 2 * 24 * (37 - 7)
    truth = load_table().assign(at=lambda table: pd.to_datetime(table["at"])).set_index(["site", "at"])["load"]
    for site in ("north", "south"):
        row = rows.loc[(site, pd.Timestamp("2026-01-20T05:00Z"))]
        assert row["load_day"] == truth[(site, pd.Timestamp("2026-01-19T05:00Z"))]
        assert row["load_week"] == truth[(site, pd.Timestamp("2026-01-13T05:00Z"))]
    assert candidate.fitted.value < 3


def test_thousands_of_categories(changed: Any, trained: Any) -> None:
    """What a city says is learned from its customers, and an unknown city or none gets a prediction."""
    spec = changed("Thousands of categories")
    candidate, observations = trained(spec)
    rows = observations.frame(observations.snapshot().version)[list(spec.features.all)].head(3)
    strange = rows.assign(city=["a city of another country", None, "city 10"])
    chances = candidate.fitted.pipeline.predict_proba(model_frame(strange, spec.features))
    assert np.isfinite(chances).all()
    assert candidate.importances["city"] == max(candidate.importances.values())


def test_text(changed: Any, trained: Any) -> None:
    """`new` says that it is free text and points here; the words are learned, and unknown ones are no obstacle."""
    spec = changed("Text")
    candidate, observations = trained(spec)
    assert candidate.fitted.value > 0.85
    strange = (
        observations.frame(observations.snapshot().version).head(2).assign(review=["friendly", "ganz andere Wörter"])
    )
    chances = candidate.fitted.pipeline.predict_proba(model_frame(strange, spec.features))[:, 1]
    assert np.isfinite(chances).all() and chances[0] > chances[1]


def test_several_files_a_week(changed: Any, trained: Any, settings: Settings) -> None:
    """Files of any day land once, a corrected row takes the place of the first, one that is too late does not."""
    spec = changed("Several files a week")
    table, folder = load_table(days=60), settings.landing / "load"
    for start in range(0, 60, 6):
        part = table.iloc[48 * start : 48 * (start + 6)]
        write(part, folder / f"load_{part['at'].iloc[0][:10]}.csv")
    _, observations = trained(spec)
    assert observations.snapshot().rows == len(table)
    late = table.iloc[:2].assign(load=1.0)
    corrected = table.iloc[-2:].assign(load=99.0)
    write(pd.concat([late, corrected]), folder / "load_2026-03-02.csv")
    spec = spec.model_copy(update={"max_rejected": 0.5})
    batch = ingest(spec, settings, now=NOW).batches[0]
    assert (batch.replaced, batch.rejected, batch.problem) == (2, 2, "")
    rows = observations.frame(Observations(settings.lake_uri, spec).snapshot().version)
    assert sorted(rows[rows["load"] == 99.0]["site"]) == ["north", "south"]
    assert 1.0 not in set(rows["load"])


def test_the_table_of_metrics_is_complete() -> None:
    """Each metric with its task, what it takes and which direction is better, as the code has it."""
    part = PAGE.split("\n## Metrics\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \| (\w+) \| .+ \|$", part, flags=re.MULTILINE)
    assert rows == [
        (name, str(kind.task), kind.needs, "greater" if kind.greater_is_better else "smaller")
        for name, kind in KNOWN.items()
    ]


def test_the_import_line_of_every_name_is_there() -> None:
    """What the two doors hand on, the names of version 0.1.0 aside; each line runs."""
    lines = re.findall(r"^\| `(from evergreen\.\w+ import \w+)` \| .+ \|$", PAGE, flags=re.MULTILINE)
    doors = (evergreen.sources, evergreen.spec)
    names = {f"from {door.__name__} import {name}" for door in doors for name in door.__all__}
    assert sorted(lines) == sorted(
        names - {f"from evergreen.spec import {name}Policy" for name in ("Drift", "Performance")}
    )
    exec("\n".join(lines), {})  # noqa: S102 - lines of our own page
