"""What a page says, from made-up facts: escaping, empty states, plots in Vega-Lite's words, links, bounds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jsonschema import ValidationError

from evergreen.decision import Decision
from evergreen.details.watch import PerformanceDetail, WindowFigure
from evergreen.drift.report import DriftReport
from evergreen.errors import EvergreenError
from evergreen.evaluation.judgement import Judgement
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.drift_scores import ColumnDrift
from evergreen.ledger.timeline_entries import Entry, Measurement, MoveDetail
from evergreen.pages.distributions import CATEGORIES, OTHER, spread
from evergreen.pages.drawing import pictures
from evergreen.pages.environment import policy, spark, tone
from evergreen.pages.gather import gather
from evergreen.pages.links import PageLinks, page_file, page_url, shown_url
from evergreen.pages.page_data import ColumnRow, DriftPoint, Mark, MetricPoint, Page, VersionRow
from evergreen.pages.plots import distribution_plot, drift_plot, metric_plot, windows_plot
from evergreen.pages.render import render, render_index, write
from evergreen.registry.client import Registry
from evergreen.runs.fleet import FleetLine, broken_line
from evergreen.settings import PROJECT, Settings
from evergreen.spec.training import Training
from evergreen.verdicts import Check, Verdict
from tests.details import detail_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCRIPT = "</script><script>alert(1)</script>"
SHARES = pd.Series([0.1, 0.2])


def point(day: int = 0, verdict: str = "PASS", share: float = 0.1, times: float | None = 0.5) -> DriftPoint:
    """A drift report of a day."""
    return DriftPoint(f"d{day}", NOW + timedelta(days=day), verdict, share, 1, f"{SCRIPT} reason", "x", times, "")


def measure(day: int = 0, value: float | None = 1.0, verdict: str = "PASS") -> MetricPoint:
    """A performance report of a day."""
    interval = (None, None) if value is None else (value - 0.1, value + 0.2)
    return MetricPoint(NOW + timedelta(days=day), verdict, value, *interval, 0.9, 100, 1, f"{SCRIPT} measured")


def mark(day: int, what: str) -> Mark:
    """Something that happened on a day."""
    return Mark(NOW + timedelta(days=day), what, "done", 2, SCRIPT)


EMPTY = Page(
    "toy", "regression", "mae", NOW, 0.3, None, None, None, (), (), None, (), "", (), (), (), (), ()
)  # fmt: skip


@pytest.fixture
def full() -> Page:
    """A page with something in every part, and text that looks like a script wherever data gives a text."""
    check = Check(SCRIPT, Verdict.FAIL, 1.0, 0.5, SCRIPT)
    judgement = Judgement((check,), Verdict.FAIL, 1.25, 1.5, None, 40)
    entry = Entry(
        "e1", NOW, "retrain", "rejected", 1, 2, SCRIPT, (Measurement(SCRIPT, 1.0, 2.0, "FAIL", SCRIPT),), (SCRIPT,)
    )
    move = Entry("m1", NOW, "promote", "done", None, 1, SCRIPT, detail=MoveDetail(f"person: {SCRIPT} Ann", ""))
    links = {"good": "https://example.org/", "bad": "javascript:alert(1)"}
    sides = pd.Series([SCRIPT, "b", "b"]), pd.Series([SCRIPT, "a"])
    return replace(
        EMPTY,
        champion=1,
        reports=(point(0), point(1, "FAIL", 0.6, 3.0), point(2, "INCONCLUSIVE", 0.0, None)),
        columns=(ColumnRow(SCRIPT, "categorical", "FAIL", 1.0, 0.25, "psi", 0, 0, 1, SCRIPT, (0.5, None, 4.0)),),
        columns_of=point(1, "FAIL", 0.6),
        distributions=(spread(SCRIPT, "categorical", *sides), spread("n", "numeric", SHARES, SHARES + 1)),
        measures=(measure(0), measure(1), measure(2, None, "INCONCLUSIVE")),
        windows=(measure(0), measure(7)),
        marks=(mark(0, "retrained"), mark(1, "promoted"), mark(2, "rolled back")),
        versions=(VersionRow(2, "FAILED", (), SCRIPT, NOW, judgement, (("trained for", SCRIPT),), f"# {SCRIPT}"),),
        entries=(replace(entry, links=links, flow_run="run-1"), move),
    )


def test_text_from_data_is_never_markup(full: Page) -> None:
    """Names, reasons and cards that look like a script come out escaped, in the text and in the figures."""
    html = render(full, PageLinks())
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert(1)") > 10
    assert html.count("&lt;/script&gt; Ann, a person: &lt;/script&gt;") == 2, "the champion, and the ledger"
    assert re.findall(r"<text[^>]*>&lt;/script&gt;&lt;[^<]*</text>", html), "the label of a bar"
    for text in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL):
        json.loads(text)
        assert "<" not in text


def test_links_lead_where_they_may(full: Page) -> None:
    """MLflow, Prefect and https are linked; a link that would run is not."""
    html = render(full, PageLinks("https://prefect.example", "https://mlflow.example"))
    assert 'href="https://prefect.example/runs/flow-run/run-1"' in html
    assert 'href="https://mlflow.example/#/models/toy/versions/2"' in html
    assert 'href="https://example.org/"' in html
    assert "javascript:" not in html


def test_an_empty_page_names_what_is_missing_and_the_next_command() -> None:
    """Before a champion, before a report, before labels: each says so, and nothing is drawn."""
    html = render(EMPTY, PageLinks())
    assert "There is no champion yet." in html
    assert "evergreen retrain toy" in html
    body = html.partition("<body>")[2].partition("<script>")[0]
    assert "data-plot" not in body and "vega" not in body
    assert len(html) < 40_000
    waiting = replace(EMPTY, champion=1, measures=(replace(measure(0, None, "INCONCLUSIVE"), reason="no labels yet"),))
    html = render(waiting, PageLinks())
    assert "The last report says: no labels yet." in html
    assert html.count("evergreen monitor toy") >= 2


def test_a_page_is_whole_and_bounded(full: Page) -> None:
    """No address of a style or a script, its own policy, and a long history of which the newest is shown and said."""
    entries = tuple(replace(full.entries[0], id=str(number)) for number in range(1_234))
    reports = tuple(point(day) for day in range(1_000))
    html = render(replace(full, reports=reports, entries=entries), PageLinks())
    assert "The newest 200 of 1,234 entries" in html
    assert "The newest 200 of 1,000 reports." in html
    body = re.sub(r'<script( type="application/gzip" id="packed-vega")?>.*?</script>', "", html, flags=re.DOTALL)
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?!data:)", body)
    assert len(body) < 900_000
    assert policy(plots=True).replace("'", "&#39;") in body


def test_vega_lite_knows_every_word_of_the_plots(full: Page) -> None:
    """Each plot passes Vega-Lite's own schema, few points or many, and every colour is a rule of both schemes."""
    from altair import Chart

    many = [point(day, "FAIL" if day % 2 else "PASS") for day in range(300)]
    plots = [
        drift_plot(full.reports, full.marks, 0.3),
        drift_plot(many, full.marks * 40, 0.3),
        metric_plot(full.measures, full.marks, "mae"),
        metric_plot([measure(day) for day in range(300)], (), "mae"),
        windows_plot(full.windows, "mae"),
        windows_plot([replace(each, row=500 * place) for place, each in enumerate(full.windows)], "mae"),
        *(distribution_plot(found) for found in full.distributions),
        distribution_plot(spread("few", "numeric", pd.Series([1, 2]), pd.Series([2, 3]))),
        distribution_plot(spread("many", "numeric", pd.Series(range(99)), pd.Series(range(50)))),
    ]
    for plot in plots:
        Chart.from_dict(plot)
    with pytest.raises(ValidationError, match="strokeDush"):
        Chart.from_dict(plots[-1] | {"config": {"line": {"strokeDush": [1, 1]}}})
    templates = PROJECT / "evergreen" / "pages" / "templates"
    light, dark = (templates / "page.css").read_text().split("prefers-color-scheme: dark")[:2]
    used = re.findall(r"var\(--([a-z-]+)\)", json.dumps(plots) + "".join(map(pictures, plots)))
    for colour in set(used):
        assert f"--{colour}:" in light, colour
        assert f"--{colour}:" in dark, colour


