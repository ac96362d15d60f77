"""The page of a model in a browser and on its server: a thousand windows, and a category that looks like a script."""

from __future__ import annotations

import json
import math
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import models
from deployments.cli import app
from deployments.page_server import Pages, Server
from evergreen.candidates import build
from evergreen.contract import check, schema_of
from evergreen.decisions import Decision, Decisions
from evergreen.evaluation import evaluate
from evergreen.lineage import lineage
from evergreen.monitoring import detect, drift_question
from evergreen.observations import Observations
from evergreen.page_links import Places
from evergreen.performance_report import no_champion
from evergreen.promotion_log import Move, Promotions
from evergreen.registry import CHAMPION, Registry
from evergreen.results import DriftResult
from evergreen.settings import PROJECT, Settings
from evergreen.spec import ModelSpec
from evergreen.windows import training_window

pytestmark = pytest.mark.slow

SCRIPT = "<script>alert(1)</script>"
TOY = (PROJECT / "tests" / "faults" / "models" / "toy.py").read_text()
MODEL = TOY.replace('(str, pa.Check.isin(["a", "b"]))', "(str)")
WINDOWS = 1_000
START = datetime(2024, 1, 1, 6, tzinfo=UTC)
LAST = START + timedelta(days=WINDOWS - 1)


def rows(count: int, start: int, shift: float = 0.0) -> pd.DataFrame:
    """Hourly rows with a number and three kinds, one of which looks like a script; seeded."""
    random = np.random.default_rng([7, start])
    x = random.normal(size=count) + shift
    frame = pd.DataFrame({"id": range(start, start + count), "x": x, "y": 3 * x + random.normal(size=count)})
    at = pd.date_range("2024-01-01", periods=count, freq="h") + pd.Timedelta(hours=start)
    return frame.assign(at=at, kind=random.choice(["a", "b", SCRIPT], count))


def land(spec: ModelSpec, settings: Settings, frame: pd.DataFrame, batch: str) -> Observations:
    """Land rows as a batch."""
    observations = Observations(settings.lake_uri, spec)
    checked = check(frame, spec, schema_of(spec), now=LAST)
    assert not checked.problem
    observations.land(checked.rows, batch, batch, now=LAST)
    return observations


def champion(spec: ModelSpec, settings: Settings) -> None:
    """A real first champion, with its gates, its files and its promotion."""
    observations, registry = land(spec, settings, rows(600, 0), "first"), Registry(settings)
    snapshot = observations.snapshot()
    facts = {"reason": "first", "spec_hash": "spec", "params": None, "seed": spec.seed, "flow_run": ""}
    tags = lineage(snapshot, decision="d1", compared_with=None, **facts)  # type: ignore[arg-type]
    window = training_window(spec, snapshot)
    made = build(spec, settings, registry, window, decision="d1", params=None, tags=tags)
    version = registry.register(spec.name, made)
    judgement = evaluate(spec, settings, registry, version, None, window)
    registry.conclude(version, judgement.verdict, "# A card\n\n<b>bold</b>", {"judgement": judgement.to_text()})
    registry.set_alias(spec.name, CHAMPION, version.number)
    for number, (action, before, after) in enumerate((("promote", None, 1), ("promote", 1, 2), ("rollback", 2, 1))):
        at = START + timedelta(days=200 * number)
        for phase in ("intent", "done"):
            move = Move(f"m{number}", at, action, phase, before, after, f"{SCRIPT} why {number}", "", "person")  # type: ignore[arg-type]
            Promotions(settings.lake_uri, spec.name).write(move)


def newest_report(spec: ModelSpec, settings: Settings) -> None:
    """A real report on shifted rows, with Evidently's page."""
    snapshot = land(spec, settings, rows(300, 600, shift=2.0), "later").snapshot()
    registry, ledger = Registry(settings), Decisions(settings.lake_uri, spec.name)
    version = registry.champion(spec.name)
    assert version is not None
    asked, _ = drift_question(spec, version, snapshot, LAST)
    report = detect(spec, settings, registry, version, snapshot, decision=asked, now=LAST)
    ledger.record_scores(asked, LAST, version.number, report)
    told = DriftResult.of(report)
    detail = {"share": told.share, "columns": list(told.columns), "report": told.report}
    outcome, digest = str(report.verdict), snapshot.digest
    ledger.record(Decision(asked, "drift", LAST, outcome, 1, snapshot.version, digest, report.reason, detail))