def test_the_threshold_is_a_line_with_words(full: Page) -> None:
    """The share from which a report fails is drawn and named; so is one for the worst column."""
    plot = drift_plot(full.reports, full.marks, 0.3)
    bounds = [layer["layer"] for panel in plot["vconcat"] for layer in panel.get("layer", ()) if "layer" in layer]
    assert [line["encoding"]["y"]["datum"] for line, _ in bounds] == [0.3, 1]
    assert [words["mark"]["text"] for _, words in bounds] == ["fails from 30%", "a column drifts above 1"]
    assert len(set(plot["vconcat"][0]["encoding"]["shape"]["scale"]["range"])) == 3


def test_a_distribution_is_shares_of_both_sides_over_the_same_bins() -> None:
    """Missing values are told apart, far values land in the outermost bins, rare categories are one."""
    random = np.random.default_rng(0)
    old, new = pd.Series(random.normal(size=5_000)), pd.Series([*random.normal(3, 1, 400), np.nan, np.inf, 1e9])
    found = spread("x", "numeric", old, new)
    assert len(found.edges) == len(found.reference) + 1 == len(found.current) + 1
    assert sum(found.reference) == pytest.approx(1, abs=0.01)
    assert sum(found.current) == pytest.approx(1, abs=0.01)
    assert found.edges[-1] < 100
    assert found.missing == (0.0, pytest.approx(2 / 403))
    assert found.rows == (5_000, 403)
    kinds = spread("k", "categorical", pd.Series([f"k{n % 30}" for n in range(300)]), pd.Series(["new"] * 9))
    assert len(kinds.names) == CATEGORIES + 1
    assert (kinds.names[0], kinds.names[-1]) == ("new", OTHER)
    assert kinds.current[0] == 1.0
    nothing = spread("x", "numeric", old, pd.Series([np.nan, np.nan]))
    assert set(nothing.current) == {0.0}
    assert nothing.missing == (0.0, 1.0)


def test_small_things() -> None:
    """Words have a tone and not only a colour, a line breaks where a score is missing."""
    assert [tone(word) for word in ("PASS", "rejected", "PENDING", "LANDED")] == ["good", "bad", "open", "plain"]
    assert len(spark((0.5, None, 2.0, 9.0))["lines"]) == 2
    assert spark(())["lines"] == []


def test_addresses_are_shown_without_what_is_secret() -> None:
    """A password in an address of MLflow is not on the page; a database is no page to link to."""
    assert shown_url("https://me:secret@mlflow.example:443/base/?x=1") == "https://mlflow.example:443/base"
    assert shown_url("sqlite:////tmp/mlflow.db") == ""


def test_where_a_page_is(settings: Settings) -> None:
    """On the server that a setting names; else the file, once it was written; else nowhere."""
    assert page_url(settings, "toy") == ""
    place = page_file(settings, "toy")
    place.parent.mkdir(parents=True)
    write(EMPTY, PageLinks(), place)
    assert page_url(settings, "toy") == place.as_uri()
    assert [file.name for file in place.parent.iterdir()] == ["toy.html"]
    served = settings.model_copy(update={"pages": "http://127.0.0.1:4300/"})
    assert page_url(served, "toy") == "http://127.0.0.1:4300/toy"


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A folder, or a folder that is not there: what is wrong and what to do."""
    with pytest.raises(EvergreenError, match="is a folder"):
        write(EMPTY, PageLinks(), tmp_path)
    with pytest.raises(EvergreenError, match="cannot be written"):
        write(EMPTY, PageLinks(), tmp_path / "no" / "toy.html")


def test_the_first_page_lists_the_models() -> None:
    """Each with how it stands; one that cannot be read says why; without any, the command that makes one."""
    lines = [FleetLine("good", 3, NOW, "PASS", retrain="promoted"), broken_line("bad", "bad.py: <no>")]
    html = render_index("", lines, NOW)
    assert "version 3" in html
    assert "bad.py: &lt;no&gt;" in html
    assert "evergreen new NAME" in render_index("", [], NOW)
    assert "<h1>Models in staging</h1>" in render_index("staging", [], NOW)


def test_both_fits_of_a_version_are_named(
    settings: Settings,
    make_spec: Callable[..., Any],
    make_rows: Callable[..., Any],
    make_version: Callable[..., Any],
) -> None:
    """How many rows each learned, in one line; nothing where there is one fit."""
    spec = make_spec()
    make_version(spec, make_rows(100))
    refitted = make_spec(training=Training(min_rows=20, refit=True))
    make_version(refitted, make_rows(20, start=100), "second")
    newest, oldest = (dict(row.facts) for row in gather(settings, spec, PageLinks(), now=NOW).versions)
    assert newest["fits"] == "judged is one of 96 rows, deployed is one of 120 rows"
    assert "fits" not in oldest


def test_windows_in_the_order_of_landing_are_gathered_by_row(settings: Settings, make_spec: Callable[..., Any]) -> None:
    """The first row of each is kept, drawn and told in the table; a window with neither time nor row is left out."""
    spec, ledger = make_spec(), Decisions(settings.lake_uri, "toy")
    windows = tuple(WindowFigure(None, 40, 1.0, value, None, row) for value, row in ((2.0, 0), (3.0, 1_500)))
    rowless = WindowFigure(None, 40, 1.0, 2.0, None)
    for name, day, found in (("p1", 0, windows), ("p2", 1, (rowless,))):
        detail = PerformanceDetail(
            metric=spec.metric.name, value=2.0, interval=None, at_promotion=None, rows=80, windows=found
        )
        ledger.record(Decision(name, "performance", NOW + timedelta(days=day), "PASS", 1, 0, "", "fine", detail))
    page = gather(settings, spec, PageLinks(), now=NOW)
    assert [(point.row, point.at, point.value) for point in page.windows] == [(0, NOW, 2.0), (1_500, NOW, 3.0)]
    html = render(page, PageLinks())
    assert "windows-plot" in html
    assert ">row 1,500<" in html


def test_what_is_gathered(settings: Settings, registry: Registry, make_spec: Callable[..., Any]) -> None:
    """The worst column of each report, the newest table that has columns, and a threshold from the model file."""
    spec, ledger = make_spec(), Decisions(settings.lake_uri, "toy")
    for day, scores in enumerate(({"x": 0.1, "kind": 0.5}, {"x": 0.9, "kind": 0.0}, {})):
        kinds = {"x": "numeric", "kind": "categorical"}
        columns = tuple(
            ColumnDrift(name, kinds[name], Verdict.PASS, score, "psi", 0.25, 0, 0, 0, "", 0.5)  # type: ignore[arg-type]
            for name, score in scores.items()
        )
        at, name = NOW + timedelta(days=day), f"{day}"
        report = DriftReport(Verdict.PASS, 0.0, 0.3, columns, 10, 10, "fine")
        ledger.record_scores(name, at, 1, report.columns)
        detail = detail_of("drift", share=0.1 * day, columns=(), confirmed=False, failed=(0, 1))
        ledger.record(Decision(name, "drift", at, "PASS", 1, 0, "", "fine", detail))
    page = gather(settings, spec, PageLinks(), now=NOW)
    assert page.threshold == spec.drift.share
    assert [(report.worst, report.times) for report in page.reports] == [("kind", 2.0), ("x", 3.6), ("", None)]
    assert page.columns_of == page.reports[1]
    assert [(column.name, column.trend) for column in page.columns] == [("x", (0.4, 3.6)), ("kind", (2.0, 0.0))]
    assert "cannot be read any more" in page.distributions_note
    assert (page.champion, page.versions, page.measures) == (None, (), ())