def history(spec: ModelSpec, settings: Settings) -> None:
    """The windows before the newest, and a performance report of each, in one commit a table."""
    ledger = Decisions(settings.lake_uri, spec.name)
    days = [START + timedelta(days=day) for day in range(WINDOWS - 1)]
    wave = [0.2 + 0.12 * math.sin(day / 40) for day in range(WINDOWS - 1)]
    decisions, scores = [], []
    for day, (at, level) in enumerate(zip(days, wave, strict=True)):
        share, name = round(level, 1), f"{day:016x}"
        verdict = "FAIL" if share >= spec.drift.share else "PASS"
        told = {"share": share, "columns": [], "report": None}
        decisions.append((name, "drift", at, verdict, f"{share:.0%} drifted", told))
        measured = {"metric": "mae", "value": 1 + level, "interval": [0.9 + level, 1.2 + level], "at_promotion": 0.9}
        measured |= {"rows": 168, "windows": []}
        decisions.append((name, "performance", at, "PASS", "as ever", measured))
        if day % 25 == 0:
            decisions.append((f"r{name}", "retrain", at, "rejected", "not better", {"version": day // 25 + 2}))
        parts = (("x", 1.0), ("kind", 0.4), ("prediction", 0.8))
        scores += [(name, at, column, level * part) for column, part in parts]
    columns = ["id", "kind", "at", "outcome", "reason", "detail"]
    frame = pd.DataFrame(decisions, columns=columns)
    frame["detail"] = frame["detail"].map(json.dumps)
    frame = frame.assign(champion=1, snapshot=1, digest="", flow_run="")
    ledger.table.append(frame, "history")
    found = pd.DataFrame(scores, columns=["decision_id", "at", "column", "score"])
    found = found.assign(champion=1, verdict="PASS", threshold=0.25, method="psi", missing=0.0, unseen=0.0, weight=0.3)
    kinds = found["column"].map({"x": "numeric", "kind": "categorical", "prediction": "numeric"})
    ledger.scores.append(found.assign(kind=kinds, reason=""), "history")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with one model that has lived for a thousand windows, and one that has no champion yet."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "models").mkdir()
    for name in ("toy", "bare"):
        (folder / "models" / f"{name}.py").write_text(MODEL.replace('"toy"', f'"{name}"'))
    (folder / "models" / "broken.py").write_text("MODEL = 1 +")
    found = Settings(home=folder / "home", models=folder / "models")
    spec = models.load("toy", found.models).spec
    history(spec, found)
    champion(spec, found)
    newest_report(spec, found)
    return found


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Server]:
    """The pages on a free port."""
    with Server(Pages(settings, Places("http://127.0.0.1:1", "http://127.0.0.1:2")), 0) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium: the system's, else Playwright's own."""
    sync_api = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    system = next((path for name in names if (path := shutil.which(name))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(executable_path=system, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no Chromium here: {str(error).splitlines()[0]}")
        yield found
        found.close()


class Visit:
    """A page that was opened, and what it said and asked for on the way."""

    def __init__(self, browser: Any, url: str, **looks: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | looks)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.began = time.monotonic()
        self.page.goto(url)

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def until(self, condition: str, seconds: float = 30) -> None:
        """Wait for a condition; Playwright's own way of doing so is what the page's policy forbids."""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, condition
            self.page.wait_for_timeout(20)

    def plotted(self) -> float:
        """Wait for the first plot; seconds from the navigation until it was drawn."""
        self.until("performance.getEntriesByName('first-plot').length > 0")
        return float(self.page.evaluate("performance.getEntriesByName('first-plot')[0].startTime")) / 1000

    def tab_to(self, selector: str, most: int = 60) -> int:
        """Press Tab until an element has the focus; how often that took."""
        for pressed in range(1, most + 1):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return pressed
        raise AssertionError(f"{selector} is not reached by {most} tabs")


def test_a_thousand_windows_open_in_under_a_second(browser: Any, server: Server) -> None:
    """Load and first plot, measured as the page's own work: the wall clock belongs to whatever else runs here."""
    work, wall = [], []
    for _ in range(3):
        with Visit(browser, "about:blank") as visit:
            session = visit.context.new_cdp_session(visit.page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            visit.page.goto(f"{server.url}/toy")
            wall.append(visit.plotted())
            told = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
            work.append(told["TaskDuration"])
    print(f"open: {min(wall):.2f} s by the clock, {min(work):.2f} s of work")
    assert min(work) < 1.5
    assert len(asked(server, "/toy")[1]) < 6_000_000


def test_the_plot_shows_threshold_and_marks_and_asks_nobody(browser: Any, server: Server) -> None:
    """The threshold's line and its words, a mark for each retrain, promotion and rollback; no error, no request."""
    with Visit(browser, f"{server.url}/toy") as visit:
        visit.plotted()
        plot = visit.page.locator("#drift-plot")
        assert plot.locator(".shapelayer path").count() == 2
        assert "fails from 30%" in plot.inner_text()
        data = visit.page.evaluate(
            "Object.fromEntries(document.getElementById('drift-plot').data.map(one => [one.name, one.x.length]))"
        )
        assert (data["promoted"], data["rolled back"], data["retrained"]) == (2, 1, 40)
        assert data["no mark: PASS"] == WINDOWS
        assert {"promoted", "rolled back", "retrained"} <= set(plot.inner_text().split("\n"))
        assert "1,000 drift reports" in visit.page.locator("#drift-plot-summary").inner_text()
        # Drawn when they come near.
        visit.page.locator("#performance-plot").scroll_into_view_if_needed()
        visit.page.wait_for_selector("#performance-plot .main-svg")
        assert "at promotion" in visit.page.locator("#performance-plot").inner_text()
        assert visit.said == []
        assert visit.asked == [f"{server.url}/toy"]


def test_text_from_data_stays_text(browser: Any, server: Server) -> None:
    """A category named like a script is shown, in the table and beside its bar, and never run; so are reasons."""
    with Visit(browser, f"{server.url}/toy") as visit:
        visit.plotted()
        kind = visit.page.locator(".multiple", has=visit.page.locator("h4", has_text="kind"))
        kind.scroll_into_view_if_needed()
        kind.locator(".main-svg").first.wait_for()
        assert "<script>alert(1)" in (kind.locator(".plot").inner_text())
        kind.locator("summary").click()
        assert kind.locator("th", has_text=SCRIPT).count() == 1
        assert f"{SCRIPT} why 2" in visit.page.locator("#now").inner_text()
        assert visit.page.locator("script:not([type])").count() == 2
        visit.page.locator(".card summary").click()
        assert "<b>bold</b>" in visit.page.locator(".card .prose").inner_text()
        assert visit.said == []


def test_everything_is_reached_by_keyboard(browser: Any, server: Server) -> None:
    """The skip link comes first; a range is chosen, a table scrolled and the ledger filtered without a mouse."""
    with Visit(browser, f"{server.url}/toy", viewport={"width": 390, "height": 844}) as visit:
        visit.plotted()
        page = visit.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        visit.tab_to("button[data-days='90']")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
        low, high = page.evaluate("document.getElementById('drift-plot').layout.xaxis.range")
        assert 89 < (pd.Timestamp(high) - pd.Timestamp(low)).days < 92
        visit.tab_to("[aria-labelledby='columns-caption']")
        page.keyboard.press("ArrowRight")
        visit.until("document.activeElement.scrollLeft > 0")
        visit.tab_to("#kind")
        page.keyboard.type("retrain")
        visit.until("document.querySelectorAll('#entries tbody tr[hidden]').length > 0")
        shown = "[...document.querySelectorAll('#entries tbody tr:not([hidden])')].map(row => row.dataset.kind)"
        assert set(page.evaluate(shown)) == {"retrain"}


def test_every_region_and_plot_has_a_name(browser: Any, server: Server) -> None:
    """What a screen reader is told: one main heading, named regions and plots, tables with captions and scopes."""
    with Visit(browser, f"{server.url}/toy") as visit:
        unnamed = """() => [...document.querySelectorAll('section, [role=region], [role=img], [role=group], select')]
            .filter(one => !(one.getAttribute('aria-label') || one.closest('label')
                || document.getElementById(one.getAttribute('aria-labelledby'))?.textContent.trim()))
            .map(one => one.outerHTML.slice(0, 80))"""
        assert visit.page.evaluate(unnamed) == []
        assert visit.page.locator("h1").count() == 1
        assert visit.page.locator("table").count() == visit.page.locator("caption").count()
        assert visit.page.locator("th:not([scope])").count() == 0
        twice = "() => { const all = [...document.querySelectorAll('[id]')].map(one => one.id);"
        assert visit.page.evaluate(twice + " return all.filter((id, place) => all.indexOf(id) !== place); }") == []


def test_dark_and_narrow(browser: Any, server: Server) -> None:
    """In the dark the page and its plots are dark, also after a change; on a phone nothing is wider than the screen."""
    with Visit(browser, f"{server.url}/toy", color_scheme="dark", viewport={"width": 390, "height": 844}) as visit:
        visit.plotted()
        letters = "getComputedStyle(document.querySelector('#drift-plot .ytick text')).fill"
        dark = visit.page.evaluate(letters)
        assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 21, 28)"
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        visit.page.emulate_media(color_scheme="light")
        visit.until(f"{letters} !== '{dark}'")
        assert visit.said == []


def test_a_model_without_a_champion_says_what_is_missing(browser: Any, server: Server) -> None:
    """No empty plot: each part names what is not there and the command that brings it."""
    with Visit(browser, f"{server.url}/bare") as visit:
        text = visit.page.locator("main").inner_text()
        assert "There is no champion yet." in text
        assert "evergreen retrain bare" in text
        assert visit.page.locator(".plot").count() == 0
        assert visit.said == []


def test_the_file_is_whole_by_itself(
    browser: Any, settings: Settings, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`evergreen page` writes one file that opens offline, and links to Evidently's report beside it."""
    monkeypatch.setenv("EVERGREEN_HOME", str(settings.root))
    monkeypatch.setenv("EVERGREEN_MODELS", str(settings.models))
    done = CliRunner().invoke(app, ["page", "toy", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["model"], told["windows"], told["versions"]) == ("toy", WINDOWS, 1)
    place = settings.root / "pages" / "toy.html"
    assert told["path"] == str(place)
    with Visit(browser, place.as_uri(), offline=True) as visit:
        visit.plotted()
        assert visit.asked == [place.as_uri()]
        assert visit.said == []
        target = visit.page.locator("a", has_text="Evidently's report").get_attribute("href")
    assert (place.parent / target).resolve().is_file()
    assert f'"{PROJECT}' not in place.read_text()


def asked(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, str, Any]:
    """Status, body and headers of an answer."""
    request = urllib.request.Request(f"{server.url}{path}", method=method, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def test_the_server_answers_only_what_it_is_for(server: Server) -> None:
    """Pages and the reports that decisions name; another's name, another method and any other path are refused."""
    status, body, headers = asked(server, "/")
    assert status == 200
    assert all(f'href="/{name}"' in body for name in ("toy", "bare", "broken"))
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert asked(server, "/toy", "HEAD")[:2] == (200, "")
    assert asked(server, "/", Host="evil.example")[0] == 421
    assert asked(server, "/", "POST")[0] == 501
    for path in ("/nothing", "/../models/toy.py", "/report/toy/00", "/report/toy/../../models", "/toy/x", "/%2e%2e/x"):
        assert asked(server, path)[0] == 404, path
    status, body, _ = asked(server, "/broken")
    assert status == 503
    assert "broken.py, line 1" in body
    link = next(part for part in asked(server, "/toy")[1].split('"') if part.startswith("/report/toy/"))
    status, body, headers = asked(server, link)
    assert status == 200
    assert "sandbox allow-scripts" in headers["Content-Security-Policy"]


def test_a_page_is_made_again_when_something_was_decided(settings: Settings, server: Server) -> None:
    """The same page answers until a table has changed."""
    before = asked(server, "/bare")[1]
    assert asked(server, "/bare")[1] == before
    told = no_champion(models.load("bare", settings.models).spec).to_detail()
    late = Decision("late", "performance", LAST, "INCONCLUSIVE", 1, 1, "", "no labels yet", told)
    Decisions(settings.lake_uri, "bare").record(late)
    assert "no labels yet" in asked(server, "/bare")[1]


def test_a_taken_port_is_one_clear_line(settings: Settings, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 2, the port, and how to choose another."""
    monkeypatch.setenv("EVERGREEN_HOME", str(settings.root))
    done = CliRunner().invoke(app, ["page", "--serve", "--port", str(server.server_port)])
    assert done.exit_code == 2
    assert f"Port {server.server_port}" in done.stderr
    assert "--port N" in done.stderr
